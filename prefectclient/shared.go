package prefectclient

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// shared is what all clients of one server have in common (Options.Beside).
type shared struct {
	breaker *breaker

	calls atomic.Int64 // under way or waiting
	held  atomic.Int64 // slots

	mu    sync.Mutex
	slots map[int]*semaphore.Weighted // by MaxConcurrent
}

func newShared(b *breaker) *shared {
	return &shared{breaker: b, slots: map[int]*semaphore.Weighted{}}
}

// slotsOf gives the slots that all clients of this MaxConcurrent share.
func (s *shared) slotsOf(maxConcurrent int) *semaphore.Weighted {
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := s.slots[maxConcurrent]
	if slots == nil {
		slots = semaphore.NewWeighted(int64(maxConcurrent))
		s.slots[maxConcurrent] = slots
	}
	return slots
}

// load is how many calls hold a slot, how many wait for one, and how many
// slots there are.
func (s *shared) load() (held, waiting, limit int) {
	held = int(s.held.Load())
	waiting = max(0, int(s.calls.Load())-held) // read one after the other
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.slots {
		limit += n
	}
	return held, waiting, limit
}
