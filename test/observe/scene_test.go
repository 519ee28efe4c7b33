package observe_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const (
	repository = "../.."
	monitoring = repository + "/examples/monitoring"
)

var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{
		{ID: "svc-nightly", Secret: "nightly-secret-4711"},
		{ID: "svc-stranger", Secret: "stranger-secret-4711"},
	},
}

// scene is the gateway between a Prefect and a provider.
type scene struct {
	prefect    *stack.Prefect
	idp        *provider.Provider
	gateway    *stack.Gateway
	dir, own   string
	away       string // where nobody listens
	deployment string
	good, weak string // tokens
	awayToken  string // of a provider that is away
	collector  *collector
	logFile    string
	refusals   map[string]string // code by request id
	runs       []string
}

func newScene(t *testing.T, ctx context.Context, serveArgs ...string) *scene {
	s := &scene{dir: t.TempDir(), refusals: map[string]string{}}
	s.collector = newCollector(t)
	s.logFile = filepath.Join(s.dir, "kong-prefect.log")
	err := stack.BuildBinaries(ctx, repository, s.dir)
	require.NoError(t, err)
	s.prefect, err = stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))})
	require.NoError(t, err)
	t.Cleanup(s.prefect.Stop)
	s.idp, err = provider.New(accounts)
	require.NoError(t, err)
	t.Cleanup(s.idp.Stop)
	require.NoError(t, s.prefect.Ready(ctx))
	s.deployment = s.deploy(t, ctx)
	s.own, err = stack.FreeAddr()
	require.NoError(t, err)
	away, err := stack.FreeAddr()
	require.NoError(t, err)
	s.away = "http://" + away

	s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: s.config(t),
		ServeArgs: append([]string{
			"--log-level", "debug", "--log-format", "json", "--log-file", s.logFile,
			"--outbox", filepath.Join(s.dir, "outbox.db"), "--traces", s.collector.URL,
			"--listen", s.own, "--keys", filepath.Join(s.dir, "keys.json"),
			"--audit", filepath.Join(s.dir, "audit"), "--audit-sinks", s.file(t, "sinks.yml", "sinks:\n- {name: out, type: stdout}\n"),
		}, serveArgs...),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway's log ends with:\n%s", stack.Tail(s.gateway.Logs()))
		}
		s.gateway.Stop()
	})
	s.good, err = s.idp.ServiceToken(ctx, "svc-nightly")
	require.NoError(t, err)
	s.weak, err = s.idp.ServiceToken(ctx, "svc-stranger")
	require.NoError(t, err)
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	s.awayToken = part(`{"alg":"RS256","kid":"k"}`) + "." + part(`{"iss":"`+s.away+`"}`) + "." + part(strings.Repeat("s", 256))
	return s
}

func (s *scene) file(t *testing.T, name, text string) (path string) {
	path = filepath.Join(s.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// deploy makes a deployment that no worker executes: the test itself ends the runs.
func (s *scene) deploy(t *testing.T, ctx context.Context) string {
	var flow, deployment struct{ ID string }
	require.NoError(t, s.prefect.Post(ctx, "/flows/", map[string]any{"name": "report"}, &flow))
	require.NoError(t, s.prefect.Post(ctx, "/work_pools/", map[string]any{"name": "unattended", "type": "process"}, nil))
	require.NoError(t, s.prefect.Post(ctx, "/deployments/", map[string]any{"name": "prod", "flow_id": flow.ID, "work_pool_name": "unattended"}, &deployment))
	return deployment.ID
}

func (s *scene) config(t *testing.T) string {
	path, err := stack.WriteConfig(filepath.Join(s.dir, "kong.yml"), "testdata/kong.yml", map[string]string{
		"Issuer": s.idp.Issuer(), "Away": s.away, "Prefect": s.prefect.URL(), "PrefectAPI": s.prefect.APIURL(), "Auth": s.prefect.AuthString(),
	})
	require.NoError(t, err)
	return path
}

// call makes one request through the gateway and gives its status and body.
func (s *scene) call(t *testing.T, method, path, token string, headers ...string) (status int, body []byte) {
	req, err := http.NewRequestWithContext(t.Context(), method, s.gateway.URL()+path, nil)
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	var problem struct{ Code string }
	if resp.StatusCode >= 400 && json.Unmarshal(body, &problem) == nil {
		s.refusals[resp.Header.Get("X-Kong-Request-Id")] = problem.Code
	}
	return resp.StatusCode, body
}

// start starts a run and gives its id.
func (s *scene) start(t *testing.T, headers ...string) string {
	status, body := s.call(t, http.MethodPost, "/run/report", s.good, headers...)
	require.Contains(t, []int{200, 201}, status, "%s", body)
	var run struct{ ID string }
	require.NoError(t, json.Unmarshal(body, &run))
	return run.ID
}

// end ends a run by its final state.
func (s *scene) end(t *testing.T, id, state string) {
	require.NoError(t, s.prefect.Post(t.Context(), "/flow_runs/"+id+"/set_state", map[string]any{"force": true, "state": map[string]any{"type": state}}, nil))
}

// everything drives each thing that an operator may see, once.
func (s *scene) everything(t *testing.T, round int) {
	key := fmt.Sprintf("key-%d", round)
	run := s.start(t, "Idempotency-Key", key)
	require.Equal(t, run, s.start(t, "Idempotency-Key", key))
	s.runs = append(s.runs, run)
	s.end(t, run, []string{"COMPLETED", "COMPLETED", "COMPLETED", "FAILED"}[round%4])
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"POST", "/run/report", "", 401},
		{"POST", "/run/report", s.good + "x", 401},
		{"POST", "/run/report", s.weak, 403},
		{"POST", "/run/report", s.awayToken, 503},
		{"PUT", "/run/report", s.good, 405},
		{"POST", "/run/away", s.good, 503},
		{"POST", "/run/broken", s.good, 500},
		{"GET", "/api/flow_runs/" + run, s.weak, 403},
		{"GET", "/api/admin/version", s.good, 200},
	} {
		status, body := s.call(t, c.method, c.path, c.token)
		require.Equal(t, c.status, status, "%s %s: %s", c.method, c.path, body)
	}
}

// ownPort reads the process's own port.
func (s *scene) ownPort(t *testing.T, path string) (status int, body string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.own+path, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(data)
}

// secrets are what no log and no metric may hold.
func (s *scene) secrets() []string {
	_, password, _ := strings.Cut(s.prefect.AuthString(), ":")
	return []string{
		password, base64.StdEncoding.EncodeToString([]byte(s.prefect.AuthString())),
		s.good, s.weak, strings.Split(s.good, ".")[2], strings.Split(s.good, ".")[1], "nightly-secret-4711", "stranger-secret-4711",
	}
}

func eventually(t *testing.T, limit time.Duration, what string, check func() bool) {
	t.Helper()
	require.Eventually(t, check, limit, 200*time.Millisecond, what)
}
