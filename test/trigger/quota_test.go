package trigger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/quota"
)

func requireRedis(t *testing.T) {
	t.Helper()
	if s.redis == nil {
		t.Skip("redis-server isn't installed")
	}
}

// Two gateways count together, each run once.
func TestRunsAMinuteAcrossGateways(t *testing.T) {
	requireRedis(t)
	start := func(gateway int, by, key string) response {
		r := request{path: "/run/minute", body: emea, by: by, gateway: gateway}
		if key != "" {
			r.headers = map[string]string{"Idempotency-Key": key}
		}
		return send(t, r)
	}
	first := start(0, "", "once")
	run := requireRun(t, first, http.StatusCreated)
	require.Equal(t, `"caller";q=3;qu="runs";w=60, "deployment";q=4;qu="runs";w=60`, first.header.Get("RateLimit-Policy"))
	require.Contains(t, first.header.Get("RateLimit"), `"caller";r=2;t=`)
	for gateway := range s.gateways {
		again := start(gateway, "", "once")
		require.Equal(t, run.ID, requireRun(t, again, http.StatusOK).ID)
		require.Contains(t, again.header.Get("RateLimit"), fmt.Sprintf(`"caller";r=%d;t=`, 2-gateway), "a repeated request is the same run")
		requireRun(t, start(gateway, "", ""), http.StatusCreated)
	}
	for gateway := range s.gateways {
		refused := start(gateway, "", "")
		p := requireRefused(t, refused, http.StatusTooManyRequests, "quota_exceeded")
		require.Contains(t, p.Detail, `"caller" is 3`)
		seconds, err := strconv.Atoi(refused.header.Get("Retry-After"))
		require.NoError(t, err)
		require.True(t, seconds > 0 && seconds <= 60, "%d", seconds)
		require.Equal(t, `"caller";q=3;qu="runs";w=60`, refused.header.Get("RateLimit-Policy"))
		require.Contains(t, refused.header.Get("RateLimit"), `"caller";r=0;t=`)
	}
	requireRun(t, start(1, "svc-second", ""), http.StatusCreated)
	p := requireRefused(t, start(0, "svc-second", ""), http.StatusTooManyRequests, "quota_exceeded")
	require.Contains(t, p.Detail, `"deployment" is 4`)
	require.Equal(t, 4, runs(t, "counted/minute"))
}

// However many ask at both gateways, no more run at once than may; one that
// ends makes room.
func TestRunsAtOnceAcrossGateways(t *testing.T) {
	requireRedis(t)
	start := func(gateway int, by string) response {
		return send(t, request{path: "/run/at-once", body: emea, by: by, gateway: gateway})
	}
	var all sync.WaitGroup
	answers := make([]response, 8)
	for i := range answers {
		all.Go(func() { answers[i] = start(i%len(s.gateways), "") })
	}
	all.Wait()
	created := 0
	for _, a := range answers {
		if a.status == http.StatusCreated {
			created++
			continue
		}
		requireRefused(t, a, http.StatusTooManyRequests, "too_many_runs")
		require.Equal(t, `"caller-at-once";q=2;qu="concurrent-runs"`, a.header.Get("RateLimit-Policy"))
	}
	require.LessOrEqual(t, created, 2)
	for ; created < 2; created++ { // those who met in the line may all have been refused but one
		requireRun(t, start(0, ""), http.StatusCreated)
	}
	requireRefused(t, start(1, ""), http.StatusTooManyRequests, "too_many_runs")
	last := requireRun(t, start(1, "svc-second"), http.StatusCreated)
	p := requireRefused(t, start(0, "svc-second"), http.StatusTooManyRequests, "too_many_runs")
	require.Contains(t, p.Detail, `"deployment-at-once" is 3`)

	requireRun(t, send(t, request{method: http.MethodDelete, path: last.Links["status"], by: "svc-second"}), http.StatusOK)
	requireRun(t, start(0, "svc-second"), http.StatusCreated)
}

// Redis is taken away and comes back: the route does what its configuration
// says, and the log says so.
func TestRedisIsTakenAway(t *testing.T) {
	requireRedis(t)
	start := func(path string, gateway int) response {
		return send(t, request{path: path, body: emea, gateway: gateway})
	}
	requireRun(t, start("/run/alone", 0), http.StatusCreated)
	s.redis.Halt()
	back := false
	defer func() {
		if !back { // others need it
			require.NoError(t, s.redis.Restart(context.WithoutCancel(t.Context())))
		}
	}()
	for gateway := range s.gateways {
		refused := start("/run/refusing", gateway)
		requireRefused(t, refused, http.StatusServiceUnavailable, "quota_unavailable")
		require.NotEmpty(t, refused.header.Get("Retry-After"))
		for range 2 {
			requireRun(t, start("/run/alone", gateway), http.StatusCreated)
		}
		requireRefused(t, start("/run/alone", gateway), http.StatusTooManyRequests, "quota_exceeded")
		logs := s.gateways[gateway].Logs()
		for _, said := range []string{"routes with quotas start no runs", "this node counts its own runs alone"} {
			require.Equal(t, 1, strings.Count(logs, `level=ERROR msg="quotas: Redis is gone, `+said), "%s", logs)
		}
		require.NotContains(t, logs, s.redis.Password())
	}
	require.Zero(t, runs(t, "counted/refusing"))

	require.NoError(t, s.redis.Restart(t.Context()))
	back = true
	require.Eventually(t, func() bool { return start("/run/refusing", 0).status == http.StatusCreated }, 20*time.Second, 200*time.Millisecond)
	requireRun(t, start("/run/alone", 0), http.StatusCreated)
	require.Contains(t, s.gateways[0].Logs(), "Redis is back")
}

// crowd counts the runs that were let through.
type crowd struct {
	mu   sync.Mutex
	made int
}

func (c *crowd) Running(context.Context, bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made, nil
}

func (c *crowd) Started(context.Context) (bool, error) { return false, nil }

// Several nodes at one real Redis: never one too many, of either kind.
func TestNeverOneTooManyInRedis(t *testing.T) {
	requireRedis(t)
	const most = 5
	for name, l := range map[string]quota.Limits{"minute": {DeploymentPerMinute: most}, "at once": {DeploymentAtOnce: most}} {
		here := &crowd{}
		var all sync.WaitGroup
		for node := range 3 {
			counts, err := quota.NewCounts(quota.CountsOptions{RedisURL: s.redis.URL()})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, counts.Close()) })
			q := quota.New(l, counts)
			for i := range 20 {
				all.Go(func() {
					place, err := q.Take(t.Context(), quota.Ask{Deployment: "crowd " + name, Caller: fmt.Sprint(i % 3), Run: fmt.Sprint(node, i)}, here)
					if err != nil {
						if !errors.As(err, new(*quota.Exceeded)) {
							t.Error(err)
						}
						return
					}
					here.mu.Lock()
					here.made++
					here.mu.Unlock()
					place.Made(t.Context())
				})
			}
		}
		all.Wait()
		require.LessOrEqual(t, here.made, most, name)
		require.Positive(t, here.made, name)
	}
}
