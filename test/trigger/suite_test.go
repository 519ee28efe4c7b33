package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{
		{ID: "svc-nightly", Secret: "nightly-secret"},
		{ID: "svc-second", Secret: "second-secret"},
		{ID: "svc-operator", Secret: "operator-secret"},
		{ID: "svc-stranger", Secret: "stranger-secret"},
	},
	People: []provider.Person{
		{Subject: "5d1a7c1e-alice", Username: "alice", Password: "alice-password", Name: "Alice", Email: "alice@example.com", Groups: []string{"data-team"}},
	},
}

// suite is what all tests share: one Prefect, one provider, two gateways that know each other's keys.
type suite struct {
	dir      string
	prefect  *stack.Prefect
	provider *provider.Provider
	redis    *stack.Redis // nil: none is installed
	gateways []*stack.Gateway
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs every request it refuses
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer s.stop()
	if err := s.start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "trigger:", err)
		return 1
	}
	code := m.Run()
	for _, g := range s.gateways {
		if strings.Contains(g.Logs(), "WARNING: DATA RACE") {
			fmt.Fprintln(os.Stderr, "trigger: the race detector of a binary found something")
			code = 1
		}
		if code != 0 {
			fmt.Fprintf(os.Stderr, "trigger: a gateway's log ends with:\n%s\n", stack.Tail(g.Logs()))
		}
	}
	return code
}

func (s *suite) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, stack.StartLimit)
	defer cancel()
	if s.dir, err = os.MkdirTemp("", "kong-prefect-trigger-"); err != nil {
		return err
	}
	if s.provider, err = provider.New(accounts); err != nil {
		return err
	}
	if s.prefect, err = stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))}); err != nil {
		return err
	}
	if s.redis, err = stack.StartRedis(ctx); errors.Is(err, stack.ErrNotInstalled) {
		fmt.Fprintln(os.Stderr, "SKIPPED: the tests of quotas:", err)
	} else if err != nil {
		return err
	}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return stack.BuildBinaries(both, repository, s.dir) })
	group.Go(func() error {
		if err := s.prefect.Ready(both); err != nil {
			return err
		}
		return s.deploy(both)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	for range 2 {
		g, err := stack.StartGateway(ctx, stack.GatewayOptions{
			Binaries: s.dir, Config: config,
			ServeArgs: []string{"--keys", filepath.Join(s.dir, "keys.json")},
		})
		if err != nil {
			return err
		}
		s.gateways = append(s.gateways, g)
	}
	return nil
}

// deploy makes the deployments, with the schema that Prefect itself makes of the flow.
func (s *suite) deploy(ctx context.Context) error {
	script, err := filepath.Abs("testdata/report.py")
	if err != nil {
		return err
	}
	out, err := s.prefect.Command(ctx, s.dir, "python", script).Output()
	if err != nil {
		return fmt.Errorf("the flow's schema: %w: %s", err, out)
	}
	if err := s.prefect.Post(ctx, "/work_pools/", map[string]any{"name": "idle", "type": "process"}, nil); err != nil {
		return err
	}
	flows := map[string]string{}
	for _, d := range []struct {
		flow, name string
		more       map[string]any
	}{
		{"report", "prod", nil},
		{"report", "gold", nil},
		{"report", "test", nil},
		{"report", "gone", nil},
		{"report", "secret", map[string]any{"tags": []string{"secret"}}},
		{"report", "paused", map[string]any{"paused": true}},
		{"report", "nobody", map[string]any{"work_pool_name": nil}},
		{"other flow", "prod", nil},
		{"hidden", "prod", nil},
		{"counted", "minute", nil},
		{"counted", "at-once", nil},
		{"counted", "refusing", nil},
		{"counted", "alone", nil},
	} {
		if flows[d.flow] == "" {
			var flow struct{ ID string }
			if err := s.prefect.Post(ctx, "/flows/", map[string]any{"name": d.flow}, &flow); err != nil {
				return err
			}
			flows[d.flow] = flow.ID
		}
		body := map[string]any{
			"name": d.name, "flow_id": flows[d.flow], "work_pool_name": "idle", "enforce_parameter_schema": true,
			"parameter_openapi_schema": json.RawMessage(out),
		}
		maps.Copy(body, d.more)
		if err := s.prefect.Post(ctx, "/deployments/", body, nil); err != nil {
			return err
		}
	}
	return nil
}

// config fills in testdata/kong.yml.
func (s *suite) config() (path string, err error) {
	values := map[string]string{"Issuer": s.provider.Issuer(), "Prefect": s.prefect.APIURL(), "Auth": s.prefect.AuthString()}
	if s.redis != nil {
		values["Redis"] = s.redis.URL()
	}
	return stack.WriteConfig(filepath.Join(s.dir, "kong.yml"), "testdata/kong.yml", values)
}

func (s *suite) stop() {
	for _, g := range s.gateways {
		g.Stop()
	}
	s.redis.Stop()
	s.prefect.Stop()
	s.provider.Stop()
	_ = os.RemoveAll(s.dir)
}

// request is one call; its zero value is a POST of nothing, by svc-nightly, at the first gateway.
type request struct {
	method  string
	path    string
	body    string
	by      string // a service account, or alice
	headers map[string]string
	gateway int
}

// response is an answer, read.
type response struct {
	status int
	header http.Header
	body   []byte
}

var client = &http.Client{Timeout: time.Minute}

func send(t *testing.T, r request) response {
	t.Helper()
	req := r.make(t)
	resp, err := client.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	return response{resp.StatusCode, resp.Header, body}
}

func (r request) make(t *testing.T) *http.Request {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, s.gateways[r.gateway].URL()+r.path, strings.NewReader(r.body))
	require.NoError(t, err)
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+tokenOf(t, r.by))
	for name, value := range r.headers {
		req.Header.Set(name, value)
	}
	return req
}

func tokenOf(t *testing.T, by string) string {
	t.Helper()
	if by == "" {
		by = "svc-nightly"
	}
	if by == "alice" {
		token, err := s.provider.PersonToken(t.Context(), by)
		require.NoError(t, err)
		return token.AccessToken
	}
	token, err := s.provider.ServiceToken(t.Context(), by)
	require.NoError(t, err)
	return token
}

// started is the answer about a run.
type started struct {
	ID         string
	State      struct{ Type, Name string }
	Deployment string
	Created    bool
	Links      map[string]string
}

func requireRun(t *testing.T, r response, status int) started {
	t.Helper()
	require.Equal(t, status, r.status, "%s", r.body)
	var run started
	require.NoError(t, json.Unmarshal(r.body, &run))
	require.NotEmpty(t, run.ID)
	return run
}

// problem is a problem document (RFC 9457) with the product's members.
type problem struct {
	Code       string
	Detail     string
	Violations []struct{ Pointer, Detail, Code string }
}

func requireRefused(t *testing.T, r response, status int, code string) problem {
	t.Helper()
	var p problem
	require.NoErrorf(t, json.Unmarshal(r.body, &p), "%d %s", r.status, r.body)
	require.Equal(t, code, p.Code, "%s", r.body)
	require.Equal(t, status, r.status, "%s", r.body)
	return p
}

// stored is the run as Prefect has it.
func stored(t *testing.T, id string) stack.Run {
	t.Helper()
	run, err := s.prefect.Run(t.Context(), id)
	require.NoError(t, err)
	return run
}

// runs are how many runs a deployment has.
func runs(t *testing.T, deployment string) int {
	t.Helper()
	id, err := s.prefect.DeploymentID(t.Context(), deployment)
	require.NoError(t, err)
	list, err := s.prefect.RunsOf(t.Context(), id)
	require.NoError(t, err)
	return len(list)
}
