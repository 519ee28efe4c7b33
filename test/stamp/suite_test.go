// Package stamp_test proves the stamp on real parts: the real binary behind a gateway, a real Prefect with a worker, a
// real OpenID provider, flows that use python/kong_prefect, and kong-prefect verify-run.
//
// It needs what `make python` installs, and skips everything, loudly, without it.
//
// Read stamp_test.go first: what is genuine. forgery_test.go has the ways to forge.
package stamp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const (
	repository = "../.."
	runLimit   = 5 * time.Minute
)

var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{{ID: "svc-flows", Secret: "flows-secret"}, {ID: "svc-late", Secret: "late-secret"}},
	People: []provider.Person{
		{Subject: "5d1a7c1e-alice", Username: "alice", Password: "alice-password", Name: "Alice Ä",
			Email: "alice@example.com", Groups: []string{"data-team"}},
		{Subject: "83b0f2aa-bob", Username: "bob", Password: "bob-password", Name: "Bob",
			Email: "bob@example.com", Groups: []string{"data-team"}},
	},
}

type suite struct {
	*stack.Stack
	gateway *stack.Gateway
	dir     string
	keyFile string
	jwksURL string
	python  []string // the environment that finds python/kong_prefect
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs every request it refuses
	packages := os.Getenv("PYTHON_PACKAGES")
	if packages == "" {
		packages = filepath.Join(repository, "build/python")
	}
	if _, err := os.Stat(filepath.Join(packages, "jwt")); err != nil {
		fmt.Fprintln(os.Stderr, "SKIPPED: all tests of the stamp: there is no", packages, "- `make python` installs it")
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer s.stop()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-ctx.Done():
			s.stop()
			os.Exit(1)
		case <-finished:
		}
	}()
	if err := s.start(ctx, packages); err != nil {
		fmt.Fprintln(os.Stderr, "stamp:", err)
		return 1
	}
	return stack.Verdict("stamp", m.Run(), s.gateway.Logs())
}

func (s *suite) start(ctx context.Context, packages string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, stack.StartLimit)
	defer cancel()
	if s.dir, err = os.MkdirTemp("", "kong-prefect-stamp-"); err != nil {
		return err
	}
	listen, err := stack.FreeAddr()
	if err != nil {
		return err
	}
	s.jwksURL, s.keyFile = "http://"+listen+"/.well-known/jwks.json", filepath.Join(s.dir, "keys.json")
	module, err := filepath.Abs(filepath.Join(repository, "python"))
	if err != nil {
		return err
	}
	if packages, err = filepath.Abs(packages); err != nil {
		return err
	}
	s.python = []string{"PYTHONPATH=" + module + ":" + packages, "KONG_PREFECT_JWKS=" + s.jwksURL, "PYTHONDONTWRITEBYTECODE=1"}
	built := make(chan error, 1)
	go func() { built <- stack.BuildBinaries(ctx, repository, s.dir) }()
	s.Stack, err = stack.Start(ctx, stack.Options{
		Prefect:   stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv")), UI: *screenshots != ""},
		FlowsDir:  "flows",
		Flows:     []string{"relay.py:relay"},
		WorkerEnv: append(slices.Clone(s.python), "RELAY_SETTINGS="+filepath.Join(s.dir, "settings.json")),
		Provider:  accounts,
	})
	if err = errors.Join(err, <-built); err != nil {
		return err
	}
	if err := s.deployIdle(ctx); err != nil {
		return err
	}
	s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: "testdata/kong.yml",
		ServeArgs: []string{"--keys", s.keyFile, "--listen", listen},
		Env: []string{
			"OIDC_ISSUER=" + s.Provider.Issuer(), "PREFECT_API_URL=" + s.Prefect.APIURL(),
			"PREFECT_API_AUTH_STRING=" + s.Prefect.AuthString(),
		},
	})
	if err != nil {
		return err
	}
	return s.settings(ctx)
}

// deployIdle deploys the flow once more, to a work pool without a worker, and gives both deployments a default.
func (s *suite) deployIdle(ctx context.Context) error {
	var deployment map[string]any
	if err := s.Prefect.Get(ctx, "/deployments/name/relay/prod", &deployment); err != nil {
		return err
	}
	if err := s.Prefect.Post(ctx, "/work_pools/", map[string]any{"name": "idle", "type": "process"}, nil); err != nil {
		return err
	}
	defaults := map[string]any{"note": "of the deployment"}
	idle := map[string]any{"name": "idle", "work_pool_name": "idle", "parameters": defaults}
	for _, field := range []string{"flow_id", "entrypoint", "path", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema"} {
		idle[field] = deployment[field]
	}
	if err := s.Prefect.Post(ctx, "/deployments/", idle, nil); err != nil {
		return err
	}
	return s.Prefect.Patch(ctx, "/deployments/"+deployment["id"].(string), map[string]any{"parameters": defaults})
}

// settings are for the flow: where the gateway is, and its accounts' tokens.
func (s *suite) settings(ctx context.Context) error {
	tokens := map[string]string{}
	for _, account := range accounts.Services {
		token, err := s.Provider.ServiceToken(ctx, account.ID)
		if err != nil {
			return err
		}
		tokens[account.ID] = token
	}
	data, err := json.Marshal(map[string]any{"gateway": s.gateway.URL(), "tokens": tokens})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "settings.json"), data, 0o600)
}

func (s *suite) stop() {
	s.gateway.Stop()
	s.Stack.Stop()
	_ = os.RemoveAll(s.dir)
}

// trigger starts a run as a person, and gives its id.
func trigger(t *testing.T, person, path string, parameters map[string]any, headers http.Header) string {
	t.Helper()
	token, err := s.Provider.PersonToken(t.Context(), person)
	require.NoError(t, err)
	data, err := json.Marshal(parameters)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway.URL()+path, bytes.NewReader(data))
	require.NoError(t, err)
	for name, values := range headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", body)
	var started struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.Unmarshal(body, &started))
	return started.ID
}

// ended waits for the run's end and gives what it printed.
func ended(t *testing.T, id, state string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	run, err := s.Prefect.Finished(ctx, id, nil)
	require.NoError(t, err)
	require.Equal(t, state, run.StateType, "%s\n%s", run.State.Message, stack.Tail(s.Worker.Logs()))
	var lines []string
	require.Eventually(t, func() bool {
		lines, err = s.Prefect.RunLogs(ctx, id)
		// The flow's own last line: all before it has arrived.
		return err == nil && slices.ContainsFunc(lines, func(l string) bool { return l == "relayed" || strings.HasPrefix(l, "not proved: ") })
	}, 20*time.Second, 100*time.Millisecond, "%v", &lines)
	return lines
}

// requireLine finds the line with the beginning, and gives what follows it.
func requireLine(t *testing.T, lines []string, beginning string) string {
	t.Helper()
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, beginning); ok {
			return rest
		}
	}
	require.Failf(t, "no such line", "%q in %q", beginning, lines)
	return ""
}

// verdict is what kong-prefect verify-run says.
type verdict struct {
	Genuine  bool
	Findings []struct{ Code, Detail string }
	Stamp    *struct {
		Caller struct{ Name, Subject string }
		Actors []struct{ Name string }
		Roles  []string
		Via    []struct {
			IdempotencyKey string `json:"idempotency_key"`
		}
	}
}

func (v verdict) codes() []string {
	codes := []string{}
	for _, f := range v.Findings {
		codes = append(codes, f.Code)
	}
	return codes
}

func verifyRun(t *testing.T, id string) verdict {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.dir, "kong-prefect"), "verify-run", id, "--json",
		"--api-url", s.Prefect.APIURL(), "--keys", s.jwksURL)
	cmd.Env = append(os.Environ(), "PREFECT_API_AUTH_STRING="+s.Prefect.AuthString())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var v verdict
	require.NoError(t, json.Unmarshal(out, &v), "%s %v", stderr.String(), err)
	if v.Genuine {
		require.NoError(t, err)
	} else {
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), stderr.String())
	}
	return v
}

// examine asks the Python module about the runs, as Prefect's own client reads them.
func examine(t *testing.T, ids ...string) map[string][]string {
	t.Helper()
	script, err := filepath.Abs("flows/examine.py")
	require.NoError(t, err)
	cmd := s.Prefect.Command(t.Context(), s.dir, "python", append([]string{script}, ids...)...)
	cmd.Env = append(cmd.Env, s.python...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var found map[string][]string
	require.NoError(t, json.Unmarshal(out, &found), string(out))
	return found
}
