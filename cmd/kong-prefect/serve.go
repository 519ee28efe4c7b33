package main

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/logs"
	"github.com/kong-prefect/kong-prefect/metrics"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/signing"
)

// socketName is the socket's file in Kong's prefix.
const socketName = "kong-prefect.socket"

// keysName is the signing keys' file beside the socket.
const keysName = "kong-prefect-keys.json"

// serveOptions are the flags of serve.
type serveOptions struct {
	socket   string
	drain    time.Duration
	keys     string
	peerKeys []string
	rotate   time.Duration
	listen   string
	audit    string
	settle   time.Duration
	sinks    string
	outbox   outboxPlace
	traces   traceOptions
	log      *slog.Logger
	logs     *logs.Log
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	var prefix string
	var logging logOptions
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupKong,
		Short:   "Run the plugins, for Kong's start_cmd",
		Long: `Run the plugins on a Unix socket until SIGTERM; requests under way are
finished first. Kong runs this by the setting pluginserver_NAME_start_cmd;
it may as well be run by systemd, or beside Kong in a container of its own.`,
		Example: `  kong-prefect serve --kong-prefix /usr/local/kong
  kong-prefect serve --socket /run/kong-prefect/kong-prefect.socket`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.socket == "" && prefix == "" {
				return fmt.Errorf("%w: serve needs one of --kong-prefix and --socket", errUsage)
			}
			if prefix != "" && o.socket != "" {
				return fmt.Errorf("%w: serve takes one of --kong-prefix and --socket, not both", errUsage)
			}
			if prefix != "" {
				o.socket = filepath.Join(prefix, socketName)
			}
			log, closeLog, err := logging.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer closeLog()
			o.logs, o.log = log, log.Logger
			return serve(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&prefix, "kong-prefix", "", "Kong's prefix directory; the socket is "+socketName+" in it")
	flags.StringVar(&o.socket, "socket", "", "path of the socket")
	flags.DurationVar(&o.drain, "drain", 55*time.Second, "how long running requests may take after SIGTERM")
	flags.StringVar(&o.keys, "keys", "", "file of the private keys that sign stamps, made if there is none; default: "+keysName+" beside the socket")
	flags.StringSliceVar(&o.peerKeys, "peer-keys", nil, "JWKS files with the public keys of other nodes, to publish and believe as well")
	flags.DurationVar(&o.rotate, "rotate-keys-every", 90*24*time.Hour, "the age at which a new signing key takes over; negative: never")
	flags.StringVar(&o.listen, "listen", "", "address of the process's own HTTP port, on this machine alone, for metrics, health and the key set: 127.0.0.1:8710; default: none")
	flags.StringVar(&o.audit, "audit", "", "folder of the audit, made if there is none; default: none, and nothing is audited")
	flags.DurationVar(&o.settle, "audit-settle", 90*time.Second, "age at which the run of an allowed request without a result is looked for in Prefect: longer than any request takes")
	flags.StringVar(&o.sinks, "audit-sinks", "", "YAML file that says where the audit's records go as well: stdout, syslog, HTTP, OpenTelemetry")
	o.outbox.flags(cmd)
	logging.flags(cmd)
	o.traces.flags(cmd)
	fileFlag(cmd, "audit-sinks", "yaml", "yml")
	fileFlag(cmd, "log-file", "log")
	for _, folder := range []string{"kong-prefix", "audit"} {
		must(cmd.MarkFlagDirname(folder))
	}
	return cmd
}

func serve(ctx context.Context, o serveOptions) error {
	keys, err := openKeys(o)
	if err != nil {
		return err
	}
	own, err := newOwnPort(o)
	if err != nil {
		return err
	}
	process := plugin.NewProcess(o.log)
	defer process.Close()
	process.Signing, process.Notices = keys, o.logs.Notices.Tell
	sinks, closeAudit, err := openAudit(o, process)
	if err != nil {
		return err
	}
	defer closeAudit()
	closeOutbox, err := openOutbox(o, process)
	if err != nil {
		return err
	}
	defer closeOutbox() // before the audit: deliveries are on record
	hosted := pluginserver.Options{Plugins: process.Plugins(), Log: o.log, Refusal: plugin.Refusal}
	counted := metrics.New()
	if own != nil { // else nobody can read what is counted
		process.Hooks, hosted.Refused = counted.Hooks(), counted.ServerRefused
	}
	closeTraces, err := openTraces(ctx, o.traces, &process.Hooks, o.log)
	if err != nil {
		return err
	}
	defer closeTraces()
	server, err := pluginserver.New(hosted)
	if err != nil {
		return err
	}
	if own != nil {
		sources := metrics.Sources{Process: process, Server: server, Signing: keys, Audit: process.Audit, Outbox: process.Outbox, Sinks: sinks, Logged: o.logs.Counts}
		counted.Watch(sources)
		publish(own, counted, sources)
	}
	// Last: what can't start must not take the path from a process that serves.
	// Nothing before this waits, for Kong's workers look for the socket at once.
	listener, err := pluginserver.Listen(o.socket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer startOwnPort(ctx, own, o.log)()
	o.log.Info("serving", "socket", o.socket, "version", plugin.Version)
	return server.Serve(ctx, listener, o.drain)
}

func openKeys(o serveOptions) (*signing.Keys, error) {
	if o.keys == "" {
		o.keys = filepath.Join(filepath.Dir(o.socket), keysName)
	}
	return signing.Open(signing.Options{File: o.keys, Peers: o.peerKeys, RotateEvery: o.rotate, Logger: o.log})
}
