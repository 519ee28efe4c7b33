package quota

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakePrefect counts what was made.
type fakePrefect struct {
	running atomic.Int64
	started bool
	err     error
}

func (p *fakePrefect) Running(context.Context, bool) (int, error) {
	return int(p.running.Load()), p.err
}
func (p *fakePrefect) Started(context.Context) (bool, error) { return p.started, nil }

func newCounts(t *testing.T, o CountsOptions) *Counts {
	t.Helper()
	c, err := NewCounts(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func take(q *Quota, caller, run string, p Prefect) (*Place, string) {
	place, err := q.Take(context.Background(), Ask{"d", caller, run}, p)
	var exceeded *Exceeded
	switch {
	case err == nil:
		return place, ""
	case errors.As(err, &exceeded):
		return nil, exceeded.Name
	}
	return nil, err.Error()
}

func TestRunsAMinute(t *testing.T) {
	t.Parallel()
	ctx, now := context.Background(), time.Now()
	q := New(Limits{CallerPerMinute: 2, DeploymentPerMinute: 3}, newCounts(t, CountsOptions{Now: func() time.Time { return now }}))
	p, refused := take(q, "a", "1", nil)
	require.Empty(t, refused)
	require.Equal(t, []Standing{{"caller", 2, 1, time.Minute}, {"deployment", 3, 2, time.Minute}}, p.Standings)
	p.Made(ctx)
	now = now.Add(20 * time.Second)
	_, refused = take(q, "a", "2", nil)
	require.Empty(t, refused)
	_, refused = take(q, "a", "3", nil)
	require.Equal(t, "caller", refused)
	_, refused = take(q, "b", "4", nil)
	require.Empty(t, refused, "another caller")
	_, refused = take(q, "b", "5", nil)
	require.Equal(t, "deployment", refused)

	p, refused = take(q, "a", "1", nil)
	require.Empty(t, refused, "the same request again")
	p.GiveBack(ctx)
	_, refused = take(q, "a", "6", nil)
	require.Equal(t, "caller", refused, "what was counted for a run that is there isn't given back")

	_, err := q.Take(ctx, Ask{"d", "a", "6"}, nil)
	var exceeded *Exceeded
	require.ErrorAs(t, err, &exceeded)
	require.Equal(t, 40*time.Second, exceeded.Reset, "then the first one is a minute old")
	now = now.Add(40 * time.Second)
	p, refused = take(q, "a", "6", nil)
	require.Empty(t, refused)
	p.GiveBack(ctx)
	p.Made(ctx)
	_, refused = take(q, "a", "7", nil)
	require.Empty(t, refused, "what was given back is free, whatever is said afterwards")
}

func TestRunsAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	q := New(Limits{CallerAtOnce: 2}, newCounts(t, CountsOptions{}))
	prefect := &fakePrefect{}
	prefect.running.Store(1)
	first, refused := take(q, "a", "1", prefect)
	require.Empty(t, refused)
	_, refused = take(q, "a", "2", prefect)
	require.Equal(t, "caller-at-once", refused, "the first one isn't in Prefect's count yet")
	first.GiveBack(ctx)
	second, refused := take(q, "a", "2", prefect)
	require.Empty(t, refused)
	prefect.running.Store(2)
	second.Made(ctx)
	_, refused = take(q, "a", "3", prefect)
	require.Equal(t, "caller-at-once", refused)
	prefect.started = true
	_, refused = take(q, "a", "2", prefect)
	require.Empty(t, refused, "it is one of those that run")
	prefect.err, prefect.started = errors.New("away"), false
	_, refused = take(q, "a", "4", prefect)
	require.Equal(t, "away", refused, "nobody passes uncounted")
}

// meanwhile is a Prefect that is asked while something else happens.
type meanwhile struct {
	Prefect
	happens func()
}

func (p meanwhile) Running(ctx context.Context, all bool) (int, error) {
	p.happens()
	return p.Prefect.Running(ctx, all)
}

// Requests with one key may come together: the run is counted once whichever of
// them makes it, and none passes because another is being looked at.
func TestRequestsOfOneKeyThatComeTogether(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	full := &fakePrefect{}
	full.running.Store(1)
	q := New(Limits{CallerPerMinute: 5, CallerAtOnce: 1}, newCounts(t, CountsOptions{}))
	_, refused := take(q, "a", "1", meanwhile{full, func() {
		_, refused := take(q, "a", "1", full)
		require.Equal(t, "caller-at-once", refused)
	}})
	require.Equal(t, "caller-at-once", refused)

	for name, end := range map[string]func(first, second *Place){
		"the second makes it":                  func(first, second *Place) { second.Made(ctx); first.WasThere(ctx) },
		"the second makes it, the first fails": func(first, second *Place) { first.GiveBack(ctx); second.Made(ctx) },
		"the first makes it":                   func(first, second *Place) { first.Made(ctx); second.WasThere(ctx) },
		"the second fails":                     func(first, second *Place) { second.GiveBack(ctx); first.Made(ctx) },
	} {
		q := New(Limits{CallerPerMinute: 1}, newCounts(t, CountsOptions{}))
		first, refused := take(q, "a", "1", nil)
		require.Empty(t, refused)
		second, refused := take(q, "a", "1", nil)
		require.Empty(t, refused)
		end(first, second)
		_, refused = take(q, "a", "2", nil)
		require.Equal(t, "caller", refused, name)
	}
}

// However many ask together, there is never one too many.
func TestNeverOneTooMany(t *testing.T) {
	t.Parallel()
	const most, asking = 5, 200
	c := newCounts(t, CountsOptions{})
	for name, l := range map[string]Limits{"a minute": {DeploymentPerMinute: most}, "at once": {DeploymentAtOnce: most}} {
		q, prefect := New(l, c), &fakePrefect{}
		var made atomic.Int64
		var all sync.WaitGroup
		for i := range asking {
			all.Go(func() {
				if p, refused := take(q, fmt.Sprint(i%3), name+fmt.Sprint(i), prefect); refused == "" {
					prefect.running.Add(1)
					made.Add(1)
					p.Made(context.Background())
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, int(made.Load()), most, name)
		require.Positive(t, made.Load(), name)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newCounts(t, CountsOptions{Now: func() time.Time { return now }})
	c.memory.max = 3
	q := New(Limits{CallerPerMinute: 1}, c)
	for i := range 3 {
		_, refused := take(q, fmt.Sprint(i), fmt.Sprint(i), nil)
		require.Empty(t, refused)
	}
	_, refused := take(q, "more", "more", nil)
	require.Equal(t, ErrUnavailable.Error(), refused)
	now = now.Add(time.Minute)
	_, refused = take(q, "more", "more", nil)
	require.Empty(t, refused, "what is a minute old is forgotten")
	require.Len(t, c.memory.all, 1)
}

func TestNoLimitsCountNothing(t *testing.T) {
	t.Parallel()
	c := newCounts(t, CountsOptions{})
	p, refused := take(New(Limits{}, c), "a", "1", nil)
	require.Empty(t, refused)
	p.Made(context.Background())
	require.Empty(t, c.memory.all)
}

func TestAddressIsNotQuoted(t *testing.T) {
	t.Parallel()
	_, err := NewCounts(CountsOptions{RedisURL: "redis://user:hunter2@%zz"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

// A Redis that is gone is asked once in a while, and its going is said once.
func TestRedisIsGone(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{false, true} {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, closed.Close())
		var log bytes.Buffer
		c := newCounts(t, CountsOptions{RedisURL: "redis://:hunter2@" + closed.Addr().String(), AloneWithoutRedis: alone,
			Logger: slog.New(slog.NewTextHandler(&log, nil))})
		q := New(Limits{CallerPerMinute: 2}, c)
		for i := range 3 {
			_, err := q.Take(context.Background(), Ask{"d", "a", fmt.Sprint(i)}, nil)
			switch {
			case !alone:
				require.ErrorIs(t, err, ErrUnavailable)
				require.NotContains(t, err.Error(), "hunter2")
			case i < 2:
				require.NoError(t, err, "counted by this node")
			default:
				require.ErrorAs(t, err, new(*Exceeded))
			}
		}
		require.Equal(t, 1, strings.Count(log.String(), "\n"), "%s", &log)
		require.Contains(t, log.String(), map[bool]string{false: "start no runs", true: "alone"}[alone])
		require.NotContains(t, log.String(), "hunter2")
	}
}

// While Redis is known to be gone callers don't wait for it one by one.
func TestRedisThatIsGoneIsLeftAlone(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	now := time.Now()
	q := New(Limits{CallerPerMinute: 2}, newCounts(t, CountsOptions{RedisURL: "redis://" + closed.Addr().String(), Now: func() time.Time { return now }}))
	const leftAloneNow = "gave no answer a moment ago"
	for _, asked := range []bool{true, false, false} {
		_, refused := take(q, "a", "1", nil)
		require.Contains(t, refused, ErrUnavailable.Error())
		require.Equal(t, !asked, strings.Contains(refused, leftAloneNow), refused)
	}
	now = now.Add(leftAlone)
	_, refused := take(q, "a", "1", nil)
	require.NotContains(t, refused, leftAloneNow)
}
