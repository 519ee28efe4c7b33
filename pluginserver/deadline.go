package pluginserver

import (
	"context"
	"sync"
	"time"
)

// eventContext is the context of an event: it ends with the event, with the
// link, or when the event has lasted too long. Arming a timer wakes Go's poller,
// which costs as much as a flight, so there is none before somebody waits: most
// events never look at Done.
type eventContext struct {
	context.Context // the link's
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // once Done was asked for
	cancel context.CancelFunc
	over   bool
}

// Deadline is when the event is answered for its handler.
func (c *eventContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done makes the timer, the first time.
func (c *eventContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.timed.Done()
}

// Err is that of the timed context, as if it had been there from the start.
func (c *eventContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		return c.timed.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if c.over {
		return context.Canceled
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value lets a context that is made of this one find the timed context, and be
// ended by it without a goroutine.
func (c *eventContext) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

func (c *eventContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}

// watchdog answers for the handlers of one link that take too long. Its timer
// is armed once in many events: when it fires it looks at what runs then, and
// is set to that event's end.
type watchdog struct {
	overdue func(*Event) // answers

	mu     sync.Mutex
	timer  *time.Timer // nil: never armed
	armed  bool
	closed bool
	event  *Event // which runs now
}

// watch begins with an event.
func (w *watchdog) watch(e *Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event = e
	if !w.armed {
		w.arm()
	}
}

// unwatch ends with it. An answer that is under way is waited for: the link is
// the watchdog's until then.
func (w *watchdog) unwatch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event = nil
}

func (w *watchdog) arm() {
	w.armed = !w.closed
	switch {
	case w.closed:
	case w.timer == nil:
		w.timer = time.AfterFunc(time.Until(w.event.ctx.deadline), w.look)
	default:
		w.timer.Reset(time.Until(w.event.ctx.deadline))
	}
}

func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	switch {
	case w.event == nil:
	case time.Now().Before(w.event.ctx.deadline):
		w.arm()
	default:
		w.overdue(w.event)
		w.event = nil
	}
}

func (w *watchdog) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
