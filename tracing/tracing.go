// Package tracing makes OpenTelemetry spans of what the plugins do, and sends
// them by OTLP over HTTP: one for each plugin's event, with its stages and its
// requests to Prefect below it.
//
// A request's trace goes on where its traceparent header says (W3C Trace
// Context). prefect-identity hands the trace on to the plugins after it and to
// the upstream, and prefect-trigger and prefect-guard to Prefect's run.
//
// It refuses to hold anybody up: spans are made of an event that is over, and
// wait in a bounded queue; a collector that is away costs spans and nothing
// else. No caller, parameter or token is in a span.
//
// Read [Tracer.Event] first.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxQueued bounds the spans that wait; more are dropped.
	maxQueued   = 2048
	maxBatch    = 512
	sendEvery   = 2 * time.Second
	sendTimeout = 5 * time.Second
	// closeTimeout is what the process waits for its last spans.
	closeTimeout = time.Second
	// complainEvery is how often a collector that is away is told of.
	complainEvery = time.Minute
)

// ErrOptions is in the errors of options that can't be used.
var ErrOptions = errors.New("tracing")

// Options of a [Tracer].
type Options struct {
	// URL is the collector's, http://127.0.0.1:4318 for instance; without a
	// path it is /v1/traces. Required.
	URL string
	// AuthorizationFile holds the Authorization header's value; it is read for
	// each batch, so it may change. Default: none is sent.
	AuthorizationFile string
	// Share is the part of requests that begin a trace of their own and are
	// recorded, 0 to 1. Of those that come with one its sampled flag decides.
	Share float64
	// Service and Version name the process to the collector.
	Service, Version string
	// Logger is told that spans can't be sent. Default: nobody is.
	Logger *slog.Logger
}

// Tracer makes spans.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New makes a tracer without touching the network. Close ends it.
func New(ctx context.Context, o Options) (*Tracer, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, fmt.Errorf("%w: the collector's address must be like http://127.0.0.1:4318, without a password", ErrOptions)
	}
	if o.Share < 0 || o.Share > 1 {
		return nil, fmt.Errorf("%w: the share is between 0 and 1", ErrOptions)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	if o.Logger != nil {
		// The SDK has one place for this in a process.
		otel.SetErrorHandler(&complaints{log: o.Logger, collector: u.Host})
	}
	exporter, err := otlptrace.New(ctx, newClient(u.String(), o.AuthorizationFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", o.Service), attribute.String("service.version", o.Version),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithResource(about),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Share))),
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(maxQueued), sdk.WithMaxExportBatchSize(maxBatch),
			sdk.WithBatchTimeout(sendEvery), sdk.WithExportTimeout(sendTimeout)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/kong-prefect/kong-prefect")}, nil
}

// Close sends what waits, for a second at most.
func (t *Tracer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what can't be sent is lost, and nothing hangs on it
}

// complaints tells of spans that can't be sent, now and then.
type complaints struct {
	log       *slog.Logger
	collector string

	mu   sync.Mutex
	last time.Time
}

// Handle implements [otel.ErrorHandler].
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.last) >= complainEvery {
		c.last = now
		c.log.Warn("traces can't be sent; they are lost, and nothing else is", "collector", c.collector, "error", err)
	}
}
