package identity

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const (
	repository = "../.."
	limit      = 30 * time.Second
)

var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{
		{ID: "svc-nightly", Secret: "nightly-secret", Claims: map[string]any{"team": "data, EMEA"}},
		{ID: "svc-second", Secret: "second-secret"},
		{ID: "svc-stranger", Secret: "stranger-secret"},
		{ID: "agent-planner", Secret: "planner-secret"},
	},
	People: []provider.Person{
		{Subject: "5d1a7c1e-alice", Username: "alice", Password: "alice-password", Name: "Alice Ä", Email: "alice@example.com", Groups: []string{"data-team", "sales, EMEA"}},
		{Subject: "83b0f2aa-bob", Username: "bob", Password: "bob-password", Name: "Bob", Email: "bob@example.com"},
	},
}

// suite is what all tests share: two providers, one gateway, one upstream that says what it saw.
type suite struct {
	idp, second *provider.Provider
	gateway     *stack.Gateway
	echo        *httptest.Server
	dir         string
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
		fmt.Fprintln(os.Stderr, "identity:", err)
		return 1
	}
	return stack.Verdict("identity", m.Run(), s.gateway.Logs())
}

func (s *suite) start(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "kong-prefect-identity-"); err != nil {
		return err
	}
	for _, p := range []**provider.Provider{&s.idp, &s.second} {
		if *p, err = provider.New(accounts); err != nil {
			return err
		}
	}
	if err := stack.BuildBinaries(ctx, repository, s.dir); err != nil {
		return err
	}
	s.echo = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upstream", "reached")
		_ = json.NewEncoder(w).Encode(r.Header) // the gateway has gone
	}))
	// Where the gateway's Admin API is, it says once it runs: the configuration with that address follows.
	config, err := s.config("http://127.0.0.1:1")
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "kong.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	if s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: path, Admin: true,
	}); err != nil {
		return err
	}
	if config, err = s.config(s.gateway.AdminURL()); err != nil {
		return err
	}
	return s.configure(ctx, config)
}

// config fills in testdata/kong.yml.
func (s *suite) config(admin string) (string, error) {
	text, err := template.ParseFiles("testdata/kong.yml")
	if err != nil {
		return "", err
	}
	var filled strings.Builder
	err = text.Execute(&filled, map[string]string{"Echo": s.echo.URL, "Issuer": s.idp.Issuer(), "Second": s.second.Issuer(), "Admin": admin})
	return filled.String(), err
}

// configure gives the gateway another configuration, without a restart.
func (s *suite) configure(ctx context.Context, config string) error {
	body, err := json.Marshal(map[string]string{"config": config})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.gateway.AdminURL()+"/config", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("the new configuration: %s: %s", resp.Status, body)
	}
	return nil
}

func (s *suite) stop() {
	s.gateway.Stop()
	if s.echo != nil {
		s.echo.Close()
	}
	s.idp.Stop()
	s.second.Stop()
	_ = os.RemoveAll(s.dir)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// saw is what the upstream saw.
func (a answer) saw(t *testing.T) http.Header {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, "reached", a.header.Get("X-Upstream"))
	var h http.Header
	require.NoError(t, json.Unmarshal(a.body, &h))
	return h
}

// code is the reason of a refusal of ours.
func (a answer) code(t *testing.T) string {
	t.Helper()
	require.Empty(t, a.header.Get("X-Upstream"), "the request reached the upstream")
	var problem struct{ Code string }
	require.NoError(t, json.Unmarshal(a.body, &problem), "%d %s", a.status, a.body)
	return problem.Code
}

// get makes a request with a token, unless that is empty, and further headers, whose names go out as they are written.
func get(t *testing.T, path, token string, headers http.Header) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.gateway.URL()+path, nil)
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	maps.Copy(req.Header, headers)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, body}
}

// raw sends bytes that no HTTP client would, one request with Connection: close.
func raw(t *testing.T, target string, lines ...string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.gateway.URL(), "http://"), limit)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // nothing was left to write
	require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
	head := append([]string{"GET " + target + " HTTP/1.1", "Host: gateway.example.com"}, lines...)
	_, err = io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, body}
}

func serviceToken(t *testing.T, p *provider.Provider, id string) string {
	t.Helper()
	token, err := p.ServiceToken(t.Context(), id)
	require.NoError(t, err)
	return token
}

func personToken(t *testing.T, p *provider.Provider, username string) string {
	t.Helper()
	token, err := p.PersonToken(t.Context(), username)
	require.NoError(t, err)
	return token.AccessToken
}

// starting gives the headers whose folded names begin so.
func starting(h http.Header, prefixes ...string) map[string]string {
	found := map[string]string{}
	for name, values := range h {
		for _, prefix := range prefixes {
			if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), prefix) {
				found[name] = strings.Join(values, "|")
			}
		}
	}
	return found
}
