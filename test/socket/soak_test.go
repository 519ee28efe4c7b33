package socket

import (
	"testing"

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
	trigger := newSetting(plugin.TriggerName, triggerConfig(t, 0))
	guard := newSetting(plugin.GuardName, guardConfig(t, 0))
	caller := callerOf(t, p, *identity.now.Load(), token)

	var requests, repeated int64
	reconfigure := func(from, to int) {
		l, ctx := newLoad(t)
		for range 2 {
			l.add(ctx, &worker{socket: p.socket, setting: identity}, requestOf(token, "/"), passed)
			l.add(ctx, &worker{socket: p.socket, setting: identity}, requestOf("", "/"), refusedWith(401))
			l.add(ctx, &worker{socket: p.socket, setting: trigger}, startRequest(caller), refusedWith(503))
			l.add(ctx, &worker{socket: p.socket, setting: guard}, guardRequest(caller), passed)
		}
		for n := from; n < to; n++ {
			identity.set(identityConfig(t, issuer, n))
			trigger.set(triggerConfig(t, n))
			guard.set(guardConfig(t, n))
			l.wait(t, 16) // each worker has met it, on average
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
	before, descriptorsBefore := p.inspect()
	reconfigure(first, all)
	after, descriptors := p.inspect()
	t.Logf("%d requests, %d repeated; goroutines %d, then %d; descriptors %d, then %d; heap %d KiB, then %d KiB", requests, repeated,
		before.Goroutines, after.Goroutines, descriptorsBefore, descriptors, before.HeapBytes>>10, after.HeapBytes>>10)
	require.LessOrEqual(t, after.Goroutines, before.Goroutines+8)
	require.LessOrEqual(t, descriptors, descriptorsBefore+8)
	// A KiB for each reconfiguration would be the policies of triggers, which
	// are kept by their text: 1,024 at the most, some hundred bytes each.
	require.LessOrEqual(t, after.HeapBytes, before.HeapBytes+1<<20)
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
