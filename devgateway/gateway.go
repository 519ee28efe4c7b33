package devgateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Gateway hosts the plugin servers and answers requests.
type Gateway struct {
	settings Settings
	log      *logger
	vault    vault
	hosted   map[string]*hosted // by plugin name
	seq      atomic.Int64       // of plugin configurations, as Kong's __seq__

	mu        sync.Mutex
	current   *generation
	processes []*process
}

// generation is one loaded kong.yml.
type generation struct {
	router    *router
	plugins   []*Plugin // by priority, the highest first
	consumers []*Consumer
}

// New asks the plugin servers what they host, starts them, and loads kong.yml.
// Close ends what it started.
func New(s Settings, logs io.Writer) (*Gateway, error) {
	if s.AdminListen != "" {
		return nil, errors.New("KONG_ADMIN_LISTEN: the admin API is not done here; set it to off")
	}
	if s.Workers > 1 {
		return nil, errors.New("DEVGATEWAY_WORKERS: only one worker is done here")
	}
	log := newLogger(logs, s.LogLevel)
	g := &Gateway{settings: s, log: log, vault: vault{env: s.Env, log: log}, hosted: map[string]*hosted{}}
	for _, warning := range s.Warnings {
		log.kong("warn", "%s", warning)
	}
	if err := os.MkdirAll(s.Prefix, 0o755); err != nil {
		return nil, err
	}
	for _, server := range s.PluginServers {
		h, err := query(server)
		if err != nil {
			return nil, err
		}
		g.hosted[server.Name] = h
	}
	next, err := g.load()
	if err != nil {
		return nil, err
	}
	g.current = next
	g.processes = g.startProcesses()
	if err := g.awaitSockets(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// socketLimit is how long a started plugin server may take to bind.
const socketLimit = 10 * time.Second

// awaitSockets waits until each started server listens, so that the first
// request after the ready line is no race.
func (g *Gateway) awaitSockets() error {
	deadline := time.Now().Add(socketLimit)
	for _, server := range g.settings.PluginServers {
		for {
			c, err := net.Dial("unix", server.Socket)
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("plugin server %s doesn't listen: %w", server.Name, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// load reads kong.yml.
func (g *Gateway) load() (*generation, error) {
	data, err := os.ReadFile(g.settings.DeclarativeConfig)
	if err != nil {
		return nil, err
	}
	d, err := parseDeclarative(data, g)
	if err != nil {
		return nil, err
	}
	for _, p := range d.Plugins {
		p.Seq = g.seq.Add(1)
	}
	sort.SliceStable(d.Plugins, func(i, j int) bool {
		a, b := g.hosted[d.Plugins[i].Name], g.hosted[d.Plugins[j].Name]
		if a.priority != b.priority {
			return a.priority > b.priority
		}
		return a.name < b.name
	})
	return &generation{router: newRouter(d.Routes), plugins: d.Plugins, consumers: d.Consumers}, nil
}

// configSchema lets kong.yml name the hosted plugins and no other.
func (g *Gateway) configSchema(name string) (*pluginSchema, string) {
	if h := g.hosted[name]; h != nil {
		if !slices.Contains(g.settings.Plugins, name) {
			return nil, fmt.Sprintf("plugin %q is not in KONG_PLUGINS", name)
		}
		return h.schema, ""
	}
	return nil, fmt.Sprintf("plugin %q is not done here: only plugins of pluginserver_names are", name)
}

// Reload does what `kong reload` does: a new kong.yml, and new plugin-server
// processes on the same sockets while the old ones still live for a moment. A
// kong.yml that can't be honoured changes nothing.
func (g *Gateway) Reload() error {
	next, err := g.load()
	if err != nil {
		return err
	}
	started := g.startProcesses()
	g.mu.Lock()
	old := g.processes
	g.current, g.processes = next, started
	g.mu.Unlock()
	for _, h := range g.hosted {
		h.drop()
	}
	time.AfterFunc(g.settings.ReloadOverlap, func() {
		for _, p := range old {
			p.stop()
		}
	})
	return nil
}

// Close ends the plugin servers as `kong stop` does.
func (g *Gateway) Close() {
	g.mu.Lock()
	processes := g.processes
	g.mu.Unlock()
	for _, p := range processes {
		p.stop()
	}
}

func (g *Gateway) generation() *generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current
}

// ServeHTTP takes a request the way Kong does: route, access phase of the
// plugins by priority, upstream.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.Header["Authorization"]) > 1 {
		// nginx refuses it before any plugin runs.
		http.Error(w, "400 Bad Request", http.StatusBadRequest)
		return
	}
	x, err := newExchange(g, r)
	if err != nil {
		http.Error(w, "400 Bad Request", http.StatusBadRequest)
		return
	}
	defer x.close()
	w.Header().Set("X-Kong-Request-Id", x.requestID)
	if x.match == nil {
		x.message(w, http.StatusNotFound, "no Route matched with those values")
		return
	}
	for _, p := range x.conf.planned(x.match.route) {
		x.plugin = p.Name
		switch err := x.run(r.Context(), p); {
		case err != nil:
			g.log.kong("error", "[%s] %v, client: %s, request: %q", p.Name, err, r.RemoteAddr, r.Method+" "+r.RequestURI)
			x.message(w, http.StatusInternalServerError, "An unexpected error occurred")
			return
		case x.answer != nil:
			x.answer.write(w, x.response)
			return
		}
	}
	if x.match.route.Service == nil {
		x.message(w, http.StatusServiceUnavailable, "no Service found with those values")
		return
	}
	x.proxy(w, r)
}

// planned are the plugins of a route: of each name the most specific.
func (c *generation) planned(route *Route) []*Plugin {
	best := map[string]*Plugin{}
	for _, p := range c.plugins {
		if p.Route != nil && p.Route != route || p.Service != nil && p.Service != route.Service {
			continue
		}
		if b := best[p.Name]; b == nil || specificity(p) > specificity(b) {
			best[p.Name] = p
		}
	}
	var plan []*Plugin
	for _, p := range c.plugins {
		if best[p.Name] == p {
			plan = append(plan, p)
		}
	}
	return plan
}

// specificity: route and service, route, service, global.
func specificity(p *Plugin) int {
	n := 0
	if p.Route != nil {
		n += 2
	}
	if p.Service != nil {
		n++
	}
	return n
}

// routeOf asks the router.
func routeOf(c *generation, r *http.Request, path string, hs headers, peer netip.AddrPort) *routeMatch {
	host, _ := splitHostPort(r.Host)
	return c.router.find(&routeQuery{
		method: r.Method, path: path, host: host, hasHost: r.Host != "", scheme: "http",
		headers: hs, src: peer.Addr(), srcPort: int(peer.Port()),
	})
}

// Serve answers on a listener until the context ends.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: g, ReadHeaderTimeout: 60 * time.Second, ErrorLog: nil}
	stop := context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(wait) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// orderedHeaders is a request's header lines; net/http keeps the order within
// a name.
func orderedHeaders(r *http.Request) headers {
	hs := headers{}
	if r.Host != "" {
		hs.add("host", r.Host)
	}
	for _, name := range sortedKeys(r.Header) {
		for _, v := range r.Header[name] {
			hs.add(strings.ToLower(name), v)
		}
	}
	return hs
}
