package bench

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
	"github.com/stretchr/testify/require"
)

// pluginRows measures whole events of the real binary.
func pluginRows(b *bench) (rows []row) {
	p := &pluginPart{bench: b, binary: b.build("kong-prefect"), generator: b.lines("load"), issuer: tokentest.New(b, "RS256"), rounds: 5, length: 200 * time.Millisecond}
	if b.quick {
		p.rounds, p.length = 1, 5*time.Millisecond
	}
	rows = append(rows, p.identity()...)
	rows = append(rows, p.routes()...)
	rows = append(rows, p.headers()...)
	return append(append(rows, p.compile()), p.memory()...)
}

type pluginPart struct {
	*bench
	binary    string
	generator *lines
	issuer    *tokentest.Issuer
	rounds    int
	length    time.Duration
}

func (p *pluginPart) serve(more ...string) *server {
	p.Helper()
	socket := filepath.Join(p.TempDir(), "s")
	return p.start(socket, p.binary, append([]string{"serve", "--socket", socket}, more...)...)
}

// freeAddr is a port of this machine that nobody listens on now.
func (p *pluginPart) freeAddr() string {
	p.Helper()
	addr, err := stack.FreeAddr()
	require.NoError(p, err)
	return addr
}

// identityConfig is a configuration of prefect-identity, another one for each
// number.
func (p *pluginPart) identityConfig(n int) string {
	p.Helper()
	data, err := json.Marshal(map[string]any{
		"issuers": []any{map[string]any{"issuer": p.issuer.URL, "audiences": []string{tokentest.Audience}}},
		"roles":   []any{map[string]any{"role": "runner", "groups": []string{"data-team"}}},
		"realm":   "realm-" + strconv.Itoa(n),
	})
	require.NoError(p, err)
	return string(data)
}

// measure gives the median of the rounds.
func (p *pluginPart) measure(s *server, j job) (time.Duration, result) {
	p.Helper()
	var all []time.Duration
	var r result
	for range p.rounds {
		var cpu time.Duration
		cpu, r = p.load(p.generator, s, j)
		all = append(all, cpu)
	}
	return median(all), r
}

// identity is prefect-identity's event with a token that was seen before, and
// with one that wasn't; and what as many flights cost with no plugin behind
// them, below which the first can't come: the faster a processor verifies RSA,
// the nearer are the three.
func (p *pluginPart) identity() []row {
	s := p.serve()
	j := job{
		Plugin: plugin.IdentityName, Configs: []string{p.identityConfig(0)}, Connections: 8,
		For: p.length, Headers: 12, Tokens: []string{p.issuer.Mint(p, nil)},
	}
	known := j
	bare := job{Plugin: callsName(5), Configs: []string{`{"calls":5}`}, Connections: 8, For: p.length}
	pingpong := p.self("pingpong")
	var cached, fresh, flights []time.Duration
	var r result
	for range p.rounds { // in turns, so that a slow moment hits all of them
		j.Once, j.Tokens = true, nil
		for range map[bool]int{true: 10, false: 400}[p.quick] {
			j.Tokens = append(j.Tokens, p.issuer.Mint(p, nil))
		}
		var one time.Duration
		one, r = p.load(p.generator, s, known)
		other, _ := p.load(p.generator, s, j)
		none, _ := p.load(p.generator, pingpong, bare)
		cached, fresh, flights = append(cached, one), append(fresh, other), append(flights, none)
	}
	uncached := median(fresh)
	counting := p.serve("--listen", p.freeAddr())
	j.Once, j.Tokens = false, []string{p.issuer.Mint(p, nil)}
	// Alternately: the difference is less than what two minutes change.
	var plain, counted []time.Duration
	for range p.rounds {
		one, _ := p.load(p.generator, s, j)
		other, _ := p.load(p.generator, counting, j)
		plain, counted = append(plain, one), append(counted, other)
	}
	return []row{
		figure("plugin/identity/cpu/with-metrics", micros(median(counted)), "µs/event"),
		figure("plugin/identity/with-metrics-of-without", float64(median(counted))/float64(median(plain)), "ratio").atMost(1.15),
		figure("plugin/identity/cpu/cached", micros(median(cached)), "µs/event"),
		figure("plugin/identity/cpu/uncached-rs256", micros(uncached), "µs/event"),
		figure("plugin/identity/cached-of-uncached", float64(median(cached))/float64(uncached), "ratio").atMost(0.25),
		figure("plugin/identity/ping-pong-of-uncached", float64(median(flights))/float64(uncached), "ratio"),
		figure("plugin/identity/flights", perEvent(r.Flights, r.Events), "flights").atMost(2),
	}
}

// routes shows how an event's cost grows with the configurations of a process.
func (p *pluginPart) routes() (rows []row) {
	s := p.serve()
	counts := []int{1, 10, 100, 1000}
	jobs := map[int]job{}
	for _, n := range counts {
		j := job{Plugin: plugin.IdentityName, Connections: 8, For: p.length, Headers: 12, Tokens: []string{p.issuer.Mint(p, nil)}}
		for i := range n {
			j.Configs = append(j.Configs, p.identityConfig(n+i))
		}
		jobs[n] = j
	}
	took := map[int][]time.Duration{}
	for range 3 * p.rounds { // in turns, and many: what is looked for is less than one round differs from the next
		for _, n := range counts {
			cpu, _ := p.load(p.generator, s, jobs[n])
			took[n] = append(took[n], cpu)
		}
	}
	for _, n := range counts {
		rows = append(rows, figure(fmt.Sprintf("plugin/identity/cpu/routes=%d", n), micros(median(took[n])), "µs/event"))
	}
	return append(rows, figure("plugin/identity/routes=1000-of-1", float64(median(took[1000]))/float64(median(took[1])), "ratio").atMost(1.2))
}

// headers shows how an event's cost grows with the request's headers.
func (p *pluginPart) headers() (rows []row) {
	s := p.serve()
	for _, n := range []int{1, 10, 100, 998} { // 1,000 are refused
		j := job{
			Plugin: plugin.IdentityName, Configs: []string{p.identityConfig(0)}, Connections: 8,
			For: p.length, Headers: n, Tokens: []string{p.issuer.Mint(p, nil)},
		}
		cpu, _ := p.measure(s, j)
		rows = append(rows, figure(fmt.Sprintf("plugin/identity/cpu/headers=%d", n+1), micros(cpu), "µs/event"))
	}
	return rows
}

// compile is what the start of an instance costs where its configuration is
// new: other requests of the route wait for it.
func (p *pluginPart) compile() row {
	process := plugin.NewProcess(slog.New(slog.DiscardHandler))
	p.Cleanup(process.Close)
	config := p.triggerConfig(0)
	for _, hosted := range process.Plugins() {
		if hosted.Name == plugin.TriggerName {
			ns := p.perOp(func(b *testing.B) {
				for b.Loop() {
					hosted.Compile(config)
				}
			})
			return figure("plugin/trigger/compile", ns/1e3, "µs").atMost(1000)
		}
	}
	p.Fatal("no " + plugin.TriggerName)
	return row{}
}

// triggerConfig is a route of its own deployment for each number.
func (p *pluginPart) triggerConfig(n int) []byte {
	p.Helper()
	data, err := json.Marshal(map[string]any{
		"prefect":    map[string]any{"api_url": "http://127.0.0.1:1/api"},
		"deployment": fmt.Sprintf("flow-%d/prod", n), "allow_roles": []string{"runner"},
		"business_function": "finance", "team": "reporting",
	})
	require.NoError(p, err)
	return data
}

// memory is what a process holds that has 1,000 routes of its own deployment,
// and what it holds when it has served 64 connections besides.
func (p *pluginPart) memory() []row {
	s := p.serve()
	routes := job{Plugin: plugin.TriggerName}
	for i := range 1000 {
		routes.Configs = append(routes.Configs, string(p.triggerConfig(i)))
	}
	p.drive(p.generator, s, routes)
	compiledPrivate, compiledShared := s.memory()
	p.load(p.generator, s, job{
		Plugin: plugin.IdentityName, Configs: []string{p.identityConfig(0)}, Connections: 64,
		For: p.length, Headers: 12, Tokens: []string{p.issuer.Mint(p, nil)},
	})
	private, shared := s.memory()
	return []row{
		figure("plugin/resident-memory/routes=1000", (compiledPrivate+compiledShared)/1e6, "MB").atMost(40),
		figure("plugin/resident-memory/routes=1000/private", compiledPrivate/1e6, "MB"),
		figure("plugin/resident-memory/routes=1000/after-64-connections", (private+shared)/1e6, "MB"),
		figure("plugin/resident-memory/routes=1000/after-64-connections/private", private/1e6, "MB"),
	}
}
