package prefectclient

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// bulkhead bounds a client's calls under way, for the server and for each
// route. A call takes its route's slot first, so that a route whose slots are
// all taken waits without holding any of the server's.
type bulkhead struct {
	shared     *shared
	server     *semaphore.Weighted
	perRoute   int64
	maxWaiting int
	maxWait    time.Duration

	mu     sync.Mutex
	routes map[string]*routeSlots // holds routes with calls under way only
}

type routeSlots struct {
	slots *semaphore.Weighted
	calls int // under way or waiting
}

func newBulkhead(o Options, s *shared) *bulkhead {
	return &bulkhead{
		shared:     s,
		server:     s.slotsOf(o.MaxConcurrent),
		perRoute:   int64(o.MaxConcurrentPerRoute),
		maxWaiting: o.MaxWaiting,
		maxWait:    o.MaxWait,
		routes:     make(map[string]*routeSlots),
	}
}

// enter waits for a slot, no longer than maxWait and ctx allow. The caller
// calls leave exactly once when it returns nil error.
func (b *bulkhead) enter(ctx context.Context, route string) (leave func(), err *Error) {
	r := b.join(route)
	if r == nil {
		return nil, &Error{Reason: ReasonBusy, Detail: "too many calls of this route are waiting", RetryAfter: time.Second}
	}
	wait, cancel := context.WithTimeout(ctx, b.maxWait)
	defer cancel()
	if r.slots.Acquire(wait, 1) != nil {
		b.part(route, r)
		return nil, noSlot(ctx, "no slot of this route became free in time")
	}
	if b.server.Acquire(wait, 1) != nil {
		r.slots.Release(1)
		b.part(route, r)
		return nil, noSlot(ctx, "no slot of this server became free in time")
	}
	b.shared.held.Add(1)
	return func() {
		b.shared.held.Add(-1)
		b.server.Release(1)
		r.slots.Release(1)
		b.part(route, r)
	}, nil
}

// noSlot tells a caller that went away from one that waited in vain.
func noSlot(ctx context.Context, detail string) *Error {
	if ctx.Err() != nil {
		return &Error{Reason: ReasonCanceled, cause: context.Cause(ctx)}
	}
	return &Error{Reason: ReasonBusy, Detail: detail, RetryAfter: time.Second}
}

// join counts a call of the route, or returns nil when too many are waiting.
func (b *bulkhead) join(route string) *routeSlots {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.routes[route]
	if r == nil {
		r = &routeSlots{slots: semaphore.NewWeighted(b.perRoute)}
		b.routes[route] = r
	}
	if r.calls >= int(b.perRoute)+b.maxWaiting {
		return nil
	}
	r.calls++
	b.shared.calls.Add(1)
	return r
}

func (b *bulkhead) part(route string, r *routeSlots) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared.calls.Add(-1)
	if r.calls--; r.calls == 0 {
		delete(b.routes, route)
	}
}
