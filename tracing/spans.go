package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// header is where a trace comes from and goes on.
const header = "traceparent"

// format is the header's (W3C Trace Context).
var format = propagation.TraceContext{}

// Event begins the span of a plugin's event, below the traceparent that the
// request came with; where that is none, or can't be read, it begins a trace.
// It returns the span's own traceparent, and what ends it.
func (t *Tracer) Event(name, traceparent string, began time.Time) (own string, end func(plugin.Done)) {
	ctx := format.Extract(context.Background(), propagation.MapCarrier{header: traceparent})
	ctx, span := t.tracer.Start(ctx, name, trace.WithTimestamp(began))
	carrier := propagation.MapCarrier{}
	format.Inject(ctx, carrier)
	return carrier[header], func(d plugin.Done) { t.end(ctx, span, d) }
}

// end gives an event's span all that there is to say.
func (t *Tracer) end(ctx context.Context, span trace.Span, d plugin.Done) {
	at := trace.WithTimestamp(d.Began.Add(d.Took))
	if !span.IsRecording() {
		span.End(at)
		return
	}
	for _, a := range [][2]string{
		{"kong_prefect.reason", d.Reason}, {"kong_prefect.run", d.Started}, {"kong_prefect.run_id", d.RunID}, {"kong_prefect.request_id", d.RequestID},
	} {
		if a[1] != "" {
			span.SetAttributes(attribute.String(a[0], a[1]))
		}
	}
	if d.Reason != "" {
		span.SetAttributes(attribute.Int("http.response.status_code", d.Status))
	}
	if d.Status >= 500 {
		span.SetStatus(codes.Error, d.Reason)
	}
	within := make([]context.Context, len(d.Steps))
	for i, s := range d.Steps {
		var step trace.Span
		within[i], step = t.tracer.Start(ctx, string(s.Stage), trace.WithTimestamp(s.Began))
		step.End(trace.WithTimestamp(s.Began.Add(s.Took)))
	}
	t.requests(ctx, within, d)
	span.End(at)
}

// requests are those to Prefect, each in the stage that made it.
func (t *Tracer) requests(ctx context.Context, within []context.Context, d plugin.Done) {
	for _, r := range d.Requests {
		parent := ctx
		for i, s := range d.Steps {
			if !r.Began.Before(s.Began) && !r.Began.After(s.Began.Add(s.Took)) {
				parent = within[i]
			}
		}
		_, span := t.tracer.Start(parent, "prefect: "+r.Operation, trace.WithTimestamp(r.Began), trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(attribute.String("server.address", r.Server)))
		if r.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", r.Status))
		}
		if r.Status == 0 || r.Status >= 400 {
			span.SetStatus(codes.Error, "")
		}
		span.End(trace.WithTimestamp(r.Began.Add(r.Took)))
	}
}
