package tokens

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{
		{ID: "svc", Secret: "svc-secret"},
		{ID: "svc-opaque", Secret: "opaque-secret", Opaque: true},
		{ID: "svc-elsewhere", Secret: "elsewhere-secret", Opaque: true, Audience: []string{"somebody-else"}},
		{ID: "gateway", Secret: gatewaySecret},
	},
}

const gatewaySecret = "gateway secret: +/%"

// suite is what all tests share: one gateway with a route for each way in which tokens come. Each provider has routes
// of its own, so that a test may turn its keys or stop it.
type suite struct {
	idp, rotating, leaving *provider.Provider
	gateway                *stack.Gateway
	echo                   *httptest.Server // the upstream; answers the headers that it saw
	front                  *httptest.Server // ends TLS before the gateway and hands on the client's certificate
	dir, denyList, keyFile string
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs every request it refuses
	ctx, cancel := context.WithTimeout(context.Background(), stack.StartLimit)
	defer cancel()
	defer s.stop()
	if err := s.start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "tokens:", err)
		return 1
	}
	return stack.Verdict("tokens", m.Run(), s.gateway.Logs(), gatewaySecret)
}

func (s *suite) start(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "kong-prefect-tokens-"); err != nil {
		return err
	}
	s.denyList, s.keyFile = filepath.Join(s.dir, "deny.json"), filepath.Join(s.dir, "keys.json")
	if err := os.WriteFile(s.denyList, []byte(`{"deny":[]}`), 0o600); err != nil {
		return err
	}
	for _, p := range []**provider.Provider{&s.idp, &s.rotating, &s.leaving} {
		if *p, err = provider.New(accounts); err != nil {
			return err
		}
	}
	if err := stack.BuildBinaries(ctx, repository, s.dir); err != nil {
		return err
	}
	s.front = newFront()
	config, err := s.config()
	if err != nil {
		return err
	}
	s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: config,
		Env: []string{"INTROSPECTION_SECRET=" + gatewaySecret}, TLS: stack.OnKong(),
	})
	return err
}

// config fills in testdata/kong.yml.
func (s *suite) config() (path string, err error) {
	s.echo = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Header) // the gateway has gone
	}))
	return stack.WriteConfig(filepath.Join(s.dir, "kong.yml"), "testdata/kong.yml", map[string]string{
		"Echo": s.echo.URL, "Issuer": s.idp.Issuer(), "Rotating": s.rotating.Issuer(), "Leaving": s.leaving.Issuer(),
		"Introspection": s.idp.IntrospectionURL(), "DenyList": s.denyList, "KeyFile": s.keyFile, "Front": s.front.URL,
	})
}

func (s *suite) stop() {
	s.gateway.Stop()
	for _, server := range []*httptest.Server{s.front, s.echo} {
		if server != nil {
			server.Close()
		}
	}
	for _, p := range []*provider.Provider{s.idp, s.rotating, s.leaving} {
		p.Stop()
	}
	_ = os.RemoveAll(s.dir)
}

// answer is what came back: the upstream's view of the request, or a refusal.
type answer struct {
	status int
	header http.Header
	code   string      // of a refusal
	saw    http.Header // by the upstream
}

// call makes a POST at the gateway.
func call(t *testing.T, path string, headers http.Header) answer {
	t.Helper()
	return callAt(t, http.DefaultClient, http.MethodPost, s.gateway.URL()+path, headers)
}

func callAt(t *testing.T, client *http.Client, method, url string, headers http.Header) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	require.NoError(t, err)
	for name, values := range headers {
		req.Header[name] = values
	}
	if host := headers.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	a := answer{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode == http.StatusOK {
		require.NoError(t, json.Unmarshal(body, &a.saw), "%s", body)
		return a
	}
	var problem struct{ Code string }
	require.NoError(t, json.Unmarshal(body, &problem), "%s", body)
	a.code = problem.Code
	return a
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func serviceToken(t *testing.T, p *provider.Provider, id string) string {
	t.Helper()
	token, err := p.ServiceToken(t.Context(), id)
	require.NoError(t, err)
	return token
}

// forge makes a token of the service account svc that is true but for the changes.
func forge(t *testing.T, p *provider.Provider, claims map[string]any) string {
	t.Helper()
	token, err := p.Forge(provider.Forgery{Service: "svc", Claims: claims})
	require.NoError(t, err)
	return token
}

// requireTaken checks that the request reached the upstream, as this subject's.
func requireTaken(t *testing.T, a answer, subject string) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.code)
	require.Equal(t, subject, a.saw.Get("X-Caller-Subject"))
}

func requireRefused(t *testing.T, a answer, status int, code string) {
	t.Helper()
	require.Equal(t, code, a.code)
	require.Equal(t, status, a.status)
}
