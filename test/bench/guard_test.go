package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// guardRows measures prefect-guard: how often Kong has to wait for it, what an
// event costs its process, and what a GET through a gateway costs with and
// without it.
func guardRows(b *bench) (rows []row) {
	binary := b.build("kong-prefect")
	rows = append(rows, guardMatch(b))
	rows = append(rows, guardEvents(b, binary)...)
	return append(rows, guardGateway(b, binary)...)
}

// guardMatch is the work of finding an operation in the table.
func guardMatch(b *bench) row {
	ns := b.perOp(func(b *testing.B) {
		for b.Loop() {
			if _, _, ok := guard.Match("GET", "/flow_runs/0f3c1f5a-9d2b-4b1e-8a77-0d4c0b1f2e3d/graph-v2"); !ok {
				b.Fatal("no route")
			}
		}
	})
	return figure("guard/match", ns/1e3, "µs").atMost(5)
}

func guardEvents(b *bench, binary string) []row {
	prefect := prefecttest.NewServer(prefecttest.Options{})
	b.Cleanup(prefect.Close)
	deployment := prefect.AddDeployment(prefecttest.Deployment{Flow: "report", Name: "prod", WorkPool: "p"})
	socket := filepath.Join(b.TempDir(), "s")
	p := &pluginPart{bench: b, generator: b.lines("load"), rounds: 5, length: 200 * time.Millisecond}
	if b.quick {
		p.rounds, p.length = 1, 5*time.Millisecond
	}
	s := b.start(socket, binary, "serve", "--socket", socket)
	of := func(role string, r request) (time.Duration, result) {
		r.Identity = fmt.Sprintf(`{"identity":{"subject":"42","issuer":"https://idp.example","kind":"service","client":"svc"},"roles":[%q]}`, role)
		return p.measure(s, job{
			Plugin: plugin.GuardName, Configs: []string{fmt.Sprintf(`{"prefect":{"api_url":%q}}`, prefect.URL)},
			Connections: 8, For: p.length, Headers: 12, Request: r,
		})
	}
	read, r := of("viewer", request{Method: "POST", UpstreamURI: "/api/flow_runs/filter", Body: "{}"})
	create, c := of("runner", request{Method: "POST", UpstreamURI: "/api/deployments/" + deployment.ID.String() + "/create_flow_run", Body: `{"name":"n"}`})
	return []row{
		figure("guard/read/cpu", micros(read), "µs/event"),
		figure("guard/read/flights", perEvent(r.Flights, r.Events), "flights").atMost(2),
		figure("guard/read/bodies", perEvent(r.Bodies, r.Events), "bodies").atMost(0),
		figure("guard/create/cpu", micros(create), "µs/event"),
		figure("guard/create/flights", perEvent(c.Flights, c.Events), "flights").atMost(3),
	}
}

// guardGateway compares a GET with and without the guard, through one gateway
// before an upstream that does nothing: the CPU time of gateway and plugins.
func guardGateway(b *bench, binary string) []row {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	}))
	b.Cleanup(upstream.Close)
	issuer := tokentest.New(b, "RS256")
	file := filepath.Join(b.TempDir(), "kong.yml")
	require.NoError(b, os.WriteFile(file, fmt.Appendf(nil, `_format_version: "3.0"
services:
- name: guarded
  url: %[1]s
  routes:
  - name: guarded
    paths: [/api]
    strip_path: false
    plugins:
    - name: prefect-identity
      config:
        issuers: [{issuer: %[2]q, audiences: [%[3]q]}]
        roles: [{role: viewer, issuers: [%[2]q]}]
    - name: prefect-guard
      config: {prefect: {api_url: "%[1]s/api"}}
- name: bare
  url: %[1]s
  routes:
  - {name: bare, paths: [/bare], strip_path: true}
`, upstream.URL, issuer.URL, tokentest.Audience), 0o600))
	gateway, err := stack.StartGateway(b.Context(), stack.GatewayOptions{Plugin: binary, DevGateway: b.build("devgateway"), Config: file})
	require.NoError(b, err)
	b.Cleanup(gateway.Stop)
	pid, err := gateway.PluginPID()
	require.NoError(b, err)
	own, plugins := &server{b: b, pid: gateway.PID()}, &server{b: b, pid: pid}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	b.Cleanup(client.CloseIdleConnections)
	token := issuer.Mint(b, nil)
	get := func(path string, n int) time.Duration {
		before := own.cpu() + plugins.cpu()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range n / 8 {
					getOnce(b, client, gateway.URL()+path, token)
				}
			})
		}
		wg.Wait()
		return (own.cpu() + plugins.cpu() - before) / time.Duration(n)
	}
	rounds, n := 5, 800
	if b.quick {
		rounds, n = 1, 8
	}
	get("/api/version", 8) // keys are fetched once
	var bare, guarded []time.Duration
	for range rounds { // in turns
		bare = append(bare, get("/bare/api/version", n))
		guarded = append(guarded, get("/api/version", n))
	}
	return []row{
		figure("guard/gateway/get/unguarded", micros(median(bare)), "µs/request"),
		figure("guard/gateway/get/guarded", micros(median(guarded)), "µs/request"),
		figure("guard/gateway/get/guarded-of-unguarded", float64(median(guarded))/float64(median(bare)), "ratio"),
	}
}

func getOnce(b *bench, client *http.Client, url, token string) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		b.Errorf("%s: %s %v %v", url, resp.Status, answer, err)
	}
}
