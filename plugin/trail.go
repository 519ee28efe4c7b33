package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// trail is one request's way: into the audit, whose records are made of event
// as the plugin fills it in, into the metrics and into the traces.
type trail struct {
	hooks  Hooks
	log    *audit.Log
	began  time.Time
	event  audit.Event
	config AuditConfig
	way    *Way // nil: nobody asks

	started string // RunCreated or RunRepeated
	steps   []Step // nil: nobody asks

	traceparent string // of the event's own span; empty: there are no traces
	endSpan     func(Done)
	mu          sync.Mutex
	sent        []prefectclient.Sent // where there are traces
}

// audited notes where every request of a handler goes.
type audited struct {
	process *Process
	plugin  string
	digest  string
	next    pluginserver.Handler
}

// audited puts a configuration on record and returns the handler that notes
// its requests. config is the struct that it is read into.
func (p *Process) audited(plugin string, data []byte, config reflect.Type, next pluginserver.Handler) pluginserver.Handler {
	h := &audited{process: p, plugin: plugin, digest: publicDigest(data, config), next: next}
	p.inUse(plugin, h.digest, next)
	return h
}

type trailKey struct{}

// Access hands on with a new trail in the context.
func (h *audited) Access(ctx context.Context, e *pluginserver.Event) {
	if h.process.Notices != nil {
		h.process.Notices(e.Log)
	}
	t := &trail{
		log: h.process.Audit, hooks: h.process.Hooks, began: time.Now(),
		event: audit.Event{Plugin: h.plugin, ConfigDigest: h.digest}, way: wayOf(ctx),
	}
	if t.hooks.Done != nil || t.hooks.Trace != nil {
		t.steps = make([]Step, 0, len(Stages))
	}
	t.observe(ctx, h.next, e)
}

// trailOf is the request's trail; a handler that nobody audits gets one that
// leads nowhere.
func trailOf(ctx context.Context) *trail {
	if t, ok := ctx.Value(trailKey{}).(*trail); ok {
		return t
	}
	return &trail{began: time.Now()}
}

// arrived notes what a request says before anybody knows whose it is.
func (t *trail) arrived(headers []pluginserver.Header) {
	var values []string
	for _, h := range headers {
		if h.Name == traceHeader {
			values = h.Values
		}
	}
	t.event.TraceID = traceID(t.traced(values))
}

// known notes whose request it is, by a token that was verified.
func (t *trail) known(c Caller) {
	t.event.Caller, t.event.Roles = audit.CallerOf(c.Identity), c.Roles
}

// caller notes who asks, what with, and what the route wants on record.
func (t *trail) caller(o order, c AuditConfig) {
	t.config = c
	t.event.Caller = audit.CallerOf(o.caller.Identity)
	t.event.Roles = o.caller.Roles
	t.event.RequestID = o.requestID
	t.event.Method = o.method
	t.event.Basis = t.basis(o.caller.Identity, "") // targeted knows the parent
	t.event.TraceID = traceID(o.traceparent)
	t.event.SourceAddress = o.address
}

// basis is what roles are given by; nobody reads it where nothing is recorded.
func (t *trail) basis(caller claims.Identity, parentRequest string) *audit.Basis {
	if t.log == nil {
		return nil
	}
	return audit.BasisOf(caller, parentRequest)
}

// requestOf is the request that made the run which asks.
func requestOf(parent *stamp.Claims) string {
	if parent == nil {
		return ""
	}
	return parent.RequestID
}

// targeted notes where the request goes, without what a template takes out of
// the path: that may be a parameter.
func (t *trail) targeted(template, path string, parent *stamp.Claims) {
	if t.event.Path = path; template != "" {
		t.event.Path = template
	}
	if t.event.Basis != nil {
		t.event.Basis.ParentRequestID = requestOf(parent)
	}
}

// passing notes who asks for what at the guard.
func (t *trail) passing(ctx context.Context, e *pluginserver.Event, r guard.Request, server string, c GuardAuditConfig) {
	t.config = AuditConfig{Required: c.Required, Durable: c.Durable}
	t.event.Caller = audit.CallerOf(r.Caller)
	t.event.Roles, t.event.RequestID, t.event.Method = r.Roles, r.RequestID, r.Method
	t.event.Basis, t.event.Path = t.basis(r.Caller, requestOf(r.Parent)), r.Path
	t.event.Detail = r.Method + " " + r.Path
	t.event.Prefect = server
	t.event.TraceID = traceID(r.Traceparent)
	t.address(ctx, e)
}

// opened notes which operation it is.
func (t *trail) opened(p *guard.Passage) {
	t.event.RunID, t.event.DeploymentID = p.Names()
	t.event.Permission = p.Route.Permission
}

// passed puts on record that a request goes to Prefect's API, a record for
// each run that it is to create: by its idempotency key the run is found later.
// Reads change nothing: they are on record where the route wants it.
func (t *trail) passed(ctx context.Context, p *guard.Passage, runs []stamp.Run, reads bool) *Problem {
	t.event.Rule = "guard:" + p.Route.Permission
	read := strings.HasPrefix(p.Route.Permission, "see_") || p.Route.Permission == "connect"
	if read && !reads {
		return nil
	}
	if len(runs) == 0 {
		return t.allowed(ctx)
	}
	durable := t.config.Durable
	for i, run := range runs {
		if problem := t.asked(run); problem != nil {
			return problem
		}
		// What is on the disk has all before it there as well.
		t.config.Durable = durable && i == len(runs)-1
		if problem := t.allowed(ctx); problem != nil {
			return problem
		}
	}
	return nil
}

// address notes where the request came from. That it can't be had stops
// nobody.
func (t *trail) address(ctx context.Context, e *pluginserver.Event) {
	if address, err := e.Var(ctx, varAddress); err == nil {
		t.event.SourceAddress = address
	}
}

// chosen notes which deployment is asked for.
func (t *trail) chosen(server, deployment string) {
	t.event.Prefect, t.event.Deployment = server, deployment
}

// run notes which run is asked for.
func (t *trail) run(cause stamp.Cause) *Problem {
	t.event.Roles, t.event.Rule = cause.Roles, cause.Rule
	if t.log != nil {
		t.event.InClear(t.config.Parameters, cause.Run.Parameters)
	}
	return t.asked(cause.Run)
}

// asked notes what the run is found by, and its parameters' hash.
func (t *trail) asked(run stamp.Run) *Problem {
	t.event.DeploymentID = ""
	if run.DeploymentID != uuid.Nil {
		t.event.DeploymentID = run.DeploymentID.String()
	}
	t.event.IdempotencyKey = run.IdempotencyKey
	sum, err := stamp.ParametersHash(run.Parameters, run.ServerParameters)
	if err != nil {
		return &Problem{Code: CodeStampFailed, Cause: err}
	}
	t.event.ParametersSHA256 = sum
	return nil
}

// cancel notes whose end is asked for.
func (t *trail) cancel(server string, found foundRun) {
	t.event.Prefect, t.event.Deployment, t.event.DeploymentID = server, found.deployment, found.run.DeploymentID.String()
	t.event.RunID, t.event.Rule, t.event.Detail = found.run.ID.String(), found.rule, "cancel the run"
}

// allowed puts the decision on record, before anything is done. What can't be
// put on record must not happen.
func (t *trail) allowed(ctx context.Context) *Problem {
	if t.log == nil {
		if t.config.Required && t.way == nil {
			return &Problem{Code: CodeAuditUnavailable, Cause: errors.New("the process was started without --audit")}
		}
		return nil
	}
	if err := t.append(ctx, audit.AccessAllowed, t.config.Durable); err != nil {
		return &Problem{Code: CodeAuditUnavailable, Cause: err}
	}
	return nil
}

// created puts on record what Prefect answered. The run is there, so nothing
// is refused any more: the operator hears of it.
func (t *trail) created(ctx context.Context, run prefectclient.FlowRun, created bool) error {
	t.event.RunID = run.ID.String()
	kind := audit.RunCreated
	t.started = RunCreated
	if !created {
		kind, t.started = audit.RunRepeated, RunRepeated
	}
	return t.append(ctx, kind, t.config.Durable)
}

// accepted puts on record that the request is on the disk for Prefect, which
// is away. It can't be taken back: the operator hears of it.
func (t *trail) accepted(ctx context.Context) error {
	return t.append(ctx, audit.RunAccepted, t.config.Durable)
}

// failed puts on record that Prefect gave no good answer: the refusal's own
// record follows, and tells why.
func (t *trail) failed(ctx context.Context, p *Problem) {
	if p.Code == CodeOutcomeUnknown {
		t.event.Reason = p.Code
		_ = t.append(ctx, audit.RunUnknown, t.config.Durable)
	}
}

// refused puts a refusal on record. It is refused all the same if that fails:
// the error is for the operator.
func (t *trail) refused(ctx context.Context, p *Problem, requestID string) error {
	t.event.Reason, t.event.Status = p.Code, kindOf(p.Code).status
	if t.event.RequestID == "" {
		t.event.RequestID = requestID
	}
	return t.append(ctx, audit.AccessRefused, false)
}

func (t *trail) append(ctx context.Context, kind audit.Type, durable bool) error {
	if t.log == nil {
		return nil
	}
	defer t.step(StageAudit, time.Now())
	e := t.event
	e.Type = kind
	e.LatencyMicros = time.Since(t.began).Microseconds()
	if err := t.log.Append(ctx, e, durable); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// traceID is the trace of a W3C traceparent: version-trace-parent-flags.
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}
