package devgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// access is a plugin's access phase, as a test scripts it.
type access func(ctx context.Context, config map[string]any, e *pluginserver.Event)

type scripted struct {
	run    access
	config map[string]any
}

func (s scripted) Access(ctx context.Context, e *pluginserver.Event) { s.run(ctx, s.config, e) }

// script is a plugin "name" with one string field, "who".
func script(name string, priority int, run access) *pluginserver.Plugin {
	return &pluginserver.Plugin{
		Name: name, Version: "1.0.0", Priority: priority,
		Schema: map[string]any{"name": name, "fields": []any{map[string]any{"config": map[string]any{
			"type": "record", "fields": []any{
				map[string]any{"who": map[string]any{"type": "string", "default": "nobody", "referenceable": true, "description": "who is meant"}},
				map[string]any{"n": map[string]any{"type": "integer", "between": []int{1, 9}}},
			}}}}},
		Compile: func(data []byte) pluginserver.Handler {
			s := scripted{run: run}
			_ = json.Unmarshal(data, &s.config)
			return s
		},
	}
}

// logs collects the gateway's log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type rig struct {
	t        *testing.T
	settings Settings
	gateway  *Gateway
	url      string
	logs     *logs
}

// newRig serves the scripted plugins on a socket and puts the gateway before
// them.
func newRig(t *testing.T, kongYML string, plugins ...*pluginserver.Plugin) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dg") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	server, err := pluginserver.New(pluginserver.Options{Plugins: plugins})
	require.NoError(t, err)
	listener, err := pluginserver.Listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = server.Serve(ctx, listener, time.Second) }()

	r := &rig{t: t, logs: &logs{}, settings: Settings{
		DeclarativeConfig: filepath.Join(dir, "kong.yml"), Prefix: dir, LogLevel: "debug", Plugins: []string{"bundled"},
		MaxReruns: 3, ReadTimeout: 5 * time.Second, Workers: 1,
		Env: func(k string) (string, bool) { return "from " + k, k == "WHO" },
	}}
	for _, p := range plugins {
		dump := filepath.Join(dir, p.Name+".json")
		f, err := os.Create(dump)
		require.NoError(t, err)
		require.NoError(t, pluginserver.Dump(f, p))
		require.NoError(t, f.Close())
		r.settings.Plugins = append(r.settings.Plugins, p.Name)
		r.settings.PluginServers = append(r.settings.PluginServers, PluginServer{Name: p.Name, Socket: socket, QueryCmd: "cat " + dump})
	}
	r.write(kongYML)
	r.settings.ProxyListen = "127.0.0.1:0"
	r.gateway, err = Start(ctx, Options{Settings: r.settings, Log: r.logs})
	require.NoError(t, err)
	t.Cleanup(r.gateway.Close)
	r.url = r.gateway.ProxyURL()
	return r
}

func (r *rig) write(kongYML string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(r.settings.DeclarativeConfig, []byte(kongYML), 0o600))
}

func (r *rig) do(req *http.Request) (status int, body string, header http.Header) {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	data, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(data), resp.Header
}

func (r *rig) get(path string) (int, string, http.Header) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.url+path, nil)
	require.NoError(r.t, err)
	return r.do(req)
}

// answerWith exits with what the test wants to see.
func answerWith(e *pluginserver.Event, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	e.Exit(200, body, nil)
}

func upstream(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.Path, "query": r.URL.RawQuery, "host": r.Host, "header": r.Header, "body": string(body), "method": r.Method})
	}))
	t.Cleanup(s.Close)
	return s.URL
}
