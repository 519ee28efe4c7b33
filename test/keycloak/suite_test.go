package keycloak

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const (
	repository = "../.."
	compose    = repository + "/examples/compose"
	// What realm.json says.
	realm, secret, redirect = "acme", "development-only", "http://127.0.0.1/callback"
)

// suite is what all tests share.
type suite struct {
	*stack.Stack
	keycloak *stack.Keycloak
	gateway  *stack.Gateway
	echo     *httptest.Server // an upstream that says what it saw
	dir      string
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // a provider that is not needed here logs
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	defer s.stop()
	err := s.start(ctx)
	if errors.Is(err, stack.ErrNotInstalled) {
		fmt.Fprintln(os.Stderr, "SKIPPED: the tests on a real Keycloak:", err)
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keycloak:", err)
		return 1
	}
	return stack.Verdict("keycloak", m.Run(), s.gateway.Logs())
}

func (s *suite) start(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "kong-prefect-with-keycloak-"); err != nil {
		return err
	}
	options := stack.KeycloakOptions{Realm: realm, RealmFile: filepath.Join(compose, "realm.json")}
	if err := stack.FindKeycloak(options); err != nil {
		return err
	}
	parts, starting := errgroup.WithContext(ctx)
	parts.Go(func() (err error) {
		s.keycloak, err = stack.StartKeycloak(starting, options)
		return err
	})
	parts.Go(func() (err error) {
		s.Stack, err = stack.Start(starting, stack.Options{
			Prefect:  stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))},
			FlowsDir: filepath.Join(repository, "examples/flows"),
			Provider: provider.Options{Audience: []string{"nobody"}}, // it is there and not asked
		})
		return err
	})
	parts.Go(func() error { return stack.BuildBinaries(starting, repository, s.dir) })
	if err := parts.Wait(); err != nil {
		return err
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: config,
		Env: []string{
			"OIDC_ISSUER=" + s.keycloak.Issuer(),
			"PREFECT_API_URL=" + s.Prefect.APIURL(),
			"PREFECT_API_AUTH_STRING=" + s.Prefect.AuthString(),
		},
	})
	return err
}

// ways are two more routes, to an upstream: one with the shipped plugin, and one that takes tokens for a client of
// Keycloak's, as its ID tokens are.
const ways = `- name: upstream
  url: %s
  routes:
  - {name: echo, paths: [/echo]}
  - name: for-the-client
    paths: [/for-the-client]
    plugins:
    - name: prefect-identity
      config:
        issuers:
        - {issuer: "{vault://env/oidc-issuer}", audiences: [command-line], preset: keycloak}
`

// config is compose's kong.yml as it is shipped, and the ways.
func (s *suite) config() (path string, err error) {
	shipped, err := os.ReadFile(filepath.Join(compose, "kong.yml"))
	if err != nil {
		return "", err
	}
	s.echo = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Header) // the gateway has gone
	}))
	path = filepath.Join(s.dir, "kong.yml")
	return path, os.WriteFile(path, fmt.Appendf(shipped, ways, s.echo.URL), 0o600)
}

func (s *suite) stop() {
	s.gateway.Stop()
	if s.echo != nil {
		s.echo.Close()
	}
	s.Stack.Stop()
	s.keycloak.Stop()
	_ = os.RemoveAll(s.dir)
}

// call makes a request with a token and reads the answer's JSON.
func call(t *testing.T, method, path, token, body string, to any) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.gateway.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(answer, to), "%s", answer)
	return resp.StatusCode
}

// seen is what the upstream saw of the caller.
func seen(t *testing.T, token string) map[string]string {
	t.Helper()
	var header http.Header
	require.Equal(t, http.StatusOK, call(t, http.MethodGet, "/echo", token, "", &header))
	caller := map[string]string{}
	for name := range header {
		if what, ours := strings.CutPrefix(name, "X-Caller-"); ours {
			caller[what] = header.Get(name)
		}
	}
	return caller
}

// refusal is the status and the code of a refusal.
func refusal(t *testing.T, method, path, token string) (status int, code string) {
	t.Helper()
	var problem struct{ Code string }
	status = call(t, method, path, token, "", &problem)
	return status, problem.Code
}

func service(t *testing.T, client string) stack.Tokens {
	t.Helper()
	tokens, err := s.keycloak.ServiceTokens(t.Context(), client, secret)
	require.NoError(t, err)
	return tokens
}

func alice(t *testing.T) stack.Tokens {
	t.Helper()
	tokens, err := s.keycloak.PersonTokens(t.Context(), "command-line", redirect, "alice", secret)
	require.NoError(t, err)
	return tokens
}
