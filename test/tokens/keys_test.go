package tokens

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// traffic runs callers until it is stopped: good ones, of which none may be refused, and bad ones, of which none may be
// let through.
type traffic struct {
	done  chan struct{}
	group sync.WaitGroup
	good  atomic.Int64
	bad   atomic.Int64
	wrong sync.Map // what happened that must not, by its description
}

func (tr *traffic) caller(t *testing.T, path string, token func() string, good bool) {
	t.Helper()
	tr.group.Go(func() {
		for {
			select {
			case <-tr.done:
				return
			default:
			}
			a := call(t, path, bearer(token()))
			switch {
			case good && a.status == http.StatusOK:
				tr.good.Add(1)
			case !good && a.status == http.StatusUnauthorized:
				tr.bad.Add(1)
			case good:
				tr.wrong.Store("a good request was refused: "+a.code, true)
			default:
				tr.wrong.Store("a bad request got "+http.StatusText(a.status)+" "+a.code, true)
			}
		}
	})
}

func (tr *traffic) requireFine(t *testing.T) {
	t.Helper()
	close(tr.done)
	tr.group.Wait()
	tr.wrong.Range(func(what, _ any) bool {
		t.Error(what)
		return true
	})
	require.Positive(t, tr.good.Load())
	t.Logf("%d good requests taken, %d bad ones refused", tr.good.Load(), tr.bad.Load())
}

func always(token string) func() string { return func() string { return token } }

// forgeries are tokens that no key of the provider's ever signed, or that say what isn't so.
func forgeries(t *testing.T, p *provider.Provider) []string {
	t.Helper()
	foreign, err := provider.ForeignKey()
	require.NoError(t, err)
	var list []string
	for _, f := range []provider.Forgery{
		{Service: "svc", Key: foreign},
		{Service: "svc", Claims: map[string]any{"aud": "somebody-else"}},
		{Service: "svc", Claims: map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}},
	} {
		token, err := p.Forge(f)
		require.NoError(t, err)
		list = append(list, token)
	}
	return list
}

// TestKeysRotateWhileRequestsRun: tokens of the old key stay good while it is published, tokens of the new one are good
// at once, forgeries never are; and what only the withdrawn key signed is refused when the keys were fetched again.
func TestKeysRotateWhileRequestsRun(t *testing.T) {
	t.Parallel()
	p := s.rotating
	old := serviceToken(t, p, "svc")
	requireTaken(t, call(t, "/rotating", bearer(old)), "svc")
	tr := &traffic{done: make(chan struct{})}
	tr.caller(t, "/rotating", always(old), true)
	fresh := func() string { return serviceToken(t, p, "svc") } // signed by whichever key signs now
	tr.caller(t, "/rotating", fresh, true)
	tr.caller(t, "/rotating", fresh, true)
	for _, forged := range forgeries(t, p) {
		tr.caller(t, "/rotating", always(forged), false)
	}
	require.Eventually(t, func() bool { return tr.good.Load() > 30 && tr.bad.Load() > 30 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, p.RotateKey(true))
	before := tr.good.Load()
	require.Eventually(t, func() bool { return tr.good.Load() > before+100 }, time.Minute, 10*time.Millisecond)
	for _, forged := range forgeries(t, p) { // now with the new key's id
		tr.caller(t, "/rotating", always(forged), false)
	}
	before = tr.bad.Load()
	require.Eventually(t, func() bool { return tr.bad.Load() > before+50 }, time.Minute, 10*time.Millisecond)
	tr.requireFine(t)

	require.NoError(t, p.RotateKey(false)) // both keys are withdrawn
	newest := serviceToken(t, p, "svc")
	require.Eventually(t, func() bool { return call(t, "/rotating", bearer(newest)).status == http.StatusOK },
		30*time.Second, 200*time.Millisecond, "the cool-down after the last unknown key may have to pass")
	requireRefused(t, call(t, "/rotating", bearer(old)), http.StatusUnauthorized, "token_key_unknown") // although it was cached
}

// TestProviderStopsAndComesBackWhileRequestsRun: keys that are known serve on, new ones can't be had and the request is
// told to come again, nothing bad gets through meanwhile, and all is well afterwards without a restart.
func TestProviderStopsAndComesBackWhileRequestsRun(t *testing.T) {
	t.Parallel()
	p := s.leaving
	known := serviceToken(t, p, "svc")
	requireTaken(t, call(t, "/leaving", bearer(known)), "svc")
	tr := &traffic{done: make(chan struct{})}
	tr.caller(t, "/leaving", always(known), true)
	tr.caller(t, "/leaving", func() string { return forge(t, p, nil) }, true) // never seen before, by a known key
	for _, forged := range forgeries(t, p) {
		tr.caller(t, "/leaving", always(forged), false)
	}
	p.Stop()
	before := tr.good.Load()
	require.Eventually(t, func() bool { return tr.good.Load() > before+100 && tr.bad.Load() > 50 }, time.Minute, 10*time.Millisecond)
	tr.requireFine(t)

	require.NoError(t, p.RotateKey(true))
	young := forge(t, p, nil)
	a := call(t, "/leaving", bearer(young))
	requireRefused(t, a, http.StatusServiceUnavailable, "keys_unavailable")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.NoError(t, p.Resume(t.Context()))
	require.Eventually(t, func() bool { return call(t, "/leaving", bearer(young)).status == http.StatusOK }, 30*time.Second, 200*time.Millisecond)
	requireTaken(t, call(t, "/leaving", bearer(known)), "svc")
}
