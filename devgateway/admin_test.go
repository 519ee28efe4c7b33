package devgateway

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func post(t *testing.T, url, contentType, body string) (int, map[string]any) {
	t.Helper()
	resp, err := http.Post(url, contentType, strings.NewReader(body))
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(raw, &out), string(raw))
	return resp.StatusCode, out
}

func TestAdminConfig(t *testing.T) {
	t.Parallel()
	b := newBench(t, oneRoute(t, "rec-hi", call("request.get_method", "")), func(s *Settings) { s.AdminListen = "127.0.0.1:0" })
	resp, err := http.Get(b.gw.AdminURL() + "/status")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)

	status, body := post(t, b.gw.AdminURL()+"/config", "text/yaml", `
_format_version: "3.0"
services:
- {name: s, url: "http://127.0.0.1:1", routes: [{name: r, paths: [/], plugins: [{name: rec-hi, config: {times: x}}]}]}
plugins:
- {name: rec-hi}
- {name: nope}
`)
	require.Equal(t, 400, status)
	require.Equal(t, "invalid declarative configuration", body["name"])
	fields, err := json.Marshal(body["fields"])
	require.NoError(t, err)
	require.JSONEq(t, `{"plugins":[null,{"name":"plugin 'nope' not enabled; add it to the 'plugins' configuration property"}],
		"services":[{"routes":[{"plugins":[{"config":{"times":"expected an integer"}}]}]}]}`, string(fields))

	// The same document starts every instance anew: start, close, then the event.
	require.Equal(t, 200, b.send(rawRequest{}).status)
	b.rec.take(1)
	file, err := json.Marshal(map[string]string{"config": readFile(t, b.settings.DeclarativeConfig)})
	require.NoError(t, err)
	status, _ = post(t, b.gw.AdminURL()+"/config", "application/json", string(file))
	require.Equal(t, 201, status)
	require.Equal(t, 200, b.send(rawRequest{}).status)
	_, starts, closes := b.rec.take(1)
	require.Len(t, starts, 1)
	require.Len(t, closes, 1)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func TestEachWorkerStartsItsOwnInstance(t *testing.T) {
	t.Parallel()
	b := newBench(t, oneRoute(t, "rec-hi", call("request.get_method", "")), func(s *Settings) { s.Workers = 3 })
	for range 6 {
		require.Equal(t, 200, b.send(rawRequest{}).status)
	}
	_, starts, _ := b.rec.take(6)
	require.Len(t, starts, 3)
}

func TestAdminConsumers(t *testing.T) {
	t.Parallel()
	b := newBench(t, oneRoute(t, "rec-hi", call("request.get_method", "")), func(s *Settings) { s.AdminListen = "127.0.0.1:0" })
	status, body := post(t, b.gw.AdminURL()+"/config", "text/yaml", `
_format_version: "3.0"
consumers:
- {username: alice, custom_id: "42"}
- {username: bob}
`)
	require.Equal(t, 201, status, body)
	for query, want := range map[string][]string{"": {"alice", "bob"}, "?custom_id=42": {"alice"}, "?custom_id=4": nil} {
		resp, err := http.Get(b.gw.AdminURL() + "/consumers" + query)
		require.NoError(t, err)
		var list struct{ Data []struct{ Username string } }
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
		require.NoError(t, resp.Body.Close())
		var names []string
		for _, c := range list.Data {
			names = append(names, c.Username)
		}
		require.Equal(t, want, names, query)
	}
}
