package prefectclient

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// begin opens a call: the limit runs, and a slot is held until end.
func (c *Client) begin(ctx context.Context, name string, limit time.Duration) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	leave, busy := c.slots.enter(ctx, c.route)
	if busy != nil {
		cancel()
		busy.Op = name
		return nil, nil, busy
	}
	return ctx, func() { leave(); cancel() }, nil
}

// call is a whole operation without a lasting effect.
func (c *Client) call(ctx context.Context, op *operation) error {
	ctx, end, err := c.begin(ctx, op.name, c.options.ReadDeadline)
	if err != nil {
		return err
	}
	defer end()
	if _, f := c.repeat(ctx, op); f != nil {
		return f.Error
	}
	return nil
}

// repeat sends an operation until it succeeds, can't succeed, or the time or
// the attempts are used up. It is the only loop that repeats requests. The
// failure is the last one, and says whether any attempt may have had an
// effect.
func (c *Client) repeat(ctx context.Context, op *operation) (answer, *failure) {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: c.options.MinBackoff, MaxInterval: c.options.MaxBackoff,
		Multiplier: 1.6, RandomizationFactor: 0.5,
	}
	var maybeDone, inFlight bool
	var last *failure
	for attempt := 1; ; attempt++ {
		got, f := c.shared.breaker.do(op, func() (answer, *failure) { return c.attempt(ctx, op) })
		if f == nil {
			got.afterLoss = maybeDone
			return got, nil
		}
		maybeDone, inFlight = maybeDone || f.maybeDone, inFlight || f.inFlight
		if f.notSent && f.Reason == ReasonUnavailable && last != nil {
			// The breaker opened meanwhile; what this call saw says more.
			f.Status, f.cause = last.Status, last.cause
		}
		f.Attempts, f.maybeDone, f.inFlight = attempt, maybeDone, inFlight
		last = f
		if !c.again(ctx, op, f, c.pauseAfter(f, pauses)) {
			return answer{}, f
		}
	}
}

// again decides about another attempt and waits for its time.
func (c *Client) again(ctx context.Context, op *operation, f *failure, wait time.Duration) bool {
	// An open breaker ends a call at once, unless the call has to know what
	// became of an earlier attempt.
	worthIt := f.retry || (f.notSent && f.maybeDone && f.Reason == ReasonUnavailable)
	if !worthIt || f.Attempts >= c.options.MaxAttempts || ctx.Err() != nil {
		return false
	}
	c.log.Debug("prefect request failed, retrying", "op", op.name, "attempt", f.Attempts, "status", f.Status, "reason", f.Reason, "wait", wait)
	c.emit(Event{Kind: EventRetry, Reason: f.Reason})
	return pause(ctx, wait)
}

// pauseAfter is the jittered pause, or what the server asked for plus some
// jitter, so that its callers do not all come back at the same moment.
func (c *Client) pauseAfter(f *failure, pauses *backoff.ExponentialBackOff) time.Duration {
	if f.stale && f.Attempts == 1 {
		return 0
	}
	own := pauses.NextBackOff()
	if f.RetryAfter > 0 {
		return f.RetryAfter + min(own, c.options.MinBackoff)
	}
	return own
}
