package plugin

import (
	"context"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// Hooks are told what happens in the process, for its metrics. They are called
// in the request's own goroutine and must return at once. Each may be nil.
type Hooks struct {
	// Done is told of every plugin's event, when its answer is ready.
	Done func(Done)
	// Trace begins the span of an event, below the traceparent that the
	// request came with, if any. It returns the span's own traceparent, and
	// what ends it.
	Trace func(plugin, traceparent string, began time.Time) (own string, end func(Done))
	// PrefectSent is told of every request to a Prefect server, and
	// PrefectEvent of what else its client does.
	PrefectSent  func(prefectclient.Sent)
	PrefectEvent func(prefectclient.Event)
}

// Done is one plugin's event for one request.
type Done struct {
	Plugin string
	// Reason is the refusal's code, the same as in answer, log and audit;
	// empty: the request was let pass or answered.
	Reason string
	Status int // HTTP, of a refusal
	// Started says that Prefect has a run because of the request: [RunCreated]
	// or [RunRepeated]. Empty: none was asked for.
	Started string
	Began   time.Time
	Took    time.Duration
	// Steps are in the order of their end.
	Steps []Step

	// For a trace alone: they are as many as requests.
	RequestID, RunID string
	Requests         []prefectclient.Sent // to Prefect, where the event is traced
}

// What may be said of a run in [Done.Started].
const (
	RunCreated  = "created"
	RunRepeated = "repeated" // Prefect had it, under the same idempotency key
)

// Stage is a part of a request's way.
type Stage string

// The stages.
const (
	StageToken      Stage = "token"      // is it true
	StageCaller     Stage = "caller"     // the token's identity, roles and consumer
	StageDeployment Stage = "deployment" // which one; Prefect is asked where it isn't known
	StagePolicy     Stage = "policy"     // may they, and with these parameters
	StageStamp      Stage = "stamp"      // what is written onto the run
	StageAudit      Stage = "audit"      // it is on record
	StagePrefect    Stage = "prefect"    // Prefect has the run
	StageWait       Stage = "wait"       // for the run's end
)

// Stages are all there are.
var Stages = []Stage{StageToken, StageCaller, StageDeployment, StagePolicy, StageStamp, StageAudit, StagePrefect, StageWait}

// Step is one stage of one event.
type Step struct {
	Stage Stage
	Began time.Time
	Took  time.Duration
}

// observe runs the event's handler and tells what became of it. A panic goes
// on to the server, which answers.
func (t *trail) observe(ctx context.Context, next pluginserver.Handler, e *pluginserver.Event) {
	reason := pluginserver.ReasonPanic
	defer func() {
		if t.hooks.Done == nil && t.endSpan == nil {
			return
		}
		d := Done{
			Plugin: t.event.Plugin, Reason: reason, Status: t.event.Status, Started: t.started,
			Began: t.began, Took: time.Since(t.began), Steps: t.steps,
			RequestID: t.event.RequestID, RunID: t.event.RunID, Requests: t.requests(),
		}
		if t.hooks.Done != nil {
			t.hooks.Done(d)
		}
		if t.endSpan != nil {
			t.endSpan(d)
		}
	}()
	next.Access(context.WithValue(ctx, trailKey{}, t), e)
	reason = t.event.Reason
}

// traceHeader is where a request's trace is (W3C Trace Context).
const traceHeader = "traceparent"

// traced begins the event's span, where there are traces, and gives the
// traceparent under which the request goes on.
func (t *trail) traced(values []string) string {
	came := strings.Join(values, ",") // two of them are none that can be read
	if t.hooks.Trace == nil {
		return came
	}
	t.traceparent, t.endSpan = t.hooks.Trace(t.event.Plugin, came, t.began)
	return t.traceparent
}

// handOn is the header that carries the trace to the plugins that follow and
// to the upstream; none where there are no traces.
func (t *trail) handOn() []pluginserver.Header {
	if t.traceparent == "" {
		return nil
	}
	return []pluginserver.Header{header(traceHeader, t.traceparent)}
}

// requested notes a request to Prefect. It may come from another goroutine,
// and after the event: what several requests wait for has its own life.
func (t *trail) requested(r prefectclient.Sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = append(t.sent, r)
}

func (t *trail) requests() []prefectclient.Sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}

// step notes a stage that ends now.
func (t *trail) step(s Stage, began time.Time) {
	if t.steps == nil {
		return
	}
	t.steps = append(t.steps, Step{Stage: s, Began: began, Took: time.Since(began)})
}

// sent hands a request to Prefect on.
func (p *Process) sent(ctx context.Context, r prefectclient.Sent) {
	if p.Hooks.Trace != nil {
		trailOf(ctx).requested(r)
	}
	if p.Hooks.PrefectSent != nil {
		p.Hooks.PrefectSent(r)
	}
}

// Broken says that the configuration can't work.
func (h *audited) Broken() bool {
	_, broken := h.next.(*broken)
	return broken
}

// PrefectStats tells how the process stands with its Prefect servers, one
// entry for each API's address.
func (p *Process) PrefectStats() []prefectclient.Stats {
	p.mu.Lock()
	clients := make([]*prefectclient.Client, 0, len(p.servers))
	for _, s := range p.servers {
		clients = append(clients, s.client())
	}
	p.mu.Unlock()
	all := make([]prefectclient.Stats, len(clients))
	for i, c := range clients {
		all[i] = c.Stats()
	}
	return all
}

// Waiting is how many answers wait for a run's end.
func (p *Process) Waiting() int { return int(p.waiters.Load()) }

// Refusals are the codes of all refusals, with their HTTP status.
func Refusals() map[string]int {
	all := make(map[string]int, len(kinds))
	for code, k := range kinds {
		all[code] = k.status
	}
	return all
}
