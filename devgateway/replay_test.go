package devgateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// notReplayed are recordings that need what devgateway does not do.
var notReplayed = map[string]string{
	"request-bulk/https":          "needs TLS: devgateway serves plain HTTP/1.1",
	"request-bulk/http2":          "needs HTTP/2 over TLS",
	"tls1-https":                  "needs TLS",
	"get-var-undefined-ssl/https": "needs TLS",
	"h2-exit":                     "needs HTTP/2 over TLS",
	"slow-set-content-length":     "the upstream waits for a body that never comes: both sides wait 60 s, nothing is recorded but the client's own limit",
}

// knownDifferences are recordings devgateway does not match, with the reason.
var knownDifferences = map[string]string{}

// transcriptsEnv names the folder of the recordings, which are no part of this
// repository.
const transcriptsEnv = "KONG_TRANSCRIPTS"

// TestReplay plays every recording against devgateway, and fails if one
// differs that isn't listed above.
func TestReplay(t *testing.T) {
	path := os.Getenv(transcriptsEnv)
	if path == "" {
		t.Skip("SKIPPED: the replay of a real Kong's recordings: set " + transcriptsEnv + " to their folder")
	}
	raw, err := os.ReadFile(filepath.Join(path, "transcripts.json"))
	require.NoError(t, err)
	var all []transcript
	require.NoError(t, json.Unmarshal(raw, &all))
	p := newPlayer(t, all)
	agree, calls, agreedCalls := 0, 0, 0
	for i := range all {
		e := &all[i]
		n := 0
		for _, ev := range e.Events {
			n += len(ev.Calls)
		}
		calls += n
		if reason, ok := notReplayed[e.Case]; ok {
			t.Logf("not replayed: %s: %s", e.Case, reason)
			continue
		}
		diffs, wrongCalls := p.play(t, e)
		agreedCalls += n - wrongCalls
		reason, known := knownDifferences[e.Case]
		switch {
		case len(diffs) == 0 && known:
			t.Errorf("%s agrees now: take it off the list of known differences", e.Case)
		case len(diffs) == 0:
			agree++
		case known:
			t.Logf("known difference: %s: %s", e.Case, reason)
		default:
			t.Errorf("%s:\n  %s", e.Case, strings.Join(diffs, "\n  "))
		}
	}
	t.Logf("replayed: %d of %d recordings agree, %d of %d calls; %d not replayed, %d known differences",
		agree, len(all), agreedCalls, calls, len(notReplayed), len(knownDifferences))
}

// player holds the gateways, the scripted plugin server and the upstreams.
type player struct {
	rec      *recorder
	svc      *origin
	other    *origin
	closed   int                 // a port nobody listens on
	gateways map[string]*Gateway // by trusted_ips, with a "slow" one of short limits
	config   map[string]any
	path     string
}

const replayReadLimit = time.Second

func newPlayer(t *testing.T, all []transcript) *player {
	dir, err := os.MkdirTemp("", "replay")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &player{rec: newRecorder(t, dir), svc: newOrigin(t), other: newOrigin(t), gateways: map[string]*Gateway{}}
	p.rec.readLimit = replayReadLimit
	p.closed = closedPort(t)
	p.config = p.declarative(all)
	p.path = filepath.Join(dir, "kong.json")
	require.NoError(t, os.WriteFile(p.path, p.encode(t), 0o600))
	for name, s := range map[string]Settings{
		"":               {AdminListen: "127.0.0.1:0"},
		"slow":           {ReadTimeout: replayReadLimit},
		"0.0.0.0/0,::/0": {},
	} {
		s.DeclarativeConfig, s.Prefix, s.ProxyListen = p.path, filepath.Join(dir, "prefix"), "127.0.0.1:0"
		s.Plugins = append([]string{"bundled"}, sortedKeys(recorderPlugins)...)
		s.PluginServers = p.rec.servers(t, dir)
		s.LogLevel = "emerg"
		for _, ip := range splitList(name) {
			if prefix, err := parsePrefix(ip); err == nil {
				s.TrustedIPs = append(s.TrustedIPs, prefix)
			}
		}
		gw, err := Start(t.Context(), Options{Settings: s, Log: io.Discard})
		require.NoError(t, err)
		gw.hangTime = 50 * time.Millisecond
		// Inside a minute, whenever the test runs: rate limits count by the clock.
		gw.clock = func() time.Time { return time.Date(2026, 11, 24, 12, 0, 5, 0, time.UTC) }
		t.Cleanup(gw.Close)
		p.gateways[name] = gw
	}
	return p
}

func closedPort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

// declarative is the kong.yml of all recordings at once.
func (p *player) declarative(all []transcript) map[string]any {
	services := map[string]map[string]any{
		"svc":  {"id": "9012f03a-a45b-5b0e-ae79-b3d526eba8f4", "name": "svc", "host": "127.0.0.1", "port": 19310},
		"svc2": {"id": "e872c4e4-41d9-58ea-a550-c2046eb1ae3f", "name": "svc-two", "host": "127.0.0.1", "port": 19310, "path": "/base", "retries": 3, "connect_timeout": 1000, "tags": []string{"st"}},
		"svc3": {"id": "541862c4-00b6-5bf2-93d8-cce2e0b7eb84", "name": "svc-named", "host": "localhost", "port": 19310},
	}
	var routes, plugins []any
	seen := map[any]bool{}
	for _, e := range all {
		id := e.Kong.Route["id"]
		if seen[id] {
			continue
		}
		seen[id] = true
		route := map[string]any{}
		for k, v := range e.Kong.Route {
			route[k] = v
		}
		if e.Kong.Service != nil {
			route["service"] = map[string]any{"id": services[*e.Kong.Service]["id"]}
		}
		routes = append(routes, route)
		for _, plugin := range e.Kong.Plugins {
			plugins = append(plugins, replayPlugin(plugin, id))
		}
	}
	return map[string]any{
		"_format_version": "3.0", "routes": routes, "plugins": plugins,
		"services":  []any{services["svc"], services["svc2"], services["svc3"]},
		"upstreams": []any{map[string]any{"name": "up1", "targets": []any{map[string]any{"target": "127.0.0.1:19311"}}}},
		"consumers": []any{
			map[string]any{"id": "c2ef90b9-02bc-5d53-93cd-92652b6e1b41", "username": "alice", "custom_id": "c-alice", "tags": []string{"ct"},
				"keyauth_credentials": []any{map[string]any{"id": "d68b9de5-cce3-5f17-b45a-2f96f62713de", "key": "alice-key"}}},
			map[string]any{"id": "ef45d397-0411-5f5e-8940-9bdbdef3958b", "username": "bob", "acls": []any{map[string]any{"group": "admins"}}},
		},
	}
}

func replayPlugin(plugin map[string]any, route any) map[string]any {
	out := map[string]any{"route": map[string]any{"id": route}}
	for k, v := range plugin {
		out[k] = v
	}
	return out
}

func (p *player) encode(t *testing.T) []byte {
	b, err := json.Marshal(p.config)
	require.NoError(t, err)
	return []byte(strings.ReplaceAll(p.ports().Replace(string(b)), "\x7f", `\u007f`)) // YAML refuses it raw
}

// ports turns the recordings' ports into this run's.
func (p *player) ports() *strings.Replacer {
	return strings.NewReplacer("19310", strconv.Itoa(p.svc.port()), "19311", strconv.Itoa(p.other.port()), "19399", strconv.Itoa(p.closed))
}

func (p *player) gateway(e *transcript) *Gateway {
	if ips, ok := e.KongConf["trusted_ips"].(string); ok {
		return p.gateways[ips]
	}
	if strings.HasPrefix(e.Case, "sleep-") || e.Case == "mis-no_end_frame" {
		return p.gateways["slow"]
	}
	return p.gateways[""]
}

// play gives what differs and how many calls do.
func (p *player) play(t *testing.T, e *transcript) (diffs []string, wrongCalls int) {
	gw := p.gateway(e)
	p.reconfigure(t, gw, e)
	p.rec.take(0)
	p.svc.take()
	p.other.take()
	c := dialRaw(t, gw.listener.Addr().String())
	defer func() { _ = c.conn.Close() }()
	q := e.Request.raw(t)
	res := c.do(q)
	if e.Websocket != nil {
		diffs = append(diffs, compareEcho(c, e.Websocket.Sent, e.Websocket.Got)...)
	}
	m := p.masks(gw, c)
	want := []*transcriptResponse{e.Response}
	got := []rawResponse{res}
	for i := range e.Responses[min(len(e.Responses), 1):] {
		want = append(want, &e.Responses[i+1])
		got = append(got, c.do(q))
	}
	for i := range want {
		diffs = append(diffs, compareResponse(want[i], got[i], m)...)
	}
	_ = c.conn.Close()
	events, starts, closes := p.rec.take(len(e.Events))
	d, wrong := compareEvents(e.Events, events, m)
	diffs = append(diffs, d...)
	diffs = append(diffs, compareStarts(e, starts, m)...)
	closed := 0
	for _, ev := range e.Conns {
		if ev.Kind == "close" {
			closed++
		}
	}
	if closed != len(closes) {
		diffs = append(diffs, fmt.Sprintf("close_instance: want %d, got %d", closed, len(closes)))
	}
	return append(diffs, p.compareUpstream(e, m)...), wrong
}

// reconfigure posts the configuration changes of the close-instance cases.
func (p *player) reconfigure(t *testing.T, gw *Gateway, e *transcript) {
	if !strings.HasPrefix(e.Case, "close-instance/after-") {
		return
	}
	id := e.Kong.Route["id"]
	plugins := slices.DeleteFunc(slices.Clone(p.config["plugins"].([]any)), func(v any) bool {
		return v.(map[string]any)["route"].(map[string]any)["id"] == id
	})
	if e.Case != "close-instance/after-plugin-removed" {
		for _, plugin := range e.Kong.Plugins {
			plugins = append(plugins, replayPlugin(plugin, id))
		}
	}
	p.config["plugins"] = plugins
	resp, err := http.Post(gw.AdminURL()+"/config", "text/yaml", bytes.NewReader(p.encode(t)))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 201, resp.StatusCode, string(body))
}
