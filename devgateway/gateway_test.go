package devgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
	r.gateway, err = New(r.settings, r.logs)
	require.NoError(t, err)
	t.Cleanup(r.gateway.Close)
	front := httptest.NewServer(r.gateway)
	t.Cleanup(front.Close)
	r.url = front.URL
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

func TestMostSpecificPluginRunsAndHigherPriorityFirst(t *testing.T) {
	t.Parallel()
	say := func(_ context.Context, config map[string]any, e *pluginserver.Event) {
		before, _, _ := e.Shared(context.Background(), "said")
		e.SetShared("said", before+fmt.Sprint(config["who"])+";")
	}
	end := func(ctx context.Context, config map[string]any, e *pluginserver.Event) {
		said, _, _ := e.Shared(ctx, "said")
		answerWith(e, said+fmt.Sprint(config["who"]))
	}
	r := newRig(t, `
_format_version: "3.0"
plugins:
- {name: high, config: {who: global}}
- {name: low, config: {who: "{vault://env/who}"}}
services:
- name: a
  host: a.invalid
  plugins: [{name: high, config: {who: service}}]
  routes:
  - {name: one, paths: [/one]}
  - name: two
    paths: [/two]
    plugins: [{name: high, config: {who: route}}]
- name: b
  host: b.invalid
  routes: [{name: three, paths: [/three]}]
`, script("low", 10, end), script("high", 20, say))
	for path, want := range map[string]string{
		"/one": "service;from WHO", "/two": "route;from WHO", "/two/deeper": "route;from WHO", "/three": "global;from WHO",
	} {
		_, body, _ := r.get(path)
		require.JSONEq(t, `"`+want+`"`, body, path)
	}
	status, body, _ := r.get("/four")
	require.Equal(t, 404, status)
	require.Contains(t, body, "no Route matched with those values")
}

func TestHeadersAsKongHasThem(t *testing.T) {
	t.Parallel()
	r := newRig(t, `
_format_version: "3.0"
services:
- name: up
  url: `+upstream(t)+`/base
  routes: [{name: r, paths: [/r], plugins: [{name: p}]}]
`, script("p", 1, func(ctx context.Context, _ map[string]any, e *pluginserver.Event) {
		headers, err := e.Headers(ctx)
		if err != nil {
			panic(err)
		}
		for _, h := range headers {
			if h.Name == "x-latin1" && h.Values[0] == "caf\xe9" {
				e.SetHeaders([]pluginserver.Header{{Name: "X-Raw", Values: []string{"yes"}}})
			}
		}
		e.ClearHeader("x-name")
		e.SetHeaders([]pluginserver.Header{{Name: "X-Set", Values: []string{"a\r\nX-Injected: 1"}}, {Name: "X-Forwarded-For", Values: []string{"1.2.3.4"}}})
	}))
	req, err := http.NewRequest(http.MethodPost, r.url+"/r/x%2Fy?q=1", strings.NewReader("hello"))
	require.NoError(t, err)
	req.Header["X_name"] = []string{"underscore"}
	req.Header["X-Name"] = []string{"dash"}
	req.Header["X-Latin1"] = []string{"caf\xe9"}
	req.Header["Connection"] = []string{"X-Set"}
	req.Header["X-Forwarded-For"] = []string{"6.6.6.6"}
	status, body, _ := r.do(req)
	require.Equal(t, 200, status, body)
	var got struct {
		Path, Query, Body, Method string
		Header                    map[string][]string
	}
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	require.Equal(t, "/base/x/y", got.Path)
	require.Equal(t, "q=1", got.Query)
	require.Equal(t, "hello", got.Body)
	require.Equal(t, "POST", got.Method)
	require.Equal(t, []string{"yes"}, got.Header["X-Raw"], "raw bytes reach the plugin")
	require.Equal(t, []string{"underscore"}, got.Header["X_name"], "the other spelling stays")
	require.NotContains(t, got.Header, "X-Name")
	require.Equal(t, []string{"a%0D%0AX-Injected: 1"}, got.Header["X-Set"], "escaped, and not taken away by Connection")
	require.Equal(t, []string{"127.0.0.1"}, got.Header["X-Forwarded-For"], "Kong's own value")
}

func TestBodiesInMemoryAndInFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, `
_format_version: "3.0"
services:
- name: s
  host: s.invalid
  routes: [{name: r, paths: [/r], plugins: [{name: p}]}]
`, script("p", 1, func(ctx context.Context, _ map[string]any, e *pluginserver.Event) {
		body, err := e.RawBody(ctx)
		if err != nil {
			panic(err)
		}
		data := body.Content
		if body.FilePath != "" {
			if data, err = os.ReadFile(body.FilePath); err != nil {
				panic(err)
			}
		}
		answerWith(e, map[string]any{"file": body.FilePath != "", "bytes": len(data)})
	}))
	for size, inFile := range map[int]bool{0: false, 8192: false, 8193: true, 3 << 20: true} {
		req, err := http.NewRequest(http.MethodPost, r.url+"/r", strings.NewReader(strings.Repeat("x", size)))
		require.NoError(t, err)
		_, body, _ := r.do(req)
		require.JSONEq(t, fmt.Sprintf(`{"file":%t,"bytes":%d}`, inFile, size), body)
	}
	left, err := filepath.Glob(filepath.Join(r.settings.Prefix, "client_body_*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestExitAsKongAnswersIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, `
_format_version: "3.0"
services:
- name: s
  host: s.invalid
  routes:
  - {name: r, paths: [/r], plugins: [{name: p}]}
  - {name: bad, paths: [/bad], plugins: [{name: p, config: {who: bad}}]}
`, script("p", 1, func(_ context.Context, config map[string]any, e *pluginserver.Event) {
		status := 401
		if config["who"] == "bad" {
			status = 99
		}
		e.Exit(status, []byte("<b>no</b>"), []pluginserver.Header{{Name: "WWW-Authenticate", Values: []string{"Basic", "Bearer"}}, {Name: "X-Many", Values: []string{"1", "2"}}})
	}))
	status, body, header := r.get("/r")
	require.Equal(t, 401, status)
	require.Equal(t, "<b>no</b>", body)
	require.Equal(t, []string{"Bearer"}, header["Www-Authenticate"], "only the last of a list")
	require.Equal(t, []string{"1", "2"}, header["X-Many"])
	require.Empty(t, header["Content-Type"], "nothing is guessed")
	require.Len(t, header.Get("X-Kong-Request-Id"), 32)

	status, _, _ = r.get("/bad")
	require.Equal(t, 500, status, "a status that isn't one is a Lua error")
}

func TestRefusedBeforeAnyPlugin(t *testing.T) {
	t.Parallel()
	r := newRig(t, `
_format_version: "3.0"
services:
- name: s
  host: s.invalid
  routes: [{name: r, paths: [/], plugins: [{name: p}]}]
`, script("p", 1, func(_ context.Context, _ map[string]any, e *pluginserver.Event) { e.Exit(418, nil, nil) }))
	for name, raw := range map[string]string{
		"two credentials": "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
		"above the root":  "GET /a/../../b HTTP/1.1\r\nHost: x\r\n\r\n",
		"NUL":             "GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
		"no host":         "GET / HTTP/1.1\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
		_, err = io.WriteString(conn, raw)
		require.NoError(t, err)
		line := make([]byte, 12)
		_, err = io.ReadFull(conn, line)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 400", string(line), name)
		require.NoError(t, conn.Close())
	}
}

func TestReloadTakesANewFileOrNone(t *testing.T) {
	t.Parallel()
	const file = `
_format_version: "3.0"
services:
- name: s
  host: s.invalid
  routes: [{name: r, paths: [/r], plugins: [{name: p, config: {who: %s}}]}]
`
	r := newRig(t, fmt.Sprintf(file, "one"), script("p", 1, func(_ context.Context, config map[string]any, e *pluginserver.Event) {
		answerWith(e, config["who"])
	}))
	_, body, _ := r.get("/r")
	require.Equal(t, `"one"`, body)
	r.write(fmt.Sprintf(file, "two"))
	require.NoError(t, r.gateway.Reload())
	_, body, _ = r.get("/r")
	require.Equal(t, `"two"`, body)
	r.write("services: 7")
	require.Error(t, r.gateway.Reload())
	_, body, _ = r.get("/r")
	require.Equal(t, `"two"`, body, "a file that can't be honoured changes nothing")
}

// TestAProcessThatDiesIsStartedAgain counts starts of a start_cmd that ends.
func TestAProcessThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	g := &Gateway{settings: Settings{Prefix: dir, Env: os.LookupEnv}, log: newLogger(io.Discard, "debug")}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.supervise(ctx, PluginServer{Name: "p", StartCmd: "env PATH=/usr/bin:/bin sh -c 'env >> out'"})
	}()
	var out []byte
	require.Eventually(t, func() bool {
		out, _ = os.ReadFile(filepath.Join(dir, "out"))
		return bytes.Count(out, []byte("PWD=")) >= 2
	}, 10*time.Second, 20*time.Millisecond)
	cancel()
	<-ended
	require.NotContains(t, string(out), "HOME=", "the environment holds nothing but PWD")
}

func TestWhatCannotBeHonouredIsRefusedByName(t *testing.T) {
	t.Parallel()
	_, err := SettingsFromEnv([]string{"KONG_DATABASE=postgres", "KONG_PREFIX=/p", "KONG_ROLE=data_plane", "KONG_FANCY=1", "KONG_PROXY_LISTEN=0.0.0.0:8443 ssl", "KONG_TRUSTED_IPS=0.0.0.0/0"})
	for _, name := range []string{"KONG_DATABASE", "KONG_DECLARATIVE_CONFIG", "KONG_ROLE", "KONG_FANCY", `flag "ssl"`, "KONG_TRUSTED_IPS"} {
		require.ErrorContains(t, err, name, "all at once")
	}

	r := newRig(t, "_format_version: \"3.0\"\n", script("p", 1, func(context.Context, map[string]any, *pluginserver.Event) {}))
	r.write(`
_format_version: "3.0"
plugins:
- {name: p, config: {n: 12, x: 1}}
- {name: rate-limiting, config: {minute: 5}}
- {name: pre-function}
services:
- name: s
  host: s.invalid
  color: blue
  routes:
  - {name: r, paths: [no-slash], plugins: [{name: p, config: {who: [1]}}]}
upstreams: 3
certificates: []
`)
	err = r.gateway.Reload()
	for _, problem := range []string{
		"plugins[0].config.n (line 4): value should be between 1 and 9", "plugins[0].config.x (line 4): unknown field",
		`plugin "rate-limiting" is not done here`, `plugin "pre-function" is not done here`, "services[0].color", "paths", "who", "upstreams",
	} {
		require.ErrorContains(t, err, problem)
	}

	disabled := r.settings
	disabled.Plugins = []string{"bundled"}
	r.write("_format_version: \"3.0\"\nplugins: [{name: p}]\n")
	_, err = New(disabled, io.Discard)
	require.ErrorContains(t, err, `plugin "p" is not in KONG_PLUGINS`)
	disabled.AdminListen = "127.0.0.1:8001"
	_, err = New(disabled, io.Discard)
	require.ErrorContains(t, err, "KONG_ADMIN_LISTEN")
}
