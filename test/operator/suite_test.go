package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

var accounts = provider.Options{
	Audience:      []string{"kong-prefect"},
	TokenLifetime: time.Hour,
	Services: []provider.Service{
		{ID: "svc-nightly", Secret: "s1"}, {ID: "svc-second", Secret: "s2"}, {ID: "svc-stranger", Secret: "s3"},
		{ID: "agent-planner", Secret: "s4"}, {ID: "svc-elsewhere", Secret: "s5", Audience: []string{"somebody-else"}},
		{ID: "svc-opaque", Secret: "s6", Opaque: true},
	},
	People: []provider.Person{
		{Subject: "5d1a7c1e-alice", Username: "alice", Password: "alice-password", Name: "Alice Ä", Email: "alice@example.com", Groups: []string{"data-team"}},
		{Subject: "83b0f2aa-bob", Username: "bob", Password: "bob-password", Name: "Bob", Email: "bob@elsewhere.example"},
	},
}

// suite is what the tests share: started when the first needs it, stopped after the last.
type suite struct {
	once sync.Once
	err  error

	idp, foreign *provider.Provider
	prefect      *stack.Prefect
	gateway      *stack.Gateway
	echo         *httptest.Server
	dir, config  string
	env          []string
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs every request it refuses
	code := m.Run()
	if s.gateway != nil {
		code = stack.Verdict("operator", code, s.gateway.Logs(), s.prefect.AuthString())
	}
	s.stop()
	os.Exit(code)
}

// parts starts everything, once.
func parts(t *testing.T) *suite {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Prefect")
	}
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stack.StartLimit)
		defer cancel()
		s.err = s.start(ctx)
	})
	require.NoError(t, s.err)
	return &s
}

func (s *suite) start(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "kong-prefect-operator-"); err != nil {
		return err
	}
	if s.prefect, err = stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))}); err != nil {
		return err
	}
	for _, p := range []**provider.Provider{&s.idp, &s.foreign} {
		if *p, err = provider.New(accounts); err != nil {
			return err
		}
	}
	if err := stack.BuildBinaries(ctx, repository, s.dir); err != nil {
		return err
	}
	// The tool runs hundreds of times: once more without the race detector.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.dir+"/tool", "./cmd/kong-prefect")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the tool: %w\n%s", err, out)
	}
	s.echo = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", "1")
		_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.Path, "header": r.Header}) // the gateway has gone
	}))
	if err := s.prefect.Ready(ctx); err != nil {
		return err
	}
	if err := s.deploy(ctx); err != nil {
		return err
	}
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := closed.Close(); err != nil {
		return err
	}
	s.env = []string{
		"OIDC_ISSUER=" + s.idp.Issuer(), "PREFECT_API_URL=" + s.prefect.APIURL(), "PREFECT_API_AUTH_STRING=" + s.prefect.AuthString(),
	}
	s.config, err = s.write("testdata/kong.yml", map[string]string{
		"EchoURL": s.echo.URL, "PrefectURL": s.prefect.URL(), "ClosedURL": "http://" + closed.Addr().String(),
	})
	if err != nil {
		return err
	}
	s.gateway, err = s.startGateway(ctx, s.config)
	return err
}

// write fills in a template.
func (s *suite) write(name string, values any) (string, error) {
	return stack.WriteConfig(filepath.Join(s.dir, fmt.Sprintf("%d-%s", time.Now().UnixNano(), filepath.Base(name))), name, values)
}

func (s *suite) auditDir() string { return filepath.Join(s.dir, "audit") }

func (s *suite) startGateway(ctx context.Context, config string, serveArgs ...string) (*stack.Gateway, error) {
	if len(serveArgs) == 0 {
		serveArgs = []string{"--audit", s.auditDir()}
	}
	return stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: config,
		Env: s.env, ServeArgs: serveArgs,
	})
}

func (s *suite) stop() {
	s.gateway.Stop()
	s.prefect.Stop()
	s.idp.Stop()
	s.foreign.Stop()
	if s.echo != nil {
		s.echo.Close()
	}
	_ = os.RemoveAll(s.dir)
}

// deploy makes the deployments that kong.yml names. Nobody executes their runs.
func (s *suite) deploy(ctx context.Context) error {
	schema := map[string]any{
		"type": "object", "required": []string{"region"}, "properties": map[string]any{
			"region": map[string]any{"type": "string"}, "limit": map[string]any{"type": "integer", "default": 3},
			"by": map[string]any{"type": "string"}, "day": map[string]any{"type": "string", "format": "date"},
		},
	}
	var flow struct{ ID string }
	if err := s.prefect.Post(ctx, "/flows/", map[string]any{"name": "report"}, &flow); err != nil {
		return err
	}
	if err := s.prefect.Post(ctx, "/work_pools/", map[string]any{"name": "pool", "type": "process"}, nil); err != nil {
		return err
	}
	for name, more := range map[string]map[string]any{
		"prod": {"work_pool_name": "pool"}, "agents": {"work_pool_name": "pool"}, "nobody": {}, "paused": {"work_pool_name": "pool", "paused": true},
	} {
		d := map[string]any{"name": name, "flow_id": flow.ID, "parameter_openapi_schema": schema, "enforce_parameter_schema": true}
		for k, v := range more {
			d[k] = v
		}
		if err := s.prefect.Post(ctx, "/deployments/", d, nil); err != nil {
			return err
		}
	}
	return nil
}

// tool runs the real binary and gives what it printed and its exit code.
func (s *suite) tool(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "tool"), args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// client follows no redirect and keeps no connection.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       time.Minute,
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// code is that of the gateway's refusal; empty: it refused nothing.
func (a answer) code() string {
	var p struct{ Code string }
	if a.header.Get("Content-Type") == "application/problem+json" {
		_ = json.Unmarshal(a.body, &p) // no code, then
	}
	return p.Code
}

func send(t *testing.T, r *http.Request) answer {
	t.Helper()
	resp, err := client.Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return answer{resp.StatusCode, resp.Header, body}
}
