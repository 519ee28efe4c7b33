package plugin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

// wrongs are configurations of a server whose credential can't work.
func wrongs(apiURL string) map[string]PrefectConfig {
	return map[string]PrefectConfig{
		"a wrong credential": {APIURL: apiURL, AuthString: "a:wrong"},
		"none":               {APIURL: apiURL},
		"a missing file":     {APIURL: apiURL, AuthFile: "/nowhere/auth"},
	}
}

func TestOneBreakerForEachServer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := fakePrefect(t)
	p := startProcess(t)
	var opened []string
	p.Hooks.PrefectEvent = func(e prefectclient.Event) {
		if e.Kind == prefectclient.EventBreaker {
			opened = append(opened, e.State)
		}
	}
	first, err := p.prefect(PrefectConfig{APIURL: server.URL, AuthString: "a:new"})
	require.NoError(t, err)
	d, err := first.DeploymentByName(ctx, "flow", "prod")
	require.NoError(t, err)
	for name, c := range wrongs(server.URL) {
		wrong, err := p.prefect(c)
		require.NoError(t, err, name)
		for range 10 {
			_, err = wrong.Deployment(ctx, d.ID)
			require.Equal(t, "closed", p.PrefectStats()[0].Breaker, name)
			require.Error(t, err, name)
		}
	}
	second, err := p.prefect(PrefectConfig{APIURL: strings.ToUpper(server.URL[:4]) + server.URL[4:] + "/", APIKey: "k-new", TimeoutMS: 9000, MaxConcurrent: 5})
	require.NoError(t, err)
	require.NotSame(t, first, second)
	require.Len(t, p.PrefectStats(), 1)

	for range 10 {
		server.Script(prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway))
	}
	_, err = first.Deployment(ctx, d.ID)
	require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
	require.Equal(t, []string{"open"}, opened)
	before := len(server.Requests())
	_, err = second.Deployment(ctx, d.ID)
	require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
	require.Len(t, server.Requests(), before, "what one route saw spares the other")

	other := fakePrefect(t)
	elsewhere, err := p.prefect(PrefectConfig{APIURL: other.URL, AuthString: "a:new"})
	require.NoError(t, err)
	_, err = elsewhere.DeploymentByName(ctx, "flow", "prod")
	require.NoError(t, err, "another server is another matter")
	require.Len(t, p.PrefectStats(), 2)
}

func TestWhatNoRouteAsksTakesACredentialThatWorks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name := range wrongs("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fakePrefect(t)
			p := startProcess(t)
			good, err := p.prefect(PrefectConfig{APIURL: server.URL, AuthString: "a:new"})
			require.NoError(t, err)
			d, err := good.DeploymentByName(ctx, "flow", "prod")
			require.NoError(t, err)
			run, _, err := good.CreateFlowRun(ctx, d.ID, prefectclient.NewFlowRun{IdempotencyKey: "k"})
			require.NoError(t, err)
			wrong, err := p.prefect(wrongs(server.URL)[name])
			require.NoError(t, err)
			_, err = wrong.Deployment(ctx, d.ID)
			require.Error(t, err)

			states, err := p.RunStates(ctx, server.URL, []string{run.ID.String()})
			require.NoError(t, err)
			require.Contains(t, states, run.ID.String())
			id, _, err := p.RunOf(ctx, server.URL, d.ID.String(), "k")
			require.NoError(t, err)
			require.Equal(t, run.ID.String(), id)
			payload, err := json.Marshal(accepted{DeploymentID: d.ID, Run: prefectclient.NewFlowRun{IdempotencyKey: "accepted"}})
			require.NoError(t, err)
			settled, err := newCourier(p).Deliver(ctx, outbox.Entry{Server: server.URL, Payload: payload})
			require.NoError(t, err)
			require.Equal(t, outbox.Delivered, settled.Status)

			ended := make(chan struct{})
			require.NoError(t, p.Watch(server.URL, run.ID.String(), func() { close(ended) }))
			server.SetState(run.ID, "COMPLETED", "Completed")
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				require.Fail(t, "the end wasn't told")
			}
		})
	}
}

// The newest client is not known to work: the first failure shows it.
func TestACredentialThatFailsIsNotTakenAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := fakePrefect(t)
	p := startProcess(t)
	_, err := p.prefect(PrefectConfig{APIURL: server.URL, AuthString: "a:new"})
	require.NoError(t, err)
	for _, c := range wrongs(server.URL) {
		_, err := p.prefect(c)
		require.NoError(t, err)
	}
	failed := 0
	for range 10 {
		if _, err := p.RunStates(ctx, server.URL, []string{uuid.NewString()}); err != nil {
			failed++
		}
	}
	require.Equal(t, len(wrongs("")), failed, "each once")
}

func TestClientsAreBounded(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	for n := range maxPrefects + 50 {
		_, err := p.prefect(PrefectConfig{APIURL: "http://prefect:4200/api", AuthString: "a:s", TimeoutMS: 100 + n})
		require.NoError(t, err)
	}
	require.Len(t, p.clients, maxPrefects)
	require.Len(t, p.servers["http://prefect:4200/api"].clients, maxPrefects)
}
