// Package e2e_test drives the real binary through a gateway, between a real Prefect server with a worker and a real
// OpenID provider. The gateway is devgateway, or the Kong that the environment's KONG names.
//
// It refuses to fake Prefect: where a test needs Prefect to be away, a port is closed or a bad gateway stands before it.
// The binaries have the race detector built in, and a race they report fails the suite.
//
// Read TestMain first, then trigger_test.go.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

// The accounts. kong.yml gives the first three a role each, and the strangers none.
var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{
		{ID: "svc-nightly", Secret: "nightly-secret"},
		{ID: "svc-second", Secret: "second-secret"},
		{ID: "agent-planner", Secret: "planner-secret"},
		{ID: "svc-stranger", Secret: "stranger-secret"},
	},
	People: []provider.Person{
		{Subject: "5d1a7c1e-alice", Username: "alice", Password: "alice-password", Name: "Alice Ä",
			Email: "alice@example.com", Groups: []string{"data-team", "sales, EMEA"}},
		{Subject: "83b0f2aa-bob", Username: "bob", Password: "bob-password", Name: "Bob", Email: "bob@example.com"},
	},
}

// suite is what all tests share: started once, stopped after the last one.
type suite struct {
	*stack.Stack
	gateway *stack.Gateway
	dir     string // the binaries and the gateway's files
	closers []func()
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs every request it refuses
	// A signal ends the suite by the way that stops everything.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	finished := make(chan struct{})
	defer close(finished)
	defer s.stop()
	go func() {
		<-ctx.Done()
		select {
		case <-finished: // not a signal, but the way out
		default:
			s.stop()
			os.Exit(1)
		}
	}()
	if err := s.start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	if err := s.gateway.Leaks(append(s.Provider.Secrets(), s.Prefect.AuthString())...); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	return stack.Verdict("e2e", code, s.gateway.Logs())
}

func (s *suite) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, stack.StartLimit)
	defer cancel()
	began := time.Now()
	notice := func(part string, _ time.Duration) {
		if testing.Verbose() {
			fmt.Printf("%5.1f s %s\n", time.Since(began).Seconds(), part)
		}
	}
	if s.dir, err = os.MkdirTemp("", "kong-prefect-e2e-"); err != nil {
		return err
	}
	// The binaries are built while Prefect starts.
	built := make(chan error, 1)
	go func() { built <- stack.BuildBinaries(ctx, repository, s.dir) }()
	s.Stack, err = stack.Start(ctx, stack.Options{
		Prefect:  stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))},
		FlowsDir: filepath.Join(repository, "examples/flows"),
		Provider: accounts,
		Notice:   notice,
	})
	if err = errors.Join(err, <-built); err != nil {
		return err
	}
	if err := s.deployIdle(ctx); err != nil {
		return err
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	s.gateway, err = s.startGateway(ctx, config)
	notice("gateway", 0)
	return err
}

// deployIdle deploys refresh-customer once more, to a work pool without a worker: most tests only start a run, and two
// cores have better things to do than to execute them all.
func (s *suite) deployIdle(ctx context.Context) error {
	var deployment map[string]any
	if err := s.Prefect.Get(ctx, "/deployments/name/refresh-customer/prod", &deployment); err != nil {
		return err
	}
	const pool = "idle"
	if err := s.Prefect.Post(ctx, "/work_pools/", map[string]any{"name": pool, "type": "process"}, nil); err != nil {
		return err
	}
	idle := map[string]any{"name": "idle", "work_pool_name": pool}
	for _, field := range []string{"flow_id", "entrypoint", "path", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema"} {
		idle[field] = deployment[field]
	}
	return s.Prefect.Post(ctx, "/deployments/", idle, nil)
}

// config fills in testdata/kong.yml and starts what its addresses name.
func (s *suite) config() (path string, err error) {
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	if err := closed.Close(); err != nil {
		return "", err
	}
	echo := httptest.NewServer(http.HandlerFunc(echoRequest))
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "bad gateway", http.StatusBadGateway)
	}))
	s.closers = append(s.closers, echo.Close, bad.Close)
	authFile := filepath.Join(s.dir, "auth")
	if err := os.WriteFile(authFile, []byte(s.Prefect.AuthString()+"\n"), 0o600); err != nil {
		return "", err
	}
	return stack.WriteConfig(filepath.Join(s.dir, "kong.yml"), "testdata/kong.yml", map[string]string{
		"EchoURL": echo.URL, "BadGatewayURL": bad.URL, "AuthFile": authFile,
		"ClosedURL": "http://" + closed.Addr().String(),
	})
}

// startGateway starts one more gateway, with the addresses of the suite's parts in its environment.
func (s *suite) startGateway(ctx context.Context, config string) (*stack.Gateway, error) {
	return stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir,
		Config:   config,
		Admin:    true,
		Audit:    true,
		Env: []string{
			"OIDC_ISSUER=" + s.Provider.Issuer(),
			"PREFECT_API_URL=" + s.Prefect.APIURL(),
			"PREFECT_API_AUTH_STRING=" + s.Prefect.AuthString(),
		},
	})
}

func (s *suite) stop() {
	s.gateway.Stop()
	s.Stack.Stop()
	for _, stop := range s.closers {
		stop()
	}
	_ = os.RemoveAll(s.dir)
}
