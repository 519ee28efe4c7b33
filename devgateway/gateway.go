package devgateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Gateway is a running devgateway.
type Gateway struct {
	settings  Settings
	log       *logger
	ctx       context.Context
	cancel    context.CancelFunc
	nodeID    string
	listener  net.Listener
	admin     *adminServer
	catalog   *catalog
	upstreams *upstreamPool
	workers   []*worker
	connIDs   atomic.Int64
	seq       atomic.Int64
	closing   atomic.Bool
	hangTime  time.Duration    // of the connection after an exit with 101
	clock     func() time.Time // for rate limits
	wg        sync.WaitGroup

	mu          sync.Mutex
	generation  *generation
	conns       map[*clientConn]struct{}
	supervisors []*supervisor
	closeOnce   sync.Once
}

// Options is what Start needs beside Kong's settings.
type Options struct {
	Settings Settings
	Log      io.Writer // error log; default os.Stderr
}

// Start runs the query commands, loads the declarative configuration, starts
// the plugin servers and listens. The caller calls Close.
func Start(ctx context.Context, o Options) (*Gateway, error) {
	s := o.Settings.withDefaults()
	if o.Log == nil {
		o.Log = os.Stderr
	}
	gw := &Gateway{
		settings: s, log: newLogger(o.Log, s.LogLevel), nodeID: entityUUID("nodes", randomHex(8)),
		upstreams: newUpstreamPool(), conns: map[*clientConn]struct{}{}, hangTime: clientIdleTimeout, clock: time.Now,
	}
	gw.ctx, gw.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := gw.prepare(ctx); err != nil {
		gw.Close()
		return nil, err
	}
	if err := gw.listen(); err != nil {
		gw.Close()
		return nil, err
	}
	return gw, nil
}

func (gw *Gateway) prepare(ctx context.Context) error {
	for _, w := range gw.settings.Warnings {
		gw.log.kong("warn", "%s", w)
	}
	if err := os.MkdirAll(gw.settings.Prefix, 0o755); err != nil {
		return fmt.Errorf("KONG_PREFIX: %w", err)
	}
	if err := gw.loadCatalog(ctx); err != nil {
		return err
	}
	gen, err := gw.load()
	if err != nil {
		return err
	}
	gw.swap(gen)
	gw.workers = gw.newWorkers()
	gw.supervisors = gw.startServers()
	gw.awaitSockets(ctx)
	return nil
}

func (gw *Gateway) newWorkers() []*worker {
	ws := make([]*worker, gw.settings.Workers)
	for i := range ws {
		ws[i] = newWorker(gw)
	}
	return ws
}

const (
	socketLimit = 5 * time.Second
	socketPoll  = 5 * time.Millisecond
)

// awaitSockets waits until the servers started here listen, so that the first
// request is no race. Kong does not notice a wrong start_cmd; here there is a
// warning.
func (gw *Gateway) awaitSockets(ctx context.Context) {
	deadline := time.Now().Add(socketLimit)
	for _, p := range gw.settings.PluginServers {
		for p.StartCmd != "" && ctx.Err() == nil {
			c, err := net.Dial("unix", p.Socket)
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(deadline) {
				gw.log.kong("warn", "[pluginserver] %s does not listen: %s", p.Name, err)
				break
			}
			time.Sleep(socketPoll)
		}
	}
}

// load reads the declarative configuration's file.
func (gw *Gateway) load() (*generation, error) {
	data, err := os.ReadFile(gw.settings.DeclarativeConfig)
	if err != nil {
		return nil, fmt.Errorf("KONG_DECLARATIVE_CONFIG: %w", err)
	}
	gen, err := gw.parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", gw.settings.DeclarativeConfig, err)
	}
	return gen, nil
}

func (gw *Gateway) parse(data []byte) (*generation, error) {
	d, err := parseDeclarative(data, gw.catalog)
	if err != nil {
		return nil, err
	}
	for _, p := range d.Plugins {
		p.Seq = gw.seq.Add(1)
	}
	var tally *rateCounters
	if cur := gw.current(); cur != nil {
		tally = cur.tally // counters survive a reload of the configuration
	} else {
		tally = newRateCounters()
	}
	return newGeneration(d, gw.catalog, tally), nil
}

func (gw *Gateway) swap(g *generation) {
	gw.mu.Lock()
	defer gw.mu.Unlock()
	gw.generation = g
}

func (gw *Gateway) current() *generation {
	gw.mu.Lock()
	defer gw.mu.Unlock()
	return gw.generation
}

func (gw *Gateway) listen() error {
	l, err := net.Listen("tcp", gw.settings.ProxyListen)
	if err != nil {
		return fmt.Errorf("KONG_PROXY_LISTEN: %w", err)
	}
	gw.listener = l
	if gw.settings.AdminListen != "" {
		if gw.admin, err = startAdmin(gw, gw.settings.AdminListen); err != nil {
			return fmt.Errorf("KONG_ADMIN_LISTEN: %w", err)
		}
	}
	gw.wg.Go(gw.accept)
	return nil
}

func (gw *Gateway) accept() {
	for {
		conn, err := gw.listener.Accept()
		if err != nil {
			if gw.stopping() || errors.Is(err, net.ErrClosed) {
				return
			}
			gw.log.kong("error", "accept: %s", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		c := &clientConn{
			gw: gw, net: conn, r: bufio.NewReaderSize(conn, 16<<10), w: bufio.NewWriterSize(conn, 32<<10),
			id: gw.connIDs.Add(1),
		}
		gw.mu.Lock()
		c.worker = gw.workers[int(c.id-1)%len(gw.workers)]
		gw.conns[c] = struct{}{}
		c.worker.clients.Add(1) // under the lock: a reload that retires this worker waits for c
		gw.mu.Unlock()
		gw.wg.Go(func() {
			defer c.worker.clients.Done()
			c.serve()
			gw.mu.Lock()
			delete(gw.conns, c)
			gw.mu.Unlock()
		})
	}
}

// background runs f outside a request; Close waits for it.
func (gw *Gateway) background(f func()) { gw.wg.Go(f) }

func (gw *Gateway) stopping() bool { return gw.closing.Load() }

func (gw *Gateway) bodyDir() string { return filepath.Join(gw.settings.Prefix, "client_body_temp") }

func (gw *Gateway) proxyPort() int {
	return gw.listener.Addr().(*net.TCPAddr).Port
}

// ProxyURL is where requests are served.
func (gw *Gateway) ProxyURL() string { return "http://" + gw.listener.Addr().String() }

// AdminURL is where GET /status and POST /config are, or "".
func (gw *Gateway) AdminURL() string {
	if gw.admin == nil {
		return ""
	}
	return "http://" + gw.admin.addr()
}

// resetInstances forgets a plugin's instances in the worker that found its
// server gone, which may be one from before a reload, and in all of now.
func (gw *Gateway) resetInstances(found *worker, plugin string) {
	found.reset(plugin)
	gw.mu.Lock()
	workers := slices.Clone(gw.workers)
	gw.mu.Unlock()
	for _, w := range workers {
		w.reset(plugin)
	}
}

// Close stops listening, ends connections and processes, and waits for all.
func (gw *Gateway) Close() {
	gw.closeOnce.Do(gw.shutdown)
}

func (gw *Gateway) shutdown() {
	gw.closing.Store(true)
	gw.cancel()
	if gw.listener != nil {
		_ = gw.listener.Close()
	}
	if gw.admin != nil {
		gw.admin.close()
	}
	gw.mu.Lock()
	for c := range gw.conns {
		_ = c.net.Close()
	}
	servers, workers := gw.supervisors, gw.workers
	gw.mu.Unlock()
	var stops sync.WaitGroup
	for _, s := range servers {
		stops.Go(s.close)
	}
	stops.Wait()
	for _, w := range workers {
		w.pool.close()
	}
	gw.wg.Wait()
	gw.upstreams.close()
}

func (g *generation) upstreamByName(name string) *Upstream {
	for _, u := range g.decl.Upstreams {
		if u.Name == name {
			return u
		}
	}
	return nil
}
