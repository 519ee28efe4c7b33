package prefectclient_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

// recorder keeps the events of a client.
type recorder struct {
	mu     sync.Mutex
	events []prefectclient.Event
}

func (r *recorder) add(e prefectclient.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) states() (states []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == prefectclient.EventBreaker {
			states = append(states, e.State)
		}
	}
	return states
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	once := func(t *testing.T, faults ...prefecttest.Fault) (*prefectclient.Client, stage, *prefecttest.Server, *recorder) {
		s, server := startFake(t)
		server.Script(faults...)
		var seen recorder
		o := hasty(s)
		o.MaxAttempts, o.BreakerFailures, o.BreakerOpenFor, o.OnEvent = 1, 3, 100*time.Millisecond, seen.add
		return newClient(t, o), s, server, &seen
	}
	t.Run("opens, probes once, stays open, probes, closes", func(t *testing.T) {
		t.Parallel()
		client, s, server, seen := once(t, repeated(prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway))[:4]...)
		for range 3 {
			_, err := client.Deployment(ctx, s.first)
			require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
		}
		_, err := client.Deployment(ctx, s.first)
		var e *prefectclient.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, prefectclient.ReasonUnavailable, e.Reason)
		require.Positive(t, e.RetryAfter)
		require.Len(t, server.Requests(), 3, "an open breaker sends nothing")
		require.Eventually(t, func() bool { _, err := client.Deployment(ctx, s.first); return err == nil }, 5*time.Second, 5*time.Millisecond)
		require.Len(t, server.Requests(), 5, "one probe failed, one did not")
		require.Equal(t, []string{"open", "half-open", "open", "half-open", "closed"}, seen.states())
	})
	t.Run("one probe at a time", func(t *testing.T) {
		t.Parallel()
		client, s, server, seen := once(t, append(repeated(prefecttest.Fault{Reset: true})[:3], prefecttest.Fault{Delay: 150 * time.Millisecond})...)
		for range 3 {
			_, _ = client.Deployment(ctx, s.first)
		}
		require.Equal(t, []string{"open"}, seen.states())
		time.Sleep(110 * time.Millisecond) // the time that the breaker stays open
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() { _, _ = client.Deployment(ctx, s.first) })
		}
		callers.Wait()
		require.Len(t, server.Requests(), 4)
	})
	for name, fault := range map[string]prefecttest.Fault{
		"locked":         prefecttest.Locked(prefecttest.AnyRoute),
		"internal error": {Status: 500, Body: `{"exception_message":"Internal Server Error"}`},
		"refusals":       {Status: 409, Body: `{}`},
		"rate limit":     {Status: 429, Body: `{}`},
	} {
		t.Run("stays closed for a server that is alive: "+name, func(t *testing.T) {
			t.Parallel()
			client, s, server, seen := once(t, repeated(fault)[:20]...)
			for range 20 {
				_, err := client.Deployment(ctx, s.first)
				require.Error(t, err)
			}
			require.Empty(t, seen.states())
			require.GreaterOrEqual(t, len(server.Requests()), 20)
		})
	}
	t.Run("opens for a server that answers no read in all the time that it gets", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		server.Script(repeated(prefecttest.Fault{Delay: time.Minute})...)
		o := hasty(s)
		o.AttemptTimeout, o.ReadDeadline, o.BreakerFailures, o.BreakerOpenFor = 200*time.Millisecond, 200*time.Millisecond, 3, time.Minute
		client := newClient(t, o)
		require.Eventually(t, func() bool { // an attempt that begins late, on a busy machine, is no verdict
			_, err := client.Deployment(ctx, s.first)
			require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
			return client.Stats().Breaker == "open"
		}, 20*time.Second, time.Millisecond)
	})
	t.Run("callers who leave say nothing about the server", func(t *testing.T) {
		t.Parallel()
		client, s, _, seen := once(t, repeated(prefecttest.Fault{Delay: time.Minute})...)
		for range 6 {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			_, err := client.Deployment(ctx, s.first)
			cancel()
			require.Error(t, err)
		}
		require.Empty(t, seen.states())
	})
}

func TestBulkhead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	// Three slots a server, two a route, one may wait.
	start := func(t *testing.T, wait time.Duration) (*prefectclient.Client, stage, *prefecttest.Server) {
		s, server := startFake(t)
		o := hasty(s)
		o.MaxConcurrent, o.MaxConcurrentPerRoute, o.MaxWaiting, o.MaxWait = 3, 2, 1, wait
		o.AttemptTimeout, o.Deadline = 10*time.Second, 10*time.Second
		return newClient(t, o), s, server
	}
	occupy := func(t *testing.T, client *prefectclient.Client, s stage, server *prefecttest.Server, n int) (leave func()) {
		ctx, cancel := context.WithCancel(ctx)
		server.Script(repeated(prefecttest.Fault{Delay: time.Minute})[:n]...)
		var gone sync.WaitGroup
		for range n {
			gone.Go(func() { _, _ = client.Deployment(ctx, s.first) })
		}
		require.Eventually(t, func() bool { return server.Unused() == 0 }, 5*time.Second, time.Millisecond)
		leave = func() { cancel(); gone.Wait() }
		t.Cleanup(leave)
		return leave
	}
	t.Run("a route that is full leaves room for others", func(t *testing.T) {
		t.Parallel()
		client, s, server := start(t, 50*time.Millisecond)
		occupy(t, client.Route("slow"), s, server, 2)
		_, err := client.Route("slow").Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonBusy, prefectclient.ReasonOf(err))
		_, err = client.Route("quick").Deployment(ctx, s.first)
		require.NoError(t, err)
	})
	t.Run("a server that is full is not asked", func(t *testing.T) {
		t.Parallel()
		client, s, server := start(t, 50*time.Millisecond)
		occupy(t, client.Route("a"), s, server, 2)
		occupy(t, client.Route("b"), s, server, 1)
		before := len(server.Requests())
		_, err := client.Route("c").Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonBusy, prefectclient.ReasonOf(err))
		require.Len(t, server.Requests(), before)
	})
	t.Run("the queue has an end", func(t *testing.T) {
		t.Parallel()
		client, s, server := start(t, 5*time.Second)
		occupy(t, client, s, server, 2)
		results := make(chan error, 2)
		for range 2 {
			go func() { _, err := client.Deployment(ctx, s.first); results <- err }()
		}
		started := time.Now()
		require.Equal(t, prefectclient.ReasonBusy, prefectclient.ReasonOf(<-results), "the second one to wait")
		require.Less(t, time.Since(started), 2*time.Second)
	})
	t.Run("callers who leave free their slots", func(t *testing.T) {
		t.Parallel()
		client, s, server := start(t, 5*time.Second)
		leave := occupy(t, client, s, server, 2)
		waiting := make(chan error, 1)
		go func() { _, err := client.Deployment(ctx, s.first); waiting <- err }()
		leave()
		require.NoError(t, <-waiting)
		for range 10 {
			_, err := client.Deployment(ctx, s.first)
			require.NoError(t, err)
		}
	})
	t.Run("a caller may leave the queue", func(t *testing.T) {
		t.Parallel()
		client, s, server := start(t, 5*time.Second)
		occupy(t, client, s, server, 2)
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err := client.Deployment(short, s.first)
		require.Equal(t, prefectclient.ReasonCanceled, prefectclient.ReasonOf(err))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
