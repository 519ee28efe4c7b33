package socket

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// TestThousandReconfigurationsUnderLoad: two workers for each of the plugins go
// on asking while every configuration is exchanged for one that the process has
// never seen. No request fails, and nothing of what is gone stays behind.
func TestThousandReconfigurationsUnderLoad(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t))
	token := issuer.Mint(t, nil)
	identity := newSetting(plugin.IdentityName, identityConfig(t, issuer, 0))
	trigger := newSetting(plugin.TriggerName, triggerConfig(t, 0, "nobody"))
	guard := newSetting(plugin.GuardName, guardConfig(t, 0))
	caller := callerOf(t, p, identity.now.Load().text, token)

	var requests, repeated int64
	reconfigure := func(from, to int) {
		l, ctx := newLoad(t)
		for range 2 {
			l.add(ctx, &worker{socket: p.socket, setting: identity}, requestOf(token, "/"), passed)
			l.add(ctx, &worker{socket: p.socket, setting: identity}, requestOf("", "/"), refusedWith(401))
			l.add(ctx, &worker{socket: p.socket, setting: trigger}, startRequest(caller), refusedWith(403))
			l.add(ctx, &worker{socket: p.socket, setting: guard}, guardRequest(caller), passed)
		}
		for n := from; n < to; n++ {
			identity.set(identityConfig(t, issuer, n))
			// For roles that the caller lacks, since asking a Prefect that isn't
			// there takes time; and of a hundred kinds, since policies are kept
			// by their text, 1,024 at the most.
			trigger.set(triggerConfig(t, n, fmt.Sprintf("role-%d", n%100)))
			guard.set(guardConfig(t, n))
			require.Eventually(t, func() bool { // every worker has met it
				return identity.now.Load().met.Load() >= 4 && trigger.now.Load().met.Load() >= 2 && guard.now.Load().met.Load() >= 2
			}, testLimit, time.Millisecond)
		}
		l.end()
		require.Empty(t, l.failures())
		require.Zero(t, l.cut.Load())
		requests, repeated = requests+l.requests.Load(), repeated+l.repeated.Load()
	}
	// What the process keeps for configurations that may come back, such as
	// clients of Prefect by their credential, is bounded: the first ones fill it.
	const first, all = 300, 1300
	reconfigure(1, first)
	before, descriptorsBefore := p.settled()
	reconfigure(first, all)
	after, descriptors := p.settled()
	t.Logf("%d requests, %d repeated; goroutines %d, then %d; descriptors %d, then %d; heap %d KiB, then %d KiB", requests, repeated,
		before.Goroutines, after.Goroutines, descriptorsBefore, descriptors, before.HeapBytes>>10, after.HeapBytes>>10)
	require.LessOrEqual(t, after.Goroutines, before.Goroutines+8)
	require.LessOrEqual(t, descriptors, descriptorsBefore+8)
	require.LessOrEqual(t, after.HeapBytes, before.HeapBytes+512<<10)
}

// callerOf is what prefect-identity leaves for the plugins after it.
func callerOf(t *testing.T, p *process, config, token string) []byte {
	t.Helper()
	c, id := dial(t, p.socket, plugin.IdentityName, config)
	o, err := event(c, id, requestOf(token, "/"))
	require.NoError(t, err)
	require.False(t, o.exited)
	require.NotEmpty(t, o.shared[plugin.SharedIdentity])
	return o.shared[plugin.SharedIdentity]
}
