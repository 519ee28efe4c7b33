package devgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

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
		e.SetHeaders([]pluginserver.Header{{Name: "X-Set", Values: []string{"a\r\nX-Injected: 1"}}, {Name: "X-Dropped", Values: []string{"by Connection"}},
			{Name: "X-Forwarded-For", Values: []string{"1.2.3.4"}}})
	}))
	req, err := http.NewRequest(http.MethodPost, r.url+"/r/x%2Fy?q=1", strings.NewReader("hello"))
	require.NoError(t, err)
	req.Header["X_name"] = []string{"underscore"}
	req.Header["X-Name"] = []string{"dash"}
	req.Header["X-Latin1"] = []string{"caf\xe9"}
	req.Header["Connection"] = []string{"X-Dropped"}
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
	require.Equal(t, []string{"a%0D%0AX-Injected: 1"}, got.Header["X-Set"], "escaped")
	require.NotContains(t, got.Header, "X-Dropped", "Kong lets a client's Connection header take away what a plugin set")
	require.Equal(t, []string{"6.6.6.6, 127.0.0.1"}, got.Header["X-Forwarded-For"], "Kong's own value, whatever the plugin set")
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
	for size, inFile := range map[int]bool{0: false, 8192: false, 10239: false, 10240: true, 3 << 20: true} {
		req, err := http.NewRequest(http.MethodPost, r.url+"/r", strings.NewReader(strings.Repeat("x", size)))
		require.NoError(t, err)
		_, body, _ := r.do(req)
		require.JSONEq(t, fmt.Sprintf(`{"file":%t,"bytes":%d}`, inFile, size), body)
	}
	require.Eventually(t, func() bool {
		left, err := filepath.Glob(filepath.Join(r.settings.Prefix, "client_body_temp", "*"))
		return err == nil && len(left) == 0
	}, 5*time.Second, 5*time.Millisecond)
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
	v := startSupervisor(PluginServer{Name: "p", StartCmd: "env PATH=/usr/bin:/bin sh -c 'env >> " + dir + "/out'"},
		Settings{Env: os.LookupEnv}, newLogger(io.Discard, "debug"))
	defer v.close()
	var out []byte
	require.Eventually(t, func() bool {
		out, _ = os.ReadFile(filepath.Join(dir, "out"))
		return bytes.Count(out, []byte("PWD=")) >= 2
	}, 10*time.Second, 20*time.Millisecond)
	require.NotContains(t, string(out), "HOME=", "the environment holds nothing but PWD")
}

// A worker that ends starts no process again: it would take the path from the next worker's, and be gone soon.
func TestAProcessOfAWorkerThatEndsIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	v := startSupervisor(PluginServer{Name: "p", StartCmd: "/bin/true"}, Settings{Env: os.LookupEnv}, newLogger(io.Discard, "debug"))
	v.retired.Store(true)
	select {
	case <-v.done:
	case <-time.After(10 * time.Second):
		v.close()
		require.Fail(t, "it is started again and again")
	}
}

// A worker that ends may still have a request when its plugin server is gone: it starts the instance again at the next one,
// and keeps no connection to either.
func TestAWorkerThatEndsForgetsItsInstances(t *testing.T) {
	t.Parallel()
	gw := &Gateway{log: newLogger(io.Discard, "debug")}
	old, now := newWorker(gw), newWorker(gw)
	gw.workers = []*worker{now}
	for _, w := range []*worker{old, now} {
		w.instances["1"], w.instances["2"] = &instance{plugin: "p", ready: true}, &instance{plugin: "other", ready: true}
	}
	gw.resetInstances(old, "p")
	for _, w := range []*worker{old, now} {
		require.NotContains(t, w.instances, "1")
		require.Contains(t, w.instances, "2")
	}

	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // the test is over
	idle, err := old.pool.get(path)
	require.NoError(t, err)
	busy, err := old.pool.get(path)
	require.NoError(t, err)
	old.pool.put(path, idle)
	old.pool.retire()
	old.pool.put(path, busy)
	for _, c := range []*net.UnixConn{idle, busy} {
		require.ErrorIs(t, c.SetDeadline(time.Now()), net.ErrClosed)
	}
}

func TestWhatCannotBeHonouredIsRefusedByName(t *testing.T) {
	t.Parallel()
	_, err := SettingsFromEnv([]string{"KONG_DATABASE=postgres", "KONG_PREFIX=/p", "KONG_ROLE=data_plane", "KONG_FANCY=1", "KONG_PROXY_LISTEN=0.0.0.0:8443 ssl", "KONG_TRUSTED_IPS=all"})
	for _, name := range []string{"KONG_DATABASE", "KONG_DECLARATIVE_CONFIG", "KONG_ROLE", "KONG_FANCY", `flag "ssl"`, "KONG_TRUSTED_IPS"} {
		require.ErrorContains(t, err, name, "all at once")
	}

	r := newRig(t, "_format_version: \"3.0\"\n", script("p", 1, func(context.Context, map[string]any, *pluginserver.Event) {}))
	r.write(`
_format_version: "3.0"
plugins:
- {name: p, config: {n: 12, x: 1}}
- {name: rate-limiting, config: {policy: redis}}
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
		"plugins[1].config.policy (line 5): expected one of: local", "at least one of these fields must be non-empty: 'config.second'",
		"plugin 'pre-function' is Kong's, devgateway does not have it", "services[0].color (line 10): unknown field",
		"services[0].routes[0].paths[0]", "services[0].routes[0].plugins[0].config.who", "upstreams (line 13): expected an array",
		"certificates (line 14): Kong has this, devgateway does not",
	} {
		require.ErrorContains(t, err, problem)
	}

	disabled := r.settings
	disabled.Plugins = []string{"bundled"}
	r.write("_format_version: \"3.0\"\nplugins: [{name: p}]\n")
	_, err = Start(t.Context(), Options{Settings: disabled, Log: io.Discard})
	require.ErrorContains(t, err, "plugin 'p' not enabled")
}
