package stack

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	gatewayReadyLimit = 60 * time.Second
	reloadLimit       = 30 * time.Second
)

// plugins are those of the product, in the order of Kong's pluginserver_names.
var plugins = []string{"prefect-identity", "prefect-trigger", "prefect-guard"}

// GatewayOptions says what to put in front.
type GatewayOptions struct {
	// Binaries is the folder of the binaries, as BuildBinaries leaves it. Required unless the next two name them.
	Binaries string
	// Plugin is the kong-prefect binary. Default: the one of Binaries.
	Plugin string
	// DevGateway is the devgateway binary. Default: the one of Binaries. A real Kong needs none.
	DevGateway string
	// Kong is a kong command to run in devgateway's place. Default: the environment's KONG.
	Kong string
	// Config is the declarative configuration, a kong.yml. Required.
	Config string
	// Audit has the plugin server keep an audit, of which [Gateway.Leaks] knows.
	Audit bool
	// ServeArgs are further arguments of kong-prefect serve.
	ServeArgs []string
	// Env is added to the gateway's environment, for Kong's env vault.
	Env []string
	// Workers is how many nginx workers there are. Default: 1.
	Workers int
	// Admin opens Kong's Admin API, for GET /status and POST /config.
	Admin bool
	// TLS opens a second listener, where Kong itself ends TLS, with a certificate of its own making, and speaks HTTP/2
	// too. It asks clients for a certificate, whoever signed it. A real Kong alone has this: see OnKong.
	TLS bool
}

// OnKong says whether the environment names a real Kong to run in devgateway's place.
func OnKong() bool { return os.Getenv("KONG") != "" }

// Gateway is a running gateway, with the plugin server as its child.
type Gateway struct {
	opts   GatewayOptions
	dir    string
	prefix string
	addr   string
	admin  string // empty without an Admin API
	tls    string // empty without TLS
	env    []string
	proc   *process
}

// StartGateway starts Kong, or devgateway, with Kong's own environment, and waits until it and the plugin server answer.
func StartGateway(ctx context.Context, opts GatewayOptions) (*Gateway, error) {
	if opts.Kong == "" {
		opts.Kong = os.Getenv("KONG")
	}
	opts.Plugin = cmp.Or(opts.Plugin, filepath.Join(opts.Binaries, "kong-prefect"))
	opts.DevGateway = cmp.Or(opts.DevGateway, filepath.Join(opts.Binaries, "devgateway"))
	for _, path := range []*string{&opts.Plugin, &opts.DevGateway, &opts.Config} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = abs
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	var admin, tls string
	for listener, wanted := range map[*string]bool{&admin: opts.Admin, &tls: opts.TLS} {
		if !wanted {
			continue
		}
		if *listener, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	// Short, whatever TMPDIR says: a socket's path ends at 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "kong-prefect-gateway-")
	if err != nil {
		return nil, err
	}
	if opts.Audit {
		opts.ServeArgs = append([]string{"--audit", filepath.Join(dir, auditFolder)}, opts.ServeArgs...)
	}
	g := &Gateway{opts: opts, dir: dir, prefix: filepath.Join(dir, "prefix"), addr: addr, admin: admin, tls: tls}
	g.env = g.environment()
	if err = os.Mkdir(g.prefix, 0o700); err == nil {
		err = g.launch(ctx)
	}
	if err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

// environment is what an operator would write: the plugins' settings as Kong 3.9 reads them. Whatever Kong would listen
// on by itself is off: several gateways run on one machine.
func (g *Gateway) environment() []string {
	socket := filepath.Join(g.prefix, "kong-prefect.socket")
	admin := "off"
	if g.admin != "" {
		admin = g.admin
	}
	env := append(baseEnv(g.dir),
		"KONG_DATABASE=off",
		"KONG_DECLARATIVE_CONFIG="+g.opts.Config,
		"KONG_PREFIX="+g.prefix,
		"KONG_ADMIN_LISTEN="+admin,
		"KONG_ADMIN_GUI_LISTEN=off",
		"KONG_STATUS_LISTEN=off",
		"KONG_ANONYMOUS_REPORTS=off",
		"KONG_LOG_LEVEL=info", // where Kong puts what the plugin server writes: a race report, say
		"KONG_NGINX_DAEMON=off",
		fmt.Sprintf("KONG_NGINX_WORKER_PROCESSES=%d", max(g.opts.Workers, 1)),
		"KONG_PLUGINS=bundled,"+strings.Join(plugins, ","),
		"KONG_PLUGINSERVER_NAMES="+strings.Join(plugins, ","),
	)
	if g.tls != "" {
		env = append(env, "KONG_PROXY_LISTEN="+g.addr+", "+g.tls+" http2 ssl", "KONG_NGINX_PROXY_SSL_VERIFY_CLIENT=optional_no_ca")
	} else {
		env = append(env, "KONG_PROXY_LISTEN="+g.addr)
	}
	if os.Getuid() == 0 {
		// Else root's nginx gives its workers, and so the plugin server, to a user who may not enter the prefix.
		env = append(env, "KONG_NGINX_MAIN_USER=root root")
	}
	for i, plugin := range plugins {
		base := "KONG_PLUGINSERVER_" + strings.ToUpper(strings.ReplaceAll(plugin, "-", "_"))
		env = append(env,
			base+"_QUERY_CMD="+g.opts.Plugin+" dump "+plugin,
			base+"_SOCKET="+socket,
		)
		if i == 0 { // one process serves all of them
			env = append(env, base+"_START_CMD="+g.opts.Plugin+" "+strings.Join(append([]string{"serve", "--kong-prefix", g.prefix}, g.opts.ServeArgs...), " "))
		}
	}
	return append(env, g.opts.Env...)
}

func (g *Gateway) launch(ctx context.Context) error {
	run := command{name: "devgateway", path: g.opts.DevGateway, env: g.env, dir: g.dir}
	if g.opts.Kong != "" {
		path, err := exec.LookPath(g.opts.Kong)
		if err != nil {
			return err
		}
		run.name, run.path, run.args = "kong", path, []string{"start"}
	}
	var err error
	if g.proc, err = run.start(); err != nil {
		return err
	}
	if err := g.proc.await(ctx, gatewayReadyLimit, g.answers); err != nil {
		return fmt.Errorf("%w%s", err, g.errorLog())
	}
	return nil
}

// answers is nil when the gateway routes and the plugin server takes connections.
func (g *Gateway) answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL()+"/no-such-route-ready-probe", nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("the gateway answers %s", resp.Status)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(g.prefix, "kong-prefect.socket"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// URL is the proxy's address.
func (g *Gateway) URL() string { return "http://" + g.addr }

// TLSURL is the address at which Kong ends TLS, or empty.
func (g *Gateway) TLSURL() string {
	if g.tls == "" {
		return ""
	}
	return "https://" + g.tls
}

// AdminURL is the Admin API's address, or empty.
func (g *Gateway) AdminURL() string {
	if g.admin == "" {
		return ""
	}
	return "http://" + g.admin
}

// Logs is what the gateway and the plugin server wrote.
func (g *Gateway) Logs() string { return g.proc.log() + g.errorLog() }

// errorLog is Kong's own log file; devgateway logs to its standard error.
func (g *Gateway) errorLog() string {
	b, err := os.ReadFile(filepath.Join(g.prefix, "logs", "error.log"))
	if err != nil {
		return ""
	}
	return string(b)
}

// Reload makes the gateway read its configuration again and start a new plugin server, as `kong reload` does.
func (g *Gateway) Reload(ctx context.Context) error {
	if g.opts.Kong == "" {
		return syscall.Kill(g.proc.pid, syscall.SIGHUP)
	}
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.opts.Kong, "reload", "--prefix", g.prefix)
	cmd.Env = g.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kong reload: %w: %s", err, out)
	}
	return nil
}

// Stop ends the gateway and the plugin server, and removes their folder.
func (g *Gateway) Stop() {
	if g == nil {
		return
	}
	g.proc.stop()
	_ = os.RemoveAll(g.dir)
}
