package explain_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/explain"
	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

const file = `_format_version: "3.0"
plugins:
- name: prefect-identity
  config:
    hide_credentials: true
    assertion: {audience: up, issuer: gw}
    issuers: [{issuer: "https://idp.example", audiences: [a], preset: generic}]
    roles: [{role: runner, clients: [svc]}, {role: team, clients: [svc]}]
- {name: prefect-identity, consumer: x, config: {}}
services:
- name: runs
  host: prefect.invalid
  routes:
  - name: durable
    paths: [/run/durable]
    plugins:
    - {name: prefect-trigger, config: {prefect: {api_url: "{vault://env/gone}", timeout_ms: 300}, deployment: report/prod, allow_roles: [runner], durable: {enabled: true}}}
  - name: report
    paths: [/run/report]
    plugins:
    - {name: prefect-trigger, config: {prefect: {api_url: "{vault://env/prefect}"}, deployment: report/prod, allow_roles: [runner], audit: {required: true}}}
  - {name: echo, paths: [/echo]}
  - {name: tls, paths: [/], snis: [a.example]}
- name: api
  url: http://prefect/
  routes:
  - name: api
    paths: [/api]
    strip_path: false
    plugins:
    - name: prefect-guard
      config: {prefect: {api_url: "{vault://env/prefect}", auth_string: "user:the-secret"}, grants: [{role: team, permissions: [see_flow_runs], deployments: ["report/*"]}]}
`

// rig is what a request is explained with.
type rig struct {
	options explain.Options
	token   string
	prefect *prefecttest.Server
}

func newRig(t *testing.T) rig {
	t.Helper()
	f, err := kongyml.Read([]byte(file))
	require.NoError(t, err)
	key := tokentest.NewKey(t, "k1", "ES256")
	set, err := json.Marshal(map[string]any{"keys": []any{key.JWK()}})
	require.NoError(t, err)
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(jwks, set, 0o600))
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	server := prefecttest.NewServer(prefecttest.Options{})
	t.Cleanup(server.Close)
	server.AddDeployment(prefecttest.Deployment{Flow: "report", Name: "prod", WorkPool: "p"})
	now := time.Now()
	token := key.Sign(t, nil, map[string]any{
		"iss": "https://idp.example", "aud": "a", "sub": "svc", "client_id": "svc", "azp": "svc", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	return rig{explain.Options{
		File: f, Method: "POST", JWKSFile: jwks, Signing: keys, Log: slog.New(slog.DiscardHandler),
		Headers: map[string][]string{"authorization": {"Bearer " + token}, "content-type": {"application/json"}},
		Env: func(name string) (string, bool) {
			v, ok := map[string]string{"PREFECT": server.URL, "GONE": "http://127.0.0.1:1/api"}[name]
			return v, ok
		},
	}, token, server}
}

func (r rig) explain(t *testing.T, method, target, body string) explain.Explanation {
	t.Helper()
	o := r.options
	o.Method, o.Target, o.Body = method, target, []byte(body)
	e, err := explain.Explain(t.Context(), o)
	require.NoError(t, err)
	all, err := json.Marshal(e)
	require.NoError(t, err)
	for _, secret := range []string{r.token[strings.LastIndexByte(r.token, '.'):], "the-secret", "dXNlcjp0aGUtc2VjcmV0"} {
		require.NotContains(t, string(all), secret)
	}
	return e
}

// says tells whether a stage has a fact.
func says(e explain.Explanation, stage, name string, value any) bool {
	for _, s := range e.Stages {
		for _, f := range s.Facts {
			if s.Name == stage && f.Name == name && (value == nil || f.Value == value) {
				return true
			}
		}
	}
	return false
}

func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.explain(t, "POST", "/run/report", `{}`)
	require.Equal(t, explain.Starts, e.Verdict.Outcome, "that it must be on record refuses nothing here: %+v", e.Verdict)
	require.True(t, says(e, "token", "signed", `by ES256 with the key "k1"`))
	require.True(t, says(e, "roles", "team", "by roles[2]"))
	require.Len(t, e.Notes, 2, "a route that isn't known, and a plugin for one consumer: %v", e.Notes)

	e = r.explain(t, "GET", "/echo", "")
	require.Equal(t, explain.Passes, e.Verdict.Outcome)
	require.True(t, says(e, "upstream", "sets x-caller-subject", "svc"))
	require.True(t, says(e, "upstream", "sets x-caller-assertion", "(not shown)"))
	require.True(t, says(e, "upstream", "takes away", "authorization"))

	e = r.explain(t, "POST", "/api/flow_runs/filter", `{}`)
	require.Equal(t, "see_flow_runs", e.Stages[len(e.Stages)-2].Facts[1].Value, "%+v", e)
	require.True(t, says(e, "operation", "limited to", nil))

	e = r.explain(t, "POST", "/run/durable", `{}`)
	require.Equal(t, explain.Unknown, e.Verdict.Outcome, "the gateway may accept it")
	require.Contains(t, e.Verdict.Cause, "202")
}

// The run that an Idempotency-Key has already is found, and nothing is started.
func TestARunThatIsThereAlready(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.options.Headers["idempotency-key"] = []string{"k"}
	e := r.explain(t, "POST", "/run/report", `{}`)
	require.Equal(t, explain.Starts, e.Verdict.Outcome)
	again := r.explain(t, "POST", "/run/report", `{}`)
	key := func(e explain.Explanation) string {
		var body struct {
			Key string `json:"idempotency_key"`
		}
		require.NoError(t, json.Unmarshal(e.Verdict.Request.Body, &body))
		return body.Key
	}
	require.Equal(t, key(e), key(again), "it depends on nothing of the moment")
	for _, request := range r.prefect.Requests() {
		require.NotContains(t, request.Path, "create_flow_run")
	}
}

func TestQuestionsThatCannotBeAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for target, route := range map[string]string{"run/report": "", "/run report": "", "/run/report#x": "", "/run/report": "none"} {
		o := r.options
		o.Target, o.Route = target, route
		_, err := explain.Explain(t.Context(), o)
		require.ErrorIs(t, err, explain.ErrOptions, target)
	}
}

// Whatever stands in the header, something is told, and never the token.
func FuzzTokens(f *testing.F) {
	for _, seed := range []string{"a.b.c", "eyJhbGciOiJub25lIn0..x", "eyJhbGciOjF9.e30.c2lnbmF0dXJl", "..", "x"} {
		f.Add(seed)
	}
	data, err := kongyml.Read([]byte(file))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		e, err := explain.Explain(t.Context(), explain.Options{
			File: data, Method: "GET", Target: "/echo", Offline: true, Headers: map[string][]string{"authorization": {"Bearer " + token}},
			Env: func(string) (string, bool) { return "", false },
		})
		require.NoError(t, err)
		require.NotEmpty(t, e.Verdict.Outcome)
		out, err := json.Marshal(e)
		require.NoError(t, err)
		if at := strings.LastIndexByte(token, '.'); at >= 0 && len(token)-at > 20 {
			require.NotContains(t, string(out), token[at+1:])
		}
	})
}
