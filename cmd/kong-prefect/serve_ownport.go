package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/kong-prefect/kong-prefect/metrics"
	"github.com/kong-prefect/kong-prefect/ownport"
	"github.com/kong-prefect/kong-prefect/signing"
)

// newOwnPort is the process's own port; nil where there shall be none.
func newOwnPort(o serveOptions) (*ownport.Server, error) {
	if o.listen == "" {
		return nil, nil
	}
	port, err := ownport.New(o.listen, o.log)
	if err != nil {
		return nil, fmt.Errorf("%w: --listen: %w", errUsage, err)
	}
	return port, nil
}

// publish adds what the port serves: the key set, the metrics, and how the
// process is.
func publish(port *ownport.Server, m *metrics.Metrics, s metrics.Sources) {
	port.Handle(ownport.KeySetPath, ownport.KeySet(s.Signing.JWKS, signing.MediaType, signing.CacheSeconds))
	port.Handle(ownport.HealthPath, ownport.Health())
	port.Handle(ownport.ReadyPath, ownport.Ready(checks(s)...))
	port.Handle(ownport.MetricsPath, m.Handler())
}

// checks are what the process needs for its work.
func checks(s metrics.Sources) []ownport.Check {
	all := []ownport.Check{
		{Name: "socket", Err: func() error {
			if s.Server.Stats().Draining {
				return errors.New("the process is about to end")
			}
			return nil
		}},
		{Name: "signing keys", Err: func() error { return s.Signing.Stats().Err }},
	}
	if s.Audit != nil {
		all = append(all, ownport.Check{Name: "audit", Err: func() error {
			a := s.Audit.Stats()
			if a.Err == nil && a.Queued >= a.Limit {
				return fmt.Errorf("all %d places of its queue are taken", a.Limit)
			}
			return a.Err
		}})
	}
	return all
}

// startOwnPort serves until end is called: beyond the signal, for requests
// under way are finished after it.
func startOwnPort(ctx context.Context, port *ownport.Server, log *slog.Logger) (end func()) {
	if port == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := port.Serve(ctx); err != nil {
			log.Error("the own port has ended", "error", err)
		}
	}()
	return func() { cancel(); <-served }
}
