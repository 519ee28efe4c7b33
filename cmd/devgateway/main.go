// Command devgateway stands in for Kong in development and tests. It takes
// Kong's own KONG_* settings from the environment and runs until SIGTERM;
// SIGHUP reloads as `kong reload` does.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/kong-prefect/kong-prefect/devgateway"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "devgateway: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	fmt.Fprintln(os.Stderr, "devgateway: a stand-in for Kong, for development and tests only; never put it in front of anything real")
	settings, err := devgateway.SettingsFromEnv(os.Environ())
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := net.Listen("tcp", settings.ProxyListen)
	if err != nil {
		return err
	}
	gateway, err := devgateway.New(settings, os.Stderr)
	if err != nil {
		return err
	}
	defer gateway.Close()
	go reloadOnHangup(ctx, gateway)
	fmt.Printf("devgateway: ready proxy=http://%s\n", listener.Addr())
	return gateway.Serve(ctx, listener)
}

// reloadOnHangup ends with the context.
func reloadOnHangup(ctx context.Context, g *devgateway.Gateway) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := g.Reload(); err != nil {
				fmt.Fprintf(os.Stderr, "devgateway: reload refused: %v\n", err)
			}
		}
	}
}
