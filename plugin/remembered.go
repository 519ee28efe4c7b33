package plugin

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// remembered is an answer of Prefect's that is used for a while. Errors are
// not remembered.
type remembered[T any] struct {
	age    func(T) time.Duration
	now    func() time.Time
	asking singleflight.Group

	mu    sync.Mutex
	value T
	until time.Time // zero: there is none
}

func newRemembered[T any](age func(T) time.Duration, now func() time.Time) *remembered[T] {
	return &remembered[T]{age: age, now: now}
}

// get gives the answer; requests that come together ask once.
func (r *remembered[T]) get(ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	r.mu.Lock()
	value, until := r.value, r.until
	r.mu.Unlock()
	if r.now().Before(until) {
		return value, nil
	}
	var none T
	// The flight belongs to all who wait for it, so one caller's end must not
	// end it; the client has a deadline of its own.
	flight := r.asking.DoChan("", func() (any, error) {
		asked := r.now()
		got, err := ask(context.WithoutCancel(ctx))
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.value, r.until = got, asked.Add(r.age(got))
		}
		return got, err
	})
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case answer := <-flight:
		if answer.Err != nil {
			return none, answer.Err
		}
		return answer.Val.(T), nil
	}
}

// forget drops the answer if it is the one that is meant.
func (r *remembered[T]) forget(meant func(T) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if meant(r.value) {
		var none T
		r.value, r.until = none, time.Time{}
	}
}
