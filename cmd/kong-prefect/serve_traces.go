package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/tracing"
)

// traceOptions are the flags of traces. Under Kong the environment is empty,
// so what decides whether there are any is a flag.
type traceOptions struct {
	url, authorization string
	share              float64
}

func (o *traceOptions) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.url, "traces", "", "OpenTelemetry collector that traces are sent to by OTLP over HTTP: http://127.0.0.1:4318; default: none, and there are no traces")
	flags.StringVar(&o.authorization, "traces-authorization", "", "file with the Authorization header's value for the collector")
	flags.Float64Var(&o.share, "trace-share", 1, "part of the requests without a trace of their own that are traced, 0 to 1; of the others their traceparent's sampled flag decides")
}

// openTraces gives the plugins traces, where there are to be any.
func openTraces(ctx context.Context, o traceOptions, hooks *plugin.Hooks, log *slog.Logger) (closeTraces func(), err error) {
	if o.url == "" {
		return func() {}, nil
	}
	tracer, err := tracing.New(ctx, tracing.Options{URL: o.url, AuthorizationFile: o.authorization, Share: o.share, Service: "kong-prefect", Version: plugin.Version, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("%w: --traces: %w", errUsage, err)
	}
	hooks.Trace = tracer.Event
	return tracer.Close, nil
}
