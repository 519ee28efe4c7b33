package prefectclient_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

// watching is a watcher that polls slowly, so that only events and the reads
// of its own make a test fast.
func watching(t *testing.T, change func(*prefectclient.WatcherOptions)) (*prefectclient.Watcher, *prefectclient.Client, stage, *prefecttest.Server) {
	s, server := startFake(t)
	o := hasty(s)
	o.Credentials = prefectclient.AuthString(authString, "admin:next")
	client := newClient(t, o)
	options := prefectclient.WatcherOptions{Client: client, FirstPoll: time.Hour, PollEvery: time.Hour, PollEveryWithoutEvents: time.Hour}
	if change != nil {
		change(&options)
	}
	watcher, err := prefectclient.NewWatcher(options)
	require.NoError(t, err)
	t.Cleanup(watcher.Close)
	return watcher, client, s, server
}

func startRun(t *testing.T, client *prefectclient.Client, s stage) uuid.UUID {
	t.Helper()
	run, _, err := client.CreateFlowRun(context.Background(), s.first, newRun())
	require.NoError(t, err)
	return run.ID
}

// waitFor waits in the background.
func waitFor(watcher *prefectclient.Watcher, id uuid.UUID) <-chan prefectclient.FlowRun {
	ended := make(chan prefectclient.FlowRun, 1)
	go func() {
		if run, err := watcher.Wait(context.Background(), id); err == nil {
			ended <- run
		}
		close(ended)
	}()
	return ended
}

func within(t *testing.T, limit time.Duration, ended <-chan prefectclient.FlowRun) prefectclient.FlowRun {
	t.Helper()
	select {
	case run, ok := <-ended:
		require.True(t, ok)
		return run
	case <-time.After(limit):
		require.Fail(t, "the end wasn't told")
		return prefectclient.FlowRun{}
	}
}

func live(t *testing.T, w *prefectclient.Watcher, server *prefecttest.Server) {
	t.Helper()
	require.Eventually(t, func() bool { open, _ := server.Subscriptions(); return w.Live() && open == 1 }, 10*time.Second, time.Millisecond)
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	t.Run("an end is told by its event", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		id := startRun(t, client, s)
		ended := waitFor(watcher, id)
		live(t, watcher, server)
		server.SetState(id, "COMPLETED", "A name of the flow's own")
		run := within(t, 5*time.Second, ended)
		require.Equal(t, "COMPLETED", run.State.Type)
		require.Equal(t, id, run.ID)
	})
	t.Run("an end before the watch is told at once", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		id := startRun(t, client, s)
		server.SetState(id, "FAILED", "Failed")
		require.Equal(t, "FAILED", within(t, 5*time.Second, waitFor(watcher, id)).State.Type)
	})
	t.Run("an event that isn't true ends nothing", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		id := startRun(t, client, s)
		ended := waitFor(watcher, id)
		live(t, watcher, server)
		before := len(server.Requests())
		server.Emit(id, "COMPLETED", "Completed")
		require.Eventually(t, func() bool { return len(server.Requests()) > before }, 5*time.Second, time.Millisecond, "it is looked into")
		require.Empty(t, ended)
		server.SetState(id, "CRASHED", "Crashed")
		require.Equal(t, "CRASHED", within(t, 5*time.Second, ended).State.Type)
	})
	t.Run("a lost event is made up for by the poll", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, func(o *prefectclient.WatcherOptions) { o.PollEvery = 300 * time.Millisecond })
		id := startRun(t, client, s)
		ended := waitFor(watcher, id)
		live(t, watcher, server)
		server.Mute(true)
		server.SetState(id, "COMPLETED", "Completed")
		within(t, 10*time.Second, ended)
	})
	t.Run("an end while the connection is gone is found after it", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		id := startRun(t, client, s)
		ended := waitFor(watcher, id)
		live(t, watcher, server)
		server.Mute(true)
		server.SetState(id, "CANCELLED", "Cancelled")
		server.DropConnections()
		within(t, 10*time.Second, ended)
		_, total := server.Subscriptions()
		require.GreaterOrEqual(t, total, 1)
	})
	t.Run("any number of callers share one subscription", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		const runs, callers = 40, 5
		var all []<-chan prefectclient.FlowRun
		var ids []uuid.UUID
		for range runs {
			id := startRun(t, client, s)
			ids = append(ids, id)
			for range callers {
				all = append(all, waitFor(watcher, id))
			}
		}
		live(t, watcher, server)
		before := len(server.Requests())
		for _, id := range ids {
			server.SetState(id, "COMPLETED", "Completed")
		}
		for _, ended := range all {
			within(t, 10*time.Second, ended)
		}
		open, total := server.Subscriptions()
		require.Equal(t, []int{1, 1}, []int{open, total})
		require.LessOrEqual(t, len(server.Requests())-before, 2*runs, "callers of one run are told by one read")
	})
	t.Run("a credential that was replaced", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		id := startRun(t, client, s)
		ended := waitFor(watcher, id)
		live(t, watcher, server)
		server.Accept(prefecttest.Options{AuthStrings: []string{"admin:next"}})
		server.DropConnections()
		live(t, watcher, server)
		server.SetState(id, "COMPLETED", "Completed")
		within(t, 10*time.Second, ended)
	})
	t.Run("a run that was deleted", func(t *testing.T) {
		t.Parallel()
		watcher, client, s, server := watching(t, nil)
		id := startRun(t, client, s)
		server.Delete(id)
		_, err := watcher.Wait(context.Background(), id)
		require.Equal(t, prefectclient.ReasonNotFound, prefectclient.ReasonOf(err))
	})
}

func TestWatcherWithoutEvents(t *testing.T) {
	t.Parallel()
	watcher, client, s, server := watching(t, func(o *prefectclient.WatcherOptions) { o.PollEveryWithoutEvents = 300 * time.Millisecond })
	var faults []prefecttest.Fault
	for range 1000 {
		faults = append(faults, prefecttest.Fault{Route: "events/out", Status: 403, Body: "no websockets here"})
	}
	server.Script(faults...)
	ids := []uuid.UUID{startRun(t, client, s), startRun(t, client, s), startRun(t, client, s)}
	var all []<-chan prefectclient.FlowRun
	for _, id := range ids {
		all = append(all, waitFor(watcher, id))
	}
	for _, id := range ids {
		server.SetState(id, "COMPLETED", "Completed")
	}
	for _, ended := range all {
		within(t, 10*time.Second, ended)
	}
	require.False(t, watcher.Live())
}

func TestWatcherLimits(t *testing.T) {
	t.Parallel()
	watcher, client, s, server := watching(t, func(o *prefectclient.WatcherOptions) {
		o.MaxRuns, o.Linger = 1, time.Millisecond
	})
	id := startRun(t, client, s)
	leaving, leave := context.WithCancel(context.Background())
	var gone sync.WaitGroup
	gone.Go(func() {
		_, err := watcher.Wait(leaving, id)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who leaves: %v", err)
		}
	})
	live(t, watcher, server)
	_, err := watcher.Notify(uuid.New(), nil)
	require.Equal(t, prefectclient.ReasonBusy, prefectclient.ReasonOf(err))
	leave()
	gone.Wait()
	require.Eventually(t, func() bool { open, _ := server.Subscriptions(); return open == 0 }, 10*time.Second, time.Millisecond,
		"without a run to watch there is no subscription")

	told := make(chan error, 1)
	_, err = watcher.Notify(id, func(_ prefectclient.FlowRun, err error) { told <- err })
	require.NoError(t, err, "its place is free again")
	live(t, watcher, server)
	watcher.Close()
	require.ErrorIs(t, <-told, prefectclient.ErrWatcherClosed)
	_, err = watcher.Notify(id, nil)
	require.ErrorIs(t, err, prefectclient.ErrWatcherClosed)
}
