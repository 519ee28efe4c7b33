package quota

import (
	"context"
	"slices"
	"sync"
	"time"
)

// room holds runs, each for a minute from when it came in.
type room struct {
	name string // the limit's
	key  string
	most int // how many it holds; zero: any number
}

// stay is one run in one room.
type stay struct {
	before bool // it was there already
	full   bool // it isn't there, for there is no place
	count  int  // how many are there
	rank   int  // how many of them came earlier
	reset  time.Duration
}

// rooms are where runs are counted. A run enters all of the rooms or, when one
// is full, none.
type rooms interface {
	enter(ctx context.Context, run string, list []room) ([]stay, error)
	leave(ctx context.Context, run string, keys []string) error
}

// maxRooms bounds the memory: a room that is wanted beyond it can't be had.
const maxRooms = 100_000

// memory are the rooms of one process.
type memory struct {
	now func() time.Time
	max int

	mu  sync.Mutex
	all map[string][]entry // the earliest first
}

type entry struct {
	run string
	at  time.Time
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, max: maxRooms, all: map[string][]entry{}}
}

func (m *memory) enter(_ context.Context, run string, list []room) ([]stay, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if len(m.all)+len(list) > m.max {
		m.sweep(now)
	}
	if len(m.all)+len(list) > m.max {
		return nil, ErrUnavailable
	}
	stays, full := make([]stay, len(list)), false
	for i, r := range list {
		there := fresh(m.all[r.key], now)
		m.all[r.key] = there
		s := &stays[i]
		s.count, s.rank = len(there), slices.IndexFunc(there, func(e entry) bool { return e.run == run })
		s.before = s.rank >= 0
		if s.full = !s.before && r.most > 0 && s.count >= r.most; s.full {
			full = true
		}
	}
	for i, r := range list {
		s := &stays[i]
		if !full && !s.before {
			s.rank = s.count
			s.count++
			m.all[r.key] = append(m.all[r.key], entry{run, now})
		}
		if there := m.all[r.key]; len(there) > 0 {
			s.reset = there[0].at.Add(minute).Sub(now)
		} else {
			delete(m.all, r.key)
		}
	}
	return stays, nil
}

func (m *memory) leave(_ context.Context, run string, keys []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		there := slices.DeleteFunc(m.all[key], func(e entry) bool { return e.run == run })
		if m.all[key] = there; len(there) == 0 {
			delete(m.all, key)
		}
	}
	return nil
}

// sweep forgets the rooms in which nobody is any more.
func (m *memory) sweep(now time.Time) {
	for key, there := range m.all {
		if len(fresh(there, now)) == 0 {
			delete(m.all, key)
		}
	}
}

func fresh(there []entry, now time.Time) []entry {
	for len(there) > 0 && !now.Before(there[0].at.Add(minute)) {
		there = there[1:]
	}
	return there
}
