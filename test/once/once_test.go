package once_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

const (
	callers  = 16
	requests = 1000
	backOff  = 2 * time.Second // of a caller that gets no run at once
)

// clear are the codes of refusals that tell a caller what to do while Prefect is killed.
var clear = []string{"prefect_unavailable", "prefect_busy", "outcome_unknown", "prefect_unauthorized"}

func TestOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PostgreSQL and a Prefect server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 14*time.Minute)
	defer cancel()
	s := newScene(t, ctx, callers)
	t.Run("a thousand requests, two crashes of Prefect, one rotation", func(t *testing.T) { s.thousand(t, ctx) })
	t.Run("the plugin process is killed while requests are accepted and delivered", func(t *testing.T) { s.killed(t, ctx) })
	t.Run("nothing of it is a race, and no secret is written", s.requireClean)
}

// thousand has half of the callers on a route that accepts while Prefect is away.
func (s *scene) thousand(t *testing.T, ctx context.Context) {
	var next atomic.Int64
	load := s.load(t, ctx, callers, false, func() (int, bool) { n := int(next.Add(1)); return n, n <= requests }, func(caller int) string {
		return []string{plainRoute, keptRoute}[caller%2]
	})
	at := func(n int64) {
		require.Eventually(t, func() bool { return next.Load() >= n }, 6*time.Minute, 5*time.Millisecond)
	}
	at(requests / 5)
	s.prefect.Kill()
	require.NoError(t, s.prefect.Restart(ctx))
	at(requests / 2)
	// The credential turns: both are known to the gateway, then Prefect takes the new one alone, then the old one goes.
	old, turned := s.prefect.AuthString(), "admin:"+rand.Text()
	s.writeCredential(t, old, turned)
	s.prefect.Kill()
	s.prefect.SetAuthString(turned)
	require.NoError(t, s.prefect.Restart(ctx))
	at(requests * 3 / 4)
	s.writeCredential(t, turned)
	answers := load()

	told := map[string]int{}
	byRoute := map[string][]answer{}
	for _, a := range answers {
		told[fmt.Sprintf("%s %d %s", a.route, a.status, a.code)]++
		byRoute[a.route] = append(byRoute[a.route], a)
		if !a.accepted() {
			require.True(t, a.problem, "%+v", a)
			require.Contains(t, clear, a.code)
		}
	}
	t.Logf("callers were told: %v", told)
	require.Len(t, answers, requests)
	require.Greater(t, told["kept 202 "], callers, "some came while Prefect was away")
	for route, answers := range byRoute {
		s.requireOnce(t, ctx, route, answers, s.awaitDelivered(t, ctx, answers))
	}
	rotated := 0
	require.NoError(t, audit.Find(s.audit, audit.Query{Types: []audit.Type{audit.CredentialRotated}}, func(audit.Record) bool { rotated++; return true }))
	require.Equal(t, 1, rotated, "switched once, and on record")
}

// load begins to send as so many callers, each one request after the other; the function it returns waits for the end.
// Hurried ones hardly pause.
func (s *scene) load(t *testing.T, ctx context.Context, callers int, hurried bool, next func() (n int, more bool), route func(caller int) string) (wait func() []answer) {
	var (
		mu  sync.Mutex
		all []answer
		wg  sync.WaitGroup
	)
	for caller := range callers {
		wg.Go(func() {
			for n, more := next(); more && ctx.Err() == nil; n, more = next() {
				a, err := s.send(ctx, order{route(caller), caller, n})
				if err != nil {
					t.Errorf("request %d: %v", n, err)
					continue
				}
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
				switch { // as a caller does
				case a.run == "" && !hurried:
					time.Sleep(backOff)
				case !a.accepted():
					time.Sleep(backOff / 10)
				}
			}
		})
	}
	return func() []answer { wg.Wait(); return all }
}

// killed has the plugin process killed twice while it accepts, reloaded while it delivers, and killed again.
func (s *scene) killed(t *testing.T, ctx context.Context) {
	const orders, callers = 160, 8
	_, err := s.send(ctx, order{killsRoute, 0, 0}) // the deployment is known
	require.NoError(t, err)
	s.prefect.Kill()
	var next atomic.Int64
	load := s.load(t, ctx, callers, true, func() (int, bool) { n := int(next.Add(1)); return n, n <= orders }, func(int) string { return killsRoute })
	for _, n := range []int64{orders / 3, orders * 2 / 3} {
		require.Eventually(t, func() bool { return next.Load() >= n }, 2*time.Minute, time.Millisecond)
		require.NoError(t, s.gateway.KillPlugin())
	}
	answers := load()
	told := map[int]int{}
	inOrder := map[order]bool{} // accepted at the first try, each caller's one after the other
	for i, a := range answers {
		told[a.status]++
		if a.accepted() {
			inOrder[a.order] = true
			continue
		}
		// Its caller repeats it, with the same key, until somebody answers.
		require.Equal(t, http.StatusInternalServerError, a.status, "%+v", a)
		require.Eventually(t, func() bool {
			answers[i], err = s.send(ctx, a.order)
			return err == nil && answers[i].accepted()
		}, 30*time.Second, 50*time.Millisecond, "%+v", a)
	}
	t.Logf("callers were told: %v", told)

	require.NoError(t, s.prefect.Restart(ctx))
	s.deliveredSome(t, ctx, orders/4, answers[0])
	require.NoError(t, s.gateway.Reload(ctx)) // two processes for some seconds
	s.deliveredSome(t, ctx, orders/2, answers[0])
	require.NoError(t, s.gateway.KillPlugin())
	delivered := s.awaitDelivered(t, ctx, answers)
	first := answer{order: order{killsRoute, 0, 0}, code: "outcome_unknown"} // it had its run before
	s.requireOnce(t, ctx, killsRoute, append(slices.Clone(answers), first), delivered)
	s.requireOrder(t, ctx, answers, inOrder)
}

// deliveredSome waits until Prefect holds so many runs of the route, while a caller asks how its request stands: a new
// process learns of a Prefect by the first request of a route that calls it.
func (s *scene) deliveredSome(t *testing.T, ctx context.Context, n int, asks answer) {
	require.Eventually(t, func() bool {
		_, _ = s.standing(ctx, asks) // nobody may be there to answer
		runs, err := s.held(ctx, killsRoute)
		return err == nil && len(runs) > n
	}, 2*time.Minute, 50*time.Millisecond)
}

// requireOrder: each caller's runs were created in the order in which its requests were accepted.
func (s *scene) requireOrder(t *testing.T, ctx context.Context, answers []answer, inOrder map[order]bool) {
	inPrefect, err := s.held(ctx, killsRoute)
	require.NoError(t, err)
	last := map[int]run{}
	slices.SortFunc(answers, func(a, b answer) int { return a.n - b.n })
	for _, a := range answers {
		if !inOrder[a.order] {
			continue
		}
		one := inPrefect[a.order][0]
		require.False(t, one.Created.Before(last[a.caller].Created), "caller %d: order %d came before order %d", a.caller, a.n, last[a.caller].Parameters.N)
		last[a.caller] = one
	}
}

func (s *scene) requireClean(t *testing.T) {
	logs := s.gateway.Logs()
	if _, race, found := strings.Cut(logs, "WARNING: DATA RACE"); found {
		t.Errorf("a data race: %.8000s", race)
	}
	hay := []byte(logs)
	for _, path := range []string{s.outboxFile(), s.outboxFile() + "-wal"} {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		hay = append(hay, data...)
	}
	for _, secret := range append([]string{s.prefect.AuthString()}, s.tokens...) {
		require.NotContains(t, string(hay), secret)
	}
}
