package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
)

// courier notes what it is given, and can be told that its server is away.
type courier struct {
	mu        sync.Mutex
	away      bool
	tried     int
	delivered []outbox.Entry
	expired   []uuid.UUID
	refuse    map[uuid.UUID]bool
}

func (c *courier) Deliver(_ context.Context, e outbox.Entry) (outbox.Settlement, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried++
	if c.away {
		return outbox.Settlement{}, errors.Join(outbox.ErrAway, errors.New("connection refused"))
	}
	if c.refuse[e.ID] {
		return outbox.Settlement{Status: outbox.Dead, Reason: "parameters_invalid"}, nil
	}
	c.delivered = append(c.delivered, e)
	return outbox.Settlement{Status: outbox.Delivered, RunID: "run-" + e.ID.String()}, nil
}

func (c *courier) Expired(_ context.Context, e outbox.Entry) (outbox.Settlement, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = append(c.expired, e.ID)
	return outbox.Expiry(), nil
}

func (c *courier) set(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func (c *courier) counts() (tried, delivered int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tried, len(c.delivered)
}

// run delivers until the test ends.
func run(t *testing.T, s outbox.Store, c *courier, now func() time.Time) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		outbox.Run(ctx, outbox.Options{Store: s, Server: server, Courier: c, Now: now})
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func settled(t *testing.T, ctx context.Context, s outbox.Store, status outbox.Status, want int) []outbox.Entry {
	t.Helper()
	var all []outbox.Entry
	require.Eventually(t, func() bool {
		var err error
		all, err = s.List(ctx, status, 1000)
		return err == nil && len(all) == want
	}, limit, 5*time.Millisecond, "%d %s", want, status)
	return all
}

func deliversOnce(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	other := open(t, outbox.Limits{})
	c := &courier{refuse: map[uuid.UUID]bool{}}
	const each = 15
	place := map[uuid.UUID]int{}
	for i := range each {
		for _, queue := range []string{"a", "b", "c"} {
			e := Entry(queue)
			if i == 3 {
				c.refuse[e.ID] = true
			}
			place[e.ID] = i
			add(t, ctx, s, e)
		}
	}
	stopFirst := run(t, s, c, nil)
	run(t, other, c, nil)
	require.Eventually(t, func() bool { _, n := c.counts(); return n >= each/2 }, limit, time.Millisecond)
	stopFirst() // the other goes on
	settled(t, ctx, s, outbox.Delivered, 3*(each-1))
	settled(t, ctx, s, outbox.Dead, 3)
	last, seen := map[string]int{}, map[uuid.UUID]bool{}
	for _, e := range c.delivered {
		require.False(t, seen[e.ID], "twice")
		seen[e.ID] = true
		require.GreaterOrEqual(t, place[e.ID], last[e.Queue], "in order")
		last[e.Queue] = place[e.ID]
	}
	require.Len(t, seen, 3*(each-1))
}

// rounds counts how often the deliverer looked for entries.
type rounds struct {
	outbox.Store
	n atomic.Int64
}

func (r *rounds) Heads(ctx context.Context, server string, limit int) ([]outbox.Entry, error) {
	r.n.Add(1)
	return r.Store.Heads(ctx, server, limit)
}

func awayAndBack(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	c := &courier{away: true}
	const queues = 20
	for i := range queues {
		add(t, ctx, s, Entry(fmt.Sprintf("q%d", i)))
	}
	looked := &rounds{Store: s}
	stop := run(t, looked, c, nil)
	require.Eventually(t, func() bool { return looked.n.Load() >= 4 }, limit, time.Millisecond)
	stop()
	tried, _ := c.counts()
	const sideBySide = 8
	require.LessOrEqual(t, tried, sideBySide+int(looked.n.Load())-1, "one entry asks whether the server is back, not every one")
	c.set(false)
	run(t, s, c, nil)
	settled(t, ctx, s, outbox.Delivered, queues)
}

func expires(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	c := &courier{away: true}
	old, young := Entry("a"), Entry("a")
	young.Expires = young.Expires.Add(time.Hour)
	add(t, ctx, s, old, young)
	run(t, s, c, func() time.Time { return old.Expires.Add(time.Second) })
	dead := settled(t, ctx, s, outbox.Dead, 1)
	require.Equal(t, old.ID, dead[0].ID)
	require.Equal(t, outbox.ReasonExpired, dead[0].Reason)
	require.Equal(t, []uuid.UUID{old.ID}, c.expired)
	c.set(false)
	settled(t, ctx, s, outbox.Delivered, 1)
}
