package prefectclient_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

func TestKeyIsUsedAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	client := newClient(t, hasty(s))
	first := newRun()
	first.Fingerprint = "a"
	made, created, err := client.CreateFlowRun(ctx, s.first, first)
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, first.Context["request_id"], made.Context["request_id"])
	require.NotContains(t, first.Context, "request_fingerprint", "the caller's own map is left alone")

	again := newRun()
	again.IdempotencyKey = first.IdempotencyKey
	for name, fault := range map[string][]prefecttest.Fault{
		"answered":                            nil,
		"found by its key after lost answers": repeated(prefecttest.Fault{Route: onCreate, Reset: true})[:20],
	} {
		server.Script(fault...)
		again.Fingerprint = "b"
		_, _, err = client.CreateFlowRun(ctx, s.first, again)
		require.Equal(t, prefectclient.ReasonIdempotencyKeyReused, prefectclient.ReasonOf(err), name)
		server.Clear()
	}
	for _, same := range []string{"a", ""} {
		again.Fingerprint = same
		found, created, err := client.CreateFlowRun(ctx, s.first, again)
		require.NoError(t, err)
		require.False(t, created)
		require.Equal(t, made.ID, found.ID)
	}
	require.Len(t, server.Runs(), 1)
}

func TestReadsHaveADeadlineOfTheirOwn(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	o := hasty(s)
	o.Deadline, o.ReadDeadline, o.AttemptTimeout = time.Minute, 100*time.Millisecond, time.Minute
	client := newClient(t, o)
	server.Script(repeated(prefecttest.Fault{Delay: time.Minute})...)
	began := time.Now()
	_, err := client.Deployment(context.Background(), s.first)
	require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 10*time.Second)
}

// A probe whose caller leaves decides nothing, and must not be the last one.
func TestBreakerAfterAnAbandonedProbe(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	o := hasty(s)
	o.MaxAttempts, o.BreakerFailures, o.BreakerOpenFor = 1, 1, 20*time.Millisecond
	client := newClient(t, o)
	server.Script(prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway), prefecttest.Fault{Delay: time.Minute})
	_, err := client.Deployment(ctx, s.first)
	require.Error(t, err)
	require.Eventually(t, func() bool {
		leaving, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		defer cancel()
		_, err := client.Deployment(leaving, s.first)
		return err != nil && server.Unused() == 0
	}, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { _, err := client.Deployment(ctx, s.first); return err == nil }, 5*time.Second, 5*time.Millisecond)
}

func TestUIURL(t *testing.T) {
	t.Parallel()
	for api, ui := range map[string]string{
		"http://prefect:4200/api":                                "http://prefect:4200",
		"http://prefect:4200/api/":                               "http://prefect:4200",
		"https://example.com/prefect/api":                        "https://example.com/prefect",
		"https://api.prefect.cloud/api/accounts/A/workspaces/W":  "https://app.prefect.cloud/account/A/workspace/W",
		"https://api.prefect.cloud/api/accounts/A/workspaces/W/": "https://app.prefect.cloud/account/A/workspace/W",
	} {
		require.Equal(t, ui, prefectclient.UIURL(api))
	}
}
