package devgateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// bench is a gateway with the scripted plugins before an upstream of its own.
type bench struct {
	t        *testing.T
	addr     string // of the gateway
	gw       *Gateway
	rec      *recorder
	up       *origin
	settings Settings
}

// newBench loads a kong.yml, in which SVC stands for the upstream's port, into
// devgateway.
func newBench(t *testing.T, kongYML string, change func(*Settings)) *bench {
	t.Helper()
	b := prepareBench(t, kongYML)
	if change != nil {
		change(&b.settings)
	}
	var err error
	b.gw, err = Start(t.Context(), Options{Settings: b.settings, Log: io.Discard})
	require.NoError(t, err)
	t.Cleanup(b.gw.Close)
	b.addr = b.gw.listener.Addr().String()
	return b
}

func prepareBench(t *testing.T, kongYML string) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dg") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bench{t: t, rec: newRecorder(t, dir), up: newOrigin(t)}
	b.rec.readLimit = time.Second
	b.settings = Settings{
		DeclarativeConfig: filepath.Join(dir, "kong.yml"), Prefix: filepath.Join(dir, "prefix"), ProxyListen: "127.0.0.1:0", LogLevel: "emerg",
		Plugins: append([]string{"bundled"}, sortedKeys(recorderPlugins)...), PluginServers: b.rec.servers(t, dir),
	}
	require.NoError(t, os.WriteFile(b.settings.DeclarativeConfig, []byte(strings.ReplaceAll(kongYML, "SVC", fmt.Sprint(b.up.port()))), 0o600))
	return b
}

// realKong is the kong command to hold devgateway's truth to.
const realKong = "KONG"

// onEach runs a test on devgateway, and on a real Kong where the environment
// names one.
func onEach(t *testing.T, kongYML string, run func(t *testing.T, b *bench)) {
	t.Helper()
	t.Run("devgateway", func(t *testing.T) {
		t.Parallel()
		run(t, newBench(t, kongYML, nil))
	})
	if os.Getenv(realKong) == "" || testing.Short() {
		return
	}
	t.Run("kong", func(t *testing.T) {
		b := prepareBench(t, kongYML)
		b.startKong(os.Getenv(realKong))
		run(t, b)
	})
}

// startKong starts a real Kong with the bench's settings, and waits until it
// answers.
func (b *bench) startKong(kong string) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b.t, err)
	b.addr = l.Addr().String()
	require.NoError(b.t, l.Close())
	cmd := exec.Command(kong, "start")
	cmd.Env = append(b.settings.kongEnv(), "KONG_PROXY_LISTEN="+b.addr, "PATH="+os.Getenv("PATH"), "HOME="+b.settings.Prefix)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	log, err := os.Create(filepath.Join(filepath.Dir(b.settings.Prefix), "kong.log"))
	require.NoError(b.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(b.t, cmd.Start())
	require.NoError(b.t, log.Close())
	b.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	require.Eventually(b.t, func() bool {
		resp, err := http.Get("http://" + b.addr + "/")
		return err == nil && resp.Body.Close() == nil
	}, time.Minute, 50*time.Millisecond, "kong does not answer: see %s", log.Name())
}

// kongEnv says the settings as Kong's environment does.
func (s Settings) kongEnv() []string {
	env := []string{
		"KONG_DATABASE=off", "KONG_DECLARATIVE_CONFIG=" + s.DeclarativeConfig, "KONG_PREFIX=" + s.Prefix, "KONG_NGINX_DAEMON=off",
		"KONG_ADMIN_LISTEN=off", "KONG_ADMIN_GUI_LISTEN=off", "KONG_STATUS_LISTEN=off", "KONG_ANONYMOUS_REPORTS=off",
		"KONG_NGINX_WORKER_PROCESSES=1", "KONG_PLUGINS=" + strings.Join(s.Plugins, ","),
	}
	if os.Getuid() == 0 {
		env = append(env, "KONG_NGINX_MAIN_USER=root root")
	}
	var names []string
	for _, p := range s.PluginServers {
		names = append(names, p.Name)
		base := "KONG_PLUGINSERVER_" + strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_"))
		env = append(env, base+"_SOCKET="+p.Socket, base+"_QUERY_CMD="+p.QueryCmd)
	}
	return append(env, "KONG_PLUGINSERVER_NAMES="+strings.Join(names, ","))
}

// benchHost is the host of requests that name no other.
const benchHost = "h.test"

// oneRoute is a kong.yml with one route that makes the given calls.
func oneRoute(t *testing.T, plugin string, calls ...scriptedCall) string {
	t.Helper()
	return routesOf(t, plugin, map[string][]scriptedCall{benchHost: calls})
}

// routesOf is a kong.yml with a route for each host, which makes its calls.
func routesOf(t *testing.T, plugin string, byHost map[string][]scriptedCall) string {
	t.Helper()
	var routes []any
	for _, host := range sortedKeys(byHost) {
		routes = append(routes, map[string]any{
			"name": "r-" + host, "hosts": []string{host}, "paths": []string{"/"}, "strip_path": false,
			"plugins": []any{map[string]any{"name": plugin, "config": map[string]any{"calls": compact(t, byHost[host])}}},
		})
	}
	raw, err := json.Marshal(map[string]any{
		"_format_version": "3.0",
		"services":        []any{map[string]any{"name": "svc", "url": "http://127.0.0.1:SVC", "routes": routes}},
	})
	require.NoError(t, err)
	return string(raw)
}

func compact(t *testing.T, calls []scriptedCall) []map[string]string {
	t.Helper()
	out := make([]map[string]string, len(calls))
	for i, c := range calls {
		out[i] = map[string]string{"method": c.Method}
		for k, v := range map[string]string{"args": c.Args, "phase": c.Phase} {
			if v != "" {
				out[i][k] = v
			}
		}
	}
	return out
}

// on is the bench for a subtest.
func (b *bench) on(t *testing.T) *bench {
	c := *b
	c.t = t
	return &c
}

func call(method, args string) scriptedCall {
	return scriptedCall{Method: "kong." + method, Args: args}
}

func (b *bench) send(q rawRequest) rawResponse {
	b.t.Helper()
	if q.method == "" {
		q.method = "GET"
	}
	if q.path == "" {
		q.path = "/"
	}
	if q.version == "" {
		q.version = "1.1"
	}
	if q.host == "" {
		q.host = benchHost
	}
	return dialRaw(b.t, b.addr).do(q)
}

// replies are the canonical replies of the first event, "closed" for none.
func (b *bench) replies() []string {
	b.t.Helper()
	events, _, _ := b.rec.take(1)
	require.NotEmpty(b.t, events)
	var out []string
	for _, c := range events[0].Calls {
		if c.None {
			out = append(out, "closed")
			continue
		}
		d := pdkDescriptors[c.Method].Output()
		out = append(out, canonical(protoreflect.MessageDescriptor(d), c.Reply))
	}
	return out
}
