// Command devgateway stands in for Kong in development and tests. It takes
// Kong's own KONG_* settings from the environment and runs until SIGTERM;
// SIGHUP reloads as `kong reload` does.
package main

import (
	"context"
	"fmt"
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
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	gateway, err := devgateway.Start(ctx, devgateway.Options{Settings: settings})
	if err != nil {
		return err
	}
	defer gateway.Close()
	if admin := gateway.AdminURL(); admin != "" {
		fmt.Printf("devgateway: admin=%s\n", admin)
	}
	fmt.Printf("devgateway: ready proxy=%s\n", gateway.ProxyURL())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			if err := gateway.Reload(); err != nil {
				fmt.Fprintf(os.Stderr, "devgateway: reload refused: %v\n", err)
			}
		}
	}
}
