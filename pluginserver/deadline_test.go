package pluginserver

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEventContext holds that nobody can tell the context from one whose timer
// runs from the start: with and without Done asked for beforehand.
func TestEventContext(t *testing.T) {
	const limit = time.Second
	for _, tc := range []struct {
		name string
		then func(c *eventContext, endLink context.CancelFunc)
		err  error
	}{
		{"nothing happens", func(*eventContext, context.CancelFunc) {}, nil},
		{"just before the deadline", func(*eventContext, context.CancelFunc) { time.Sleep(limit - 1) }, nil},
		{"the deadline", func(*eventContext, context.CancelFunc) { time.Sleep(limit) }, context.DeadlineExceeded},
		{"the event ends", func(c *eventContext, _ context.CancelFunc) { c.end() }, context.Canceled},
		{"the link ends", func(_ *eventContext, endLink context.CancelFunc) { endLink() }, context.Canceled},
	} {
		for _, early := range []bool{false, true} {
			t.Run(map[bool]string{true: "Done before/", false: "Done after/"}[early]+tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					link, endLink := context.WithCancel(t.Context())
					defer endLink()
					c := &eventContext{Context: link, deadline: time.Now().Add(limit)}
					defer c.end()
					if early {
						c.Done()
					}
					require.NoError(t, c.Err())
					tc.then(c, endLink)
					synctest.Wait()
					require.Equal(t, tc.err, c.Err())
					select {
					case <-c.Done():
						require.Error(t, tc.err)
					default:
						require.NoError(t, tc.err)
					}
					require.Equal(t, tc.err, c.Err(), "Done changed it")
					deadline, ok := c.Deadline()
					require.True(t, ok)
					require.Equal(t, c.deadline, deadline)
				})
			})
		}
	}
}

// TestEventContextOfOthers holds that a context made of an event's ends with
// it and costs no goroutine.
func TestEventContextOfOthers(t *testing.T) {
	type key struct{}
	c := &eventContext{Context: context.WithValue(t.Context(), key{}, "of the link"), deadline: time.Now().Add(time.Hour)}
	require.Equal(t, "of the link", c.Value(key{}))
	before := runtime.NumGoroutine()
	child, cancel := context.WithTimeout(c, time.Minute)
	defer cancel()
	require.Equal(t, before, runtime.NumGoroutine())
	require.Equal(t, "of the link", child.Value(key{}))
	c.end()
	<-child.Done()
	require.Equal(t, context.Canceled, child.Err())
}

// TestWatchdog holds that each event has the whole time, to its own deadline,
// by whichever event's timer is running.
func TestWatchdog(t *testing.T) {
	const limit = 10 * time.Second
	type step struct {
		pause, takes time.Duration
		overdue      bool
	}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"one in time", []step{{0, limit - 1, false}}},
		{"one too long", []step{{0, limit + time.Second, true}}},
		{"many in time, together longer than the limit", []step{{0, limit / 3, false}, {0, limit / 3, false}, {0, limit / 3, false}, {0, limit - 1, false}}},
		{"the timer of the first is over during the second", []step{{0, time.Second, false}, {limit - 2*time.Second, 2 * time.Second, false}}},
		{"the second is too long", []step{{0, limit / 2, false}, {0, 2 * limit, true}}},
		{"the timer was over between two", []step{{0, 1, false}, {3 * limit, 2 * limit, true}}},
		{"after one that was too long", []step{{0, 2 * limit, true}, {0, limit - 1, false}, {0, limit + 1, true}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var e *Event
				var began time.Time
				var answered []time.Duration
				w := watchdog{overdue: func(late *Event) {
					require.Same(t, e, late)
					answered = append(answered, time.Since(began))
				}}
				defer w.close()
				for _, s := range tc.steps {
					time.Sleep(s.pause)
					e, began, answered = &Event{}, time.Now(), nil
					e.ctx.deadline = began.Add(limit)
					w.watch(e)
					time.Sleep(s.takes)
					synctest.Wait()
					w.unwatch()
					if s.overdue {
						require.Equal(t, []time.Duration{limit}, answered)
					} else {
						require.Empty(t, answered)
					}
				}
			})
		})
	}
}

// TestWatchdogIsWaitedFor holds that an event doesn't end in the middle of its
// own answer.
func TestWatchdogIsWaitedFor(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	answered := false
	w := watchdog{overdue: func(*Event) {
		close(began)
		<-goOn
		answered = true
	}}
	defer w.close()
	w.watch(&Event{}) // whose deadline was long ago
	<-began
	ended := make(chan bool)
	go func() {
		w.unwatch()
		ended <- answered
	}()
	runtime.Gosched()
	close(goOn)
	require.True(t, <-ended)
}

// TestWatchdogOfAClosedLink holds that nothing outlives a link.
func TestWatchdogOfAClosedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchdog{overdue: func(*Event) { t.Error("a closed link has no events") }}
		e := &Event{}
		e.ctx.deadline = time.Now().Add(time.Second)
		w.watch(e)
		w.close()
		w.watch(e)
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}
