package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// keysGateway is a gateway of its own before a provider of its own, whose keys
// a test may turn and whose port it may close.
func keysGateway(t *testing.T) (*stack.Gateway, *provider.Provider) {
	t.Helper()
	idp, err := provider.New(accounts)
	require.NoError(t, err)
	t.Cleanup(idp.Stop)
	config := filepath.Join(t.TempDir(), "kong.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
_format_version: "3.0"
services:
- name: nothing
  host: nothing.invalid
  routes:
  - name: nothing
    paths: [/nothing]
    plugins:
    - name: prefect-identity
      config: {issuers: [{issuer: %q, audiences: [kong-prefect]}]}
    - name: prefect-trigger
      config: {prefect: {api_url: "http://127.0.0.1:1/api"}, deployment: no/thing, allow_roles: [nobody]}
`, idp.Issuer()), 0o600))
	gateway, err := s.startGateway(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(gateway.Stop)
	return gateway, idp
}

// A token that is taken is refused by the route's role, one that isn't by its
// reason: no run is needed to tell.
func requireTaken(t *testing.T, gateway *stack.Gateway, token string) {
	t.Helper()
	requireRefused(t, sendTo(t, gateway, request{path: "/nothing", body: emea, token: token}), http.StatusForbidden, "role_not_allowed")
}

// TestKeysRotateWhileRequestsRun: every good token is taken, before and after
// the rotation; what a key signed that never was the provider's is not.
func TestKeysRotateWhileRequestsRun(t *testing.T) {
	t.Parallel()
	gateway, idp := keysGateway(t)
	first, err := idp.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
	requireTaken(t, gateway, first)

	stop := make(chan struct{})
	var group sync.WaitGroup
	var refused atomic.Int64
	for range 4 { // callers with a token that stays good: its key stays published
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if sendTo(t, gateway, request{path: "/nothing", body: emea, token: first}).status != http.StatusForbidden {
						refused.Add(1)
					}
				}
			}
		})
	}
	require.NoError(t, idp.RotateKey(true))
	second, err := idp.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
	requireTaken(t, gateway, second)
	foreign, err := provider.ForeignKey()
	require.NoError(t, err)
	forged, err := idp.Forge(provider.Forgery{Service: "svc-nightly", Key: foreign})
	require.NoError(t, err)
	requireInvalidToken(t, sendTo(t, gateway, request{path: "/nothing", body: emea, token: forged}), "token_signature_invalid")
	close(stop)
	group.Wait()
	require.Zero(t, refused.Load(), "no good request is refused")
}

// TestProviderIsAwayAndComesBack: keys that are known serve on, new ones can't
// be had and the request is told to come again, and all is well afterwards
// without a restart.
func TestProviderIsAwayAndComesBack(t *testing.T) {
	t.Parallel()
	gateway, idp := keysGateway(t)
	idp.Stop()
	token, err := idp.Forge(provider.Forgery{Service: "svc-nightly"})
	require.NoError(t, err)
	r := sendTo(t, gateway, request{path: "/nothing", body: emea, token: token})
	requireRefused(t, r, http.StatusServiceUnavailable, "keys_unavailable")
	require.NotEmpty(t, r.header.Get("Retry-After"))

	require.NoError(t, idp.Resume(t.Context()))
	require.Eventually(t, func() bool {
		return sendTo(t, gateway, request{path: "/nothing", body: emea, token: token}).status == http.StatusForbidden
	}, 30*time.Second, 200*time.Millisecond)

	idp.Stop()
	requireTaken(t, gateway, token)
	other, err := idp.Forge(provider.Forgery{Service: "svc-second"})
	require.NoError(t, err)
	requireTaken(t, gateway, other)
}
