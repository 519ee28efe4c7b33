package prefectclient_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

func TestEveryRequestIsTold(t *testing.T) {
	t.Parallel()
	type mark struct{}
	ctx := context.WithValue(t.Context(), mark{}, "the caller's")
	s, server := startFake(t)
	server.Script(prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway))
	var mu sync.Mutex
	var statuses []int
	o := hasty(s)
	o.BreakerFailures, o.MaxConcurrent = 1, 7
	o.OnSent = func(ctx context.Context, r prefectclient.Sent) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, "the caller's", ctx.Value(mark{}))
		require.True(t, slices.Contains(prefectclient.Operations, r.Operation), r.Operation)
		statuses = append(statuses, r.Status)
	}
	client := newClient(t, o)
	require.Equal(t, prefectclient.Stats{Server: client.Server(), Breaker: "closed", Limit: 7}, client.Stats())
	_, err := client.Deployment(ctx, s.first)
	require.Error(t, err)
	require.Equal(t, "open", client.Stats().Breaker)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []int{http.StatusBadGateway}, statuses)
}
