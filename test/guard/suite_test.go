package guard_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

// accounts: one service account for each role, and one without any.
var accounts = provider.Options{
	Audience:      []string{"kong-prefect"},
	TokenLifetime: time.Hour,
	Services: []provider.Service{
		{ID: "svc-viewer", Secret: "secret-of-viewer"}, {ID: "svc-runner", Secret: "secret-of-runner"}, {ID: "svc-runner2", Secret: "secret-of-runner2"},
		{ID: "svc-developer", Secret: "secret-of-developer"}, {ID: "svc-worker", Secret: "secret-of-worker"}, {ID: "svc-owner", Secret: "secret-of-owner"},
		{ID: "svc-team", Secret: "secret-of-team"}, {ID: "svc-bulk", Secret: "secret-of-bulk"}, {ID: "svc-nobody", Secret: "secret-of-nobody"},
	},
}

// suite is what the tests share: started when the first needs it, stopped after the last.
type suite struct {
	once sync.Once
	err  error

	provider *provider.Provider
	locked   *stack.Prefect // with its auth string on
	open     *stack.Prefect // without: only the gateway may reach it
	gateway  *stack.Gateway // in front of locked
	front    *stack.Gateway // in front of open, with its pages
	dir      string
	tokens   sync.Map
}

var s suite

func TestMain(m *testing.M) {
	flag.Parse()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs every request it refuses
	code := m.Run()
	for _, g := range []*stack.Gateway{s.gateway, s.front} {
		if g == nil {
			continue
		}
		if err := g.Leaks(append(s.provider.Secrets(), s.locked.AuthString())...); err != nil {
			fmt.Fprintln(os.Stderr, "guard:", err)
			code = 1
		}
		code = stack.Verdict("guard", code, g.Logs())
	}
	s.stop()
	os.Exit(code)
}

// parts starts everything, once.
func parts(t testing.TB) *suite {
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
	if s.dir, err = os.MkdirTemp("", "kong-prefect-guard-"); err != nil {
		return err
	}
	if s.locked, err = stack.NewPrefect(stack.PrefectOptions{Venv: venv()}); err != nil {
		return err
	}
	if s.open, err = stack.NewPrefect(stack.PrefectOptions{Venv: venv(), UI: true, UIAPIURL: "/api", Open: true}); err != nil {
		return err
	}
	if s.provider, err = provider.New(accounts); err != nil {
		return err
	}
	if err := stack.BuildBinaries(ctx, repository, s.dir); err != nil {
		return err
	}
	if err := errors.Join(s.locked.Ready(ctx), s.open.Ready(ctx)); err != nil {
		return err
	}
	if s.gateway, err = s.startGateway(ctx, "locked", s.locked, s.locked.AuthString(), false); err != nil {
		return err
	}
	s.front, err = s.startGateway(ctx, "open", s.open, "", true)
	return err
}

// server is what the template wants to know of one.
type server struct {
	Name, URL, Prefix, Auth, Viewer string
	Pages                           bool
}

func (s *suite) startGateway(ctx context.Context, name string, p *stack.Prefect, auth string, pages bool) (*stack.Gateway, error) {
	viewer := "[" + strings.Join(guard.RolePermissions("viewer"), ", ") + "]"
	config, err := stack.WriteConfig(filepath.Join(s.dir, name+".yml"), "testdata/kong.yml",
		map[string]any{"Servers": []server{{Name: name, URL: p.URL(), Auth: auth, Viewer: viewer, Pages: pages}}})
	if err != nil {
		return nil, err
	}
	return stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: config, Audit: true,
		Env: []string{"OIDC_ISSUER=" + s.provider.Issuer()},
	})
}

func (s *suite) stop() {
	s.gateway.Stop()
	s.front.Stop()
	s.open.Stop()
	s.locked.Stop()
	s.provider.Stop()
	_ = os.RemoveAll(s.dir)
}

// token is a service account's access token.
func (s *suite) token(t testing.TB, id string) string {
	t.Helper()
	if known, ok := s.tokens.Load(id); ok {
		return known.(string)
	}
	token, err := s.provider.ServiceToken(t.Context(), id)
	require.NoError(t, err)
	s.tokens.Store(id, token)
	return token
}

// call is one request through the gateway.
type call struct {
	as     string // the account; empty: without a token
	method string
	path   string // below /api
	body   string
	header http.Header
}

type reply struct {
	status int
	header http.Header
	body   string
}

// client follows no redirect and keeps no connection: after a 503 Prefect closes it without saying so.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

func (s *suite) send(t testing.TB, c call) reply {
	t.Helper()
	return s.sendTo(t, s.gateway.URL()+"/api", c)
}

func (s *suite) sendTo(t testing.TB, base string, c call) reply {
	t.Helper()
	for attempt := 0; ; attempt++ {
		req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		for name, values := range c.header {
			req.Header[name] = values
		}
		if c.as != "" {
			req.Header.Set("Authorization", "Bearer "+s.token(t, c.as))
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		if resp.StatusCode == http.StatusServiceUnavailable && attempt < 10 && !strings.Contains(string(body), `"code"`) {
			time.Sleep(time.Duration(attempt+1) * 50 * time.Millisecond) // SQLite under two writers
			continue
		}
		return reply{resp.StatusCode, resp.Header, string(body)}
	}
}

// refusedBy is the code of the gateway's refusal; empty: the answer is Prefect's.
func (r reply) refusedBy() string {
	if r.header.Get("Content-Type") != "application/problem+json" {
		return ""
	}
	_, after, _ := strings.Cut(r.body, `"code":"`)
	code, _, _ := strings.Cut(after, `"`)
	return code
}
