package plugin

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

const quotaOf = `"deployment":"report/prod","allow_roles":["runner"],"stamp":{"write":["context","created_by"]},"quota":`

// fields are an answer's headers of a name.
func fields(headers []string, name string) string {
	for _, h := range headers {
		if value, ok := strings.CutPrefix(h, name+": "); ok {
			return value
		}
	}
	return ""
}

// counted is one start: its code, empty where it went through, and the
// answer's headers.
func (r triggerRig) counted(a ask) (code string, headers []string) {
	r.t.Helper()
	a.body = emea
	got, problem := r.serve(context.Background(), r.order(a))
	if problem != nil {
		for _, h := range problem.Answer("r").Headers {
			headers = append(headers, h.Name+": "+h.Values[0])
		}
		return problem.Code, headers
	}
	for _, h := range got.headers {
		headers = append(headers, h.Name+": "+h.Values[0])
	}
	return "", headers
}

func TestQuotaAMinute(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, quotaOf+`{"caller_per_minute":2,"deployment_per_minute":3}`)
	second := ask{caller: claims.Identity{Subject: "second", Issuer: "https://idp"}}
	keyed := ask{headers: map[string][]string{"idempotency-key": {"k"}}}
	code, headers := r.counted(keyed)
	require.Empty(t, code)
	require.Equal(t, `"caller";q=2;qu="runs";w=60, "deployment";q=3;qu="runs";w=60`, fields(headers, "RateLimit-Policy"))
	require.Equal(t, `"caller";r=1;t=60, "deployment";r=2;t=60`, fields(headers, "RateLimit"))
	for range 3 {
		code, headers = r.counted(keyed)
		require.Empty(t, code, "a request that is repeated is the same run")
		require.Contains(t, fields(headers, "RateLimit"), `"caller";r=1`)
	}
	code, _ = r.counted(ask{})
	require.Empty(t, code)
	code, headers = r.counted(ask{})
	require.Equal(t, CodeQuotaExceeded, code)
	require.Equal(t, `"caller";q=2;qu="runs";w=60`, fields(headers, "RateLimit-Policy"))
	require.Contains(t, fields(headers, "RateLimit"), `"caller";r=0;t=`)
	require.NotEmpty(t, fields(headers, "Retry-After"))
	code, _ = r.counted(second)
	require.Empty(t, code, "another caller")
	code, _ = newTriggerRigAt(t, r, quotaOf+`{"deployment_per_minute":3}`).counted(second)
	require.Equal(t, CodeQuotaExceeded, code, "another route to the same deployment")
	code, _ = newTriggerRigAt(t, r, strings.Replace(quotaOf, "prod", "gold", 1)+`{"deployment_per_minute":3}`).counted(second)
	require.Empty(t, code, "another deployment")
}

// What makes no run counts for none.
func TestQuotaCountsRunsAlone(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, quotaOf+`{"caller_per_minute":1}`)
	r.server.Script(prefecttest.Fault{Route: prefecttest.CreateRoute, Status: http.StatusForbidden, Body: `{}`})
	code, _ := r.counted(ask{})
	require.Equal(t, CodePrefectUnauthorized, code)
	_, problem := r.send(ask{body: `{}`})
	require.Equal(t, CodeParametersInvalid, problem.Code)
	code, _ = r.counted(ask{})
	require.Empty(t, code)
	code, _ = r.counted(ask{})
	require.Equal(t, CodeQuotaExceeded, code)
}

// Of two requests with one key that come together, one is counted and the other
// may make the run: here a route that counts nothing.
func TestQuotaCountsARunThatAnotherRequestMade(t *testing.T) {
	t.Parallel()
	keyed := ask{headers: map[string][]string{"idempotency-key": {"k"}}}
	for name, c := range map[string]struct{ query, code string }{
		"the same request":      {"", ""},
		"one of something else": {"max=2", CodeIdempotencyKeyReused},
	} {
		const parameters = `,"parameters":[{"name":"region","from":"body"},{"name":"limit","from":"query","path":"max","default":"1"}]`
		r := newTriggerRig(t, quotaOf+`{"caller_per_minute":1}`+parameters)
		code, _ := newTriggerRigAt(t, r, quotaOf+`{}`+parameters).counted(keyed)
		require.Empty(t, code, name)
		again := keyed
		again.query = c.query
		code, _ = r.counted(again)
		require.Equal(t, c.code, code, name)
		code, _ = r.counted(ask{})
		require.Equal(t, CodeQuotaExceeded, code, name)
	}
}

func TestQuotaAtOnce(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, quotaOf+`{"caller_at_once":1,"deployment_at_once":2}`)
	second := ask{caller: claims.Identity{Subject: "second", Issuer: "https://idp"}}
	keyed := ask{headers: map[string][]string{"idempotency-key": {"k"}}}
	code, _ := r.counted(keyed)
	require.Empty(t, code)
	code, headers := r.counted(ask{})
	require.Equal(t, CodeTooManyRuns, code)
	require.Equal(t, `"caller-at-once";q=1;qu="concurrent-runs"`, fields(headers, "RateLimit-Policy"))
	require.Equal(t, `"caller-at-once";r=0`, fields(headers, "RateLimit"))
	require.Equal(t, "10", fields(headers, "Retry-After"))
	code, _ = r.counted(keyed)
	require.Empty(t, code, "a request that is repeated is the same run")
	code, _ = r.counted(second)
	require.Empty(t, code)
	code, _ = r.counted(ask{caller: claims.Identity{Subject: "third", Issuer: "https://idp"}})
	require.Equal(t, CodeTooManyRuns, code, "all callers together")

	r.server.SetState(r.server.Runs()[0], "COMPLETED", "Completed")
	code, _ = r.counted(ask{})
	require.Empty(t, code, "one has ended")
	d, err := r.client.DeploymentByName(context.Background(), "report", "prod")
	require.NoError(t, err)
	n, err := r.client.UnfinishedRuns(context.Background(), d.ID, uuid.Nil)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	_, err = r.client.UnfinishedRuns(context.Background(), uuid.Nil, uuid.Nil)
	require.Equal(t, prefectclient.ReasonRequestInvalid, prefectclient.ReasonOf(err))
}

func TestQuotasThatCanNotBeKept(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	for quota, field := range map[string]string{
		`"quota":{"caller_at_once":1},"stamp":{"write":["tags"]}`:       "quota: caller_at_once: needs created_by",
		`"quota":{"deployment_at_once":1},"durable":{"enabled":true}`:   "quota: caller_at_once and deployment_at_once",
		`"quota":{"caller_per_minute":1,"redis_url":"http://redis"}`:    "quota: redis_url: not a Redis address",
		`"quota":{"caller_per_minute":1,"without_redis":"let through"}`: "quota.without_redis",
	} {
		_, err := compileTrigger(p, []byte(`{"prefect":{"api_url":"http://p/api"},"deployment":"a/b","allow_roles":["r"],`+quota+`}`))
		require.ErrorIs(t, err, ErrConfig, quota)
		require.ErrorContains(t, err, field)
	}
}
