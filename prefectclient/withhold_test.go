package prefectclient_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

func TestWithheldRequestsAreNotSent(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	var kept []prefectclient.Request
	client := newClient(t, prefectclient.Options{APIURL: s.url, Credentials: prefectclient.AuthString(authString), Withhold: func(r prefectclient.Request) bool {
		if r.Changes {
			kept = append(kept, r)
		}
		return r.Changes
	}})
	ctx := context.Background()
	_, err := client.DeploymentByName(ctx, "nightly report", "prod")
	require.NoError(t, err, "a read is sent")
	run := newRun()
	run.Fingerprint = "what was asked for"
	_, _, err = client.CreateFlowRun(ctx, s.first, run)
	require.Equal(t, prefectclient.ReasonWithheld, prefectclient.ReasonOf(err))
	require.Len(t, kept, 1)
	require.Equal(t, http.MethodPost, kept[0].Method)
	require.Equal(t, s.url+"/deployments/"+s.first.String()+"/create_flow_run", kept[0].URL)
	require.Contains(t, string(kept[0].Body), run.IdempotencyKey)
	require.Empty(t, kept[0].Header.Get("Authorization"))
	for _, r := range server.Requests() {
		require.NotContains(t, r.Path, "create_flow_run")
	}

	sends := newClient(t, prefectclient.Options{APIURL: s.url, Credentials: prefectclient.AuthString(authString)})
	made, _, err := sends.CreateFlowRun(ctx, s.first, run)
	require.NoError(t, err)
	found, created, err := client.CreateFlowRun(ctx, s.first, run)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, made.ID, found.ID, "the run that has the key already, as the server would answer")
	run.Fingerprint = "something else"
	_, _, err = client.CreateFlowRun(ctx, s.first, run)
	require.Equal(t, prefectclient.ReasonIdempotencyKeyReused, prefectclient.ReasonOf(err))

	nothing := newClient(t, prefectclient.Options{APIURL: s.url, Withhold: func(prefectclient.Request) bool { return true }})
	_, err = nothing.Deployment(ctx, uuid.New())
	require.Equal(t, prefectclient.ReasonWithheld, prefectclient.ReasonOf(err))
}
