package plugin

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

func TestPreferredWait(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]struct {
		seconds int
		asked   bool
	}{
		"":                                    {0, false},
		"wait=30":                             {30, true},
		`return=minimal, WAIT = "12" ; x=1`:   {12, true},
		"respond-async, wait=30":              {0, true},
		"wait=5, wait=30":                     {5, true},
		"wait=-1":                             {0, false},
		"wait=soon":                           {0, false},
		"wait=99999999999999999999":           {0, false},
		"handling=strict, wait=1;foo=\"a,b\"": {1, true},
	} {
		seconds, asked := preferredWait([]string{value})
		require.Equal(t, want.seconds, seconds, value)
		require.Equal(t, want.asked, asked, value)
	}
}

func TestAnswersWait(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := fakePrefect(t)
	p := startProcess(t)
	route := func(wait WaitConfig) *trigger {
		c := PrefectConfig{APIURL: server.URL, AuthString: "a:new", TimeoutMS: 5000}
		client, err := p.prefect(c)
		require.NoError(t, err)
		return &trigger{config: TriggerConfig{Prefect: c, Wait: wait}, client: client, process: p}
	}
	start := func(h *trigger) prefectclient.FlowRun {
		d, err := h.client.DeploymentByName(ctx, "flow", "prod")
		require.NoError(t, err)
		run, _, err := h.client.CreateFlowRun(ctx, d.ID, prefectclient.NewFlowRun{IdempotencyKey: t.Name() + time.Now().String()})
		require.NoError(t, err)
		return run
	}
	answer := func(h *trigger, prefer string, run prefectclient.FlowRun, created bool) (*reply, Run) {
		s, problem := h.answerInTime(ctx, order{prefer: []string{prefer}, target: target{base: "/run/report"}}, "flow/prod", run, created)
		require.Nil(t, problem)
		var body Run
		require.NoError(t, json.Unmarshal(s.body, &body))
		return s, body
	}
	applied := func(s *reply) (value string) {
		for _, h := range s.headers {
			if h.Name == "Preference-Applied" {
				value = h.Values[0]
			}
		}
		return value
	}

	h := route(WaitConfig{MaxSeconds: 30})
	s, body := answer(h, "", start(h), true)
	require.Equal(t, http.StatusCreated, s.status, "at once by default")
	require.Equal(t, "SCHEDULED", body.State.Type)

	run := start(h)
	time.AfterFunc(50*time.Millisecond, func() { server.SetState(run.ID, "COMPLETED", "Completed") })
	s, body = answer(h, "wait=100", run, true)
	require.Equal(t, http.StatusCreated, s.status)
	require.Equal(t, "COMPLETED", body.State.Type)
	require.Equal(t, "wait=30", applied(s), "no longer than the route allows")

	run = start(route(WaitConfig{DefaultSeconds: 30}))
	server.SetState(run.ID, "FAILED", "Failed")
	s, body = answer(route(WaitConfig{DefaultSeconds: 30}), "", run, false)
	require.Equal(t, http.StatusOK, s.status)
	require.Equal(t, "FAILED", body.State.Type)
	require.Empty(t, applied(s))

	s, body = answer(h, "wait=1", start(h), true)
	require.Equal(t, http.StatusAccepted, s.status, "time ran out")
	require.Equal(t, "SCHEDULED", body.State.Type)
	require.Contains(t, s.headers, header("Location", body.Links.Status))
	require.Contains(t, s.headers, header("Retry-After", "5"))

	s, _ = answer(route(WaitConfig{DefaultSeconds: 30}), "respond-async", start(h), true)
	require.Equal(t, http.StatusCreated, s.status)
	s, _ = answer(route(WaitConfig{MaxSeconds: 0}), "wait=10", start(h), true)
	require.Equal(t, http.StatusCreated, s.status, "the route allows no wait")
	_, total := server.Subscriptions()
	require.Equal(t, 1, total, "one subscription for all of them")

	p.waiters.Store(maxWaiters)
	s, body = answer(h, "wait=30", start(h), true)
	require.Equal(t, http.StatusAccepted, s.status, "more than may wait are answered at once")
	require.Equal(t, "SCHEDULED", body.State.Type)
}
