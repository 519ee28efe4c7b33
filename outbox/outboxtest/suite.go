// Package outboxtest holds every store of package outbox to the same promises:
// [Run] runs them all on whichever it is given.
//
// It starts no server, and it doesn't kill anything: what a store must survive
// is shown where its server is at hand.
package outboxtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
)

// Open opens the store that a test is about. Each call with the same test
// opens the same store again, as another process would.
type Open func(t *testing.T, limits outbox.Limits) outbox.Store

const (
	server = "http://prefect:4200/api"
	limit  = 20 * time.Second
)

// Entry is one that waits in a queue.
func Entry(queue string) outbox.Entry {
	now := time.Now().Truncate(time.Microsecond).UTC()
	return outbox.Entry{
		ID: uuid.New(), Server: server, Queue: queue, Owner: "owner", Caller: "svc-nightly", Deployment: "report/prod",
		RequestID: "r-1", Fingerprint: "sha256:a", Accepted: now, Expires: now.Add(time.Hour), GoodUntil: now.Add(2 * time.Hour),
		Payload: []byte(`{"n":12345678901234567890}`),
	}
}

// Run runs all tests.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(t *testing.T, open Open){
		"an entry comes back as it was":                     comesBack,
		"an id that is known is not taken twice":            takenOnce,
		"queues keep their order":                           ordered,
		"a queue that is busy lets others before it":        busyQueue,
		"a status changes from the one it has":              settles,
		"a dead entry is retried, asked for again, dropped": deadEntries,
		"what waits is bounded":                             bounded,
		"what is old or too much is forgotten":              forgets,
		"something small is kept":                           keeps,
		"one leads":                                         leads,
		"many write at once, in two processes":              concurrent,
		"two processes deliver nothing twice, in order":     deliversOnce,
		"a server that is away holds everything up":         awayAndBack,
		"time runs out":                                     expires,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

func opened(t *testing.T, open Open) (outbox.Store, context.Context) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return open(t, outbox.Limits{}), ctx
}

func add(t *testing.T, ctx context.Context, s outbox.Store, entries ...outbox.Entry) {
	t.Helper()
	for _, e := range entries {
		_, added, err := s.Add(ctx, e)
		require.NoError(t, err)
		require.True(t, added)
	}
}

func comesBack(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	e := Entry("q")
	add(t, ctx, s, e)
	e.Status = outbox.Waiting
	got, err := open(t, outbox.Limits{}).Entry(ctx, e.ID)
	require.NoError(t, err)
	require.Equal(t, e, got)
	all, err := s.List(ctx, outbox.Waiting, 10)
	require.NoError(t, err)
	e.Payload = nil
	require.Equal(t, []outbox.Entry{e}, all)
	_, err = s.Entry(ctx, uuid.New())
	require.ErrorIs(t, err, outbox.ErrUnknown)
	waits, err := s.Waits(ctx, server, "q")
	require.NoError(t, err)
	require.True(t, waits)
	waits, err = s.Waits(ctx, server, "another")
	require.NoError(t, err)
	require.False(t, waits)
}

func takenOnce(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	e := Entry("q")
	add(t, ctx, s, e)
	again := e
	again.RequestID, again.Payload = "r-2", []byte("another")
	held, added, err := s.Add(ctx, again)
	require.NoError(t, err)
	require.False(t, added)
	require.Equal(t, "r-1", held.RequestID)
	require.Equal(t, outbox.Waiting, held.Status)
	again.Fingerprint = "sha256:b"
	_, _, err = s.Add(ctx, again)
	require.ErrorIs(t, err, outbox.ErrOther)
	require.NoError(t, s.Settle(ctx, e.ID, outbox.Waiting, outbox.Settlement{Status: outbox.Delivered, At: time.Now(), RunID: "run"}))
	held, added, err = s.Add(ctx, e)
	require.NoError(t, err)
	require.False(t, added)
	require.Equal(t, "run", held.RunID)
	heads, err := s.Heads(ctx, server, 10)
	require.NoError(t, err)
	require.Empty(t, heads)
}

func ordered(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	a1, a2, b1 := Entry("a"), Entry("a"), Entry("b")
	elsewhere := Entry("a")
	elsewhere.Server = "http://another/api"
	add(t, ctx, s, a1, a2, elsewhere, b1)
	require.Equal(t, []uuid.UUID{a1.ID, b1.ID}, heads(t, ctx, s))
	one, err := s.Heads(ctx, server, 1)
	require.NoError(t, err)
	require.Len(t, one, 1)
	require.Equal(t, a1.Payload, one[0].Payload)
	require.NoError(t, s.Settle(ctx, a1.ID, outbox.Waiting, outbox.Settlement{Status: outbox.Delivered, At: time.Now()}))
	require.ElementsMatch(t, []uuid.UUID{a2.ID, b1.ID}, heads(t, ctx, s))
}

// busyQueue: a queue whose first entry was settled stands where its next one
// does, so that one which never empties doesn't stand before all others.
func busyQueue(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	first, next, other := Entry("busy"), Entry("busy"), Entry("other")
	add(t, ctx, s, first, other, next)
	require.Equal(t, []uuid.UUID{first.ID, other.ID}, heads(t, ctx, s))
	dead := outbox.Settlement{Status: outbox.Dead, At: time.Now(), Reason: "x"}
	require.NoError(t, s.Settle(ctx, first.ID, outbox.Waiting, dead))
	require.Equal(t, []uuid.UUID{other.ID, next.ID}, heads(t, ctx, s))
	require.NoError(t, s.Settle(ctx, other.ID, outbox.Waiting, dead))
	require.NoError(t, s.Settle(ctx, other.ID, outbox.Dead, outbox.Settlement{Status: outbox.Waiting}))
	require.Equal(t, []uuid.UUID{next.ID, other.ID}, heads(t, ctx, s), "one that is retried has no older place")
}

func heads(t *testing.T, ctx context.Context, s outbox.Store) (ids []uuid.UUID) {
	t.Helper()
	all, err := s.Heads(ctx, server, 10)
	require.NoError(t, err)
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids
}

func settles(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	e := Entry("q")
	add(t, ctx, s, e)
	at := time.Now().Truncate(time.Microsecond).UTC()
	end := outbox.Settlement{Status: outbox.Delivered, At: at, RunID: "run"}
	require.ErrorIs(t, s.Settle(ctx, e.ID, outbox.Dead, end), outbox.ErrChanged)
	require.ErrorIs(t, s.Settle(ctx, uuid.New(), outbox.Waiting, end), outbox.ErrUnknown)
	require.NoError(t, s.Settle(ctx, e.ID, outbox.Waiting, end))
	require.ErrorIs(t, s.Settle(ctx, e.ID, outbox.Waiting, end), outbox.ErrChanged)
	got, err := s.Entry(ctx, e.ID)
	require.NoError(t, err)
	require.Equal(t, outbox.Delivered, got.Status)
	require.Equal(t, at, got.Settled)
	require.Equal(t, "run", got.RunID)
	require.Empty(t, got.Payload, "there is nothing to deliver any more")
	waits, err := s.Waits(ctx, server, "q")
	require.NoError(t, err)
	require.False(t, waits)
}

func deadEntries(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	e, behind := Entry("q"), Entry("q")
	add(t, ctx, s, e, behind)
	dead := outbox.Settlement{Status: outbox.Dead, At: time.Now(), Reason: "deployment_not_found", Detail: "it is gone"}
	require.NoError(t, s.Settle(ctx, e.ID, outbox.Waiting, dead))
	require.Equal(t, []uuid.UUID{behind.ID}, heads(t, ctx, s), "a dead entry holds nobody up")
	got, err := s.Entry(ctx, e.ID)
	require.NoError(t, err)
	require.Equal(t, "deployment_not_found", got.Reason)
	require.Equal(t, e.Payload, got.Payload, "it may be retried")

	later := e.Expires.Add(time.Minute)
	require.NoError(t, s.Settle(ctx, e.ID, outbox.Dead, outbox.Settlement{Status: outbox.Waiting, Expires: later}))
	require.Equal(t, []uuid.UUID{behind.ID}, heads(t, ctx, s), "at the queue's end")
	require.NoError(t, s.Settle(ctx, behind.ID, outbox.Waiting, outbox.Settlement{Status: outbox.Delivered, At: time.Now()}))
	require.Equal(t, []uuid.UUID{e.ID}, heads(t, ctx, s))
	got, err = s.Entry(ctx, e.ID)
	require.NoError(t, err)
	require.Empty(t, got.Reason)
	require.True(t, got.Settled.IsZero())
	require.Equal(t, later, got.Expires)
	require.Equal(t, e.Payload, got.Payload)

	require.NoError(t, s.Settle(ctx, e.ID, outbox.Waiting, dead))
	add(t, ctx, s, e) // its caller asks again
	require.Equal(t, []uuid.UUID{e.ID}, heads(t, ctx, s))
	require.NoError(t, s.Settle(ctx, e.ID, outbox.Waiting, dead))
	require.NoError(t, s.Settle(ctx, e.ID, outbox.Dead, outbox.Settlement{Status: outbox.Dropped, At: time.Now()}))
	require.Empty(t, heads(t, ctx, s))
	for status, want := range map[outbox.Status]int{outbox.Waiting: 0, outbox.Dead: 0, outbox.Dropped: 1, outbox.Delivered: 1} {
		all, err := s.List(ctx, status, 10)
		require.NoError(t, err)
		require.Len(t, all, want, status)
	}
}

func bounded(t *testing.T, open Open) {
	_, ctx := opened(t, open)
	s := open(t, outbox.Limits{MaxWaiting: 3, MaxWaitingPerQueue: 2})
	first := Entry("a")
	add(t, ctx, s, first, Entry("a"))
	_, _, err := s.Add(ctx, Entry("a"))
	require.ErrorIs(t, err, outbox.ErrFull, "of one queue")
	add(t, ctx, s, Entry("b"))
	_, _, err = s.Add(ctx, Entry("c"))
	require.ErrorIs(t, err, outbox.ErrFull, "of all together")
	_, added, err := s.Add(ctx, first)
	require.NoError(t, err, "one that is held is still found")
	require.False(t, added)
	require.NoError(t, s.Settle(ctx, first.ID, outbox.Waiting, outbox.Settlement{Status: outbox.Delivered, At: time.Now()}))
	add(t, ctx, s, Entry("a"))
}

func forgets(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	now := time.Now()
	var all []outbox.Entry
	for i := range 5 {
		e := Entry("q")
		all = append(all, e)
		add(t, ctx, s, e)
		require.NoError(t, s.Settle(ctx, e.ID, outbox.Waiting, outbox.Settlement{Status: outbox.Delivered, At: now.Add(time.Duration(i) * time.Minute)}))
	}
	waiting := Entry("q")
	add(t, ctx, s, waiting)
	n, err := s.Forget(ctx, outbox.Delivered, now.Add(30*time.Second), 100)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = s.Forget(ctx, outbox.Delivered, now.Add(-time.Hour), 2)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for i, e := range all {
		_, err := s.Entry(ctx, e.ID)
		require.Equal(t, i < 3, err != nil, "%d: %v", i, err)
	}
	require.Equal(t, []uuid.UUID{waiting.ID}, heads(t, ctx, s))
}

func keeps(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	value, err := s.Kept(ctx, "report/prod")
	require.NoError(t, err)
	require.Nil(t, value)
	for _, text := range []string{"one", "two"} {
		require.NoError(t, s.Keep(ctx, "report/prod", []byte(text)))
		value, err = open(t, outbox.Limits{}).Kept(ctx, "report/prod")
		require.NoError(t, err)
		require.Equal(t, text, string(value))
	}
}

func leads(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	other := open(t, outbox.Limits{})
	leading, release, err := s.Lead(ctx, server)
	require.NoError(t, err)
	_, elsewhere, err := other.Lead(ctx, "http://another/api")
	require.NoError(t, err, "each server has its own")
	elsewhere()
	impatient, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, _, err = other.Lead(impatient, server)
	require.Error(t, err)
	require.NoError(t, leading.Err())
	release()
	require.Error(t, leading.Err())
	_, release, err = other.Lead(ctx, server)
	require.NoError(t, err)
	release()
}

func concurrent(t *testing.T, open Open) {
	s, ctx := opened(t, open)
	stores := []outbox.Store{s, open(t, outbox.Limits{})}
	const writers, each = 8, 20
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				e := Entry(fmt.Sprintf("q%d", i))
				if _, added, err := stores[i%2].Add(ctx, e); err != nil || !added {
					t.Errorf("added %t: %v", added, err)
				}
			}
		})
	}
	wg.Wait()
	all, err := s.List(ctx, outbox.Waiting, 1000)
	require.NoError(t, err)
	require.Len(t, all, writers*each)
	require.Len(t, heads(t, ctx, s), writers)
}
