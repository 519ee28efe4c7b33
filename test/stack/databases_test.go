package stack_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

func skipUnlessInstalled(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, stack.ErrNotInstalled) {
		t.Skip("SKIPPED: ", err)
	}
	require.NoError(t, err)
}

func requireNobodyListens(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	require.Error(t, err)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	redis, err := stack.StartRedis(t.Context())
	skipUnlessInstalled(t, err)
	defer redis.Stop()
	redis.Halt()
	requireNobodyListens(t, redis.Addr())
	require.NoError(t, redis.Restart(t.Context()))
	redis.Stop()
	requireNobodyListens(t, redis.Addr())
}

func TestPrefectOnPostgres(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), stack.StartLimit)
	defer cancel()
	postgres, err := stack.StartPostgres(ctx)
	skipUnlessInstalled(t, err)
	defer postgres.Stop()
	require.NoError(t, postgres.CreateDatabase(ctx, "prefect"))
	prefect, err := stack.NewPrefect(stack.PrefectOptions{
		Venv: stack.VenvFromEnv("../../build/venv"), DatabaseURL: postgres.PrefectURL("prefect"),
	})
	require.NoError(t, err)
	defer prefect.Stop()
	require.NoError(t, prefect.Ready(ctx))
	require.NoError(t, prefect.Post(ctx, "/work_pools/", map[string]any{"name": "kept", "type": "process"}, nil))

	// It comes back with its data, and the server with it.
	postgres.Halt()
	requireNobodyListens(t, postgres.Addr())
	require.NoError(t, postgres.Restart(ctx))
	require.Eventually(t, func() bool {
		var pool map[string]any
		return prefect.Get(ctx, "/work_pools/kept", &pool) == nil
	}, 30*time.Second, 100*time.Millisecond)
}
