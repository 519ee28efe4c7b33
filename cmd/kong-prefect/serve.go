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

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// socketName is the socket's file in Kong's prefix.
const socketName = "kong-prefect.socket"

// serveOptions are the flags of serve.
type serveOptions struct {
	socket string
	drain  time.Duration
	log    *slog.Logger
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	var prefix string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the plugins, for Kong's start_cmd",
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
			o.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return serve(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&prefix, "kong-prefix", "", "Kong's prefix directory; the socket is "+socketName+" in it")
	flags.StringVar(&o.socket, "socket", "", "path of the socket")
	flags.DurationVar(&o.drain, "drain", 55*time.Second, "how long running requests may take after SIGTERM")
	return cmd
}

func serve(ctx context.Context, o serveOptions) error {
	// The socket comes first: Kong's workers look for it at once.
	listener, err := pluginserver.Listen(o.socket)
	if err != nil {
		return err
	}
	process := plugin.NewProcess(o.log)
	defer process.Close()
	server, err := pluginserver.New(pluginserver.Options{
		Plugins: process.Plugins(), Log: o.log, Refusal: plugin.Refusal,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	o.log.Info("serving", "socket", o.socket, "version", plugin.Version)
	return server.Serve(ctx, listener, o.drain)
}
