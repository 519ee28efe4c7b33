package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/quota"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// start is the way of a POST: choose the deployment, read and check the
// parameters, decide, stamp, and create the run.
func (h *trigger) start(ctx context.Context, o order) (*reply, *Problem) {
	facts := o.facts()
	name, problem := h.selection.choose(facts)
	if problem != nil {
		return nil, problem
	}
	trail := trailOf(ctx)
	way := trail.way
	way.chose(name, nil)
	trailOf(ctx).chosen(h.config.Prefect.APIURL, name)
	clientKey, problem := idempotencyKey(o.idempotencyKey)
	if problem != nil {
		return nil, problem
	}
	body, problem := readObject(o.body, o.contentType, h.config.MaxBodyBytes)
	if problem != nil {
		return nil, problem
	}
	began := time.Now()
	d, problem := h.find(ctx, name)
	trail.step(StageDeployment, began)
	if problem != nil {
		return nil, problem
	}
	way.chose(name, d)
	began = time.Now()
	w, problem := h.decide(o, d, facts, name, body, way)
	trail.step(StagePolicy, began)
	if problem != nil {
		return nil, problem
	}
	w.clientKey = clientKey
	w.run.IdempotencyKey = stamp.IdempotencyKey(o.caller.Identity, o.parent, d.id, w.clientKey, o.requestID)
	return h.createCounted(ctx, o, d, w)
}

// decide is everything between the deployment and the run: may it run, with
// these parameters, for this caller.
func (h *trigger) decide(o order, d *resolved, facts policy.Facts, name string, body map[string]any, way *Way) (w wanted, problem *Problem) {
	if problem := h.executable(name, d); problem != nil {
		return w, problem
	}
	if w, problem = h.wanted(o, d, body); problem != nil {
		return w, problem
	}
	facts.Deployment, facts.Parameters = d.facts, w.parameters
	decision := h.policy.Decide(facts)
	way.decided(h.policy, facts, decision.Rule)
	if !decision.Allowed {
		return w, &Problem{Code: CodePolicyDenied, Cause: errors.Join(h.roleNotAllowed(o).Cause, decision.Failed)}
	}
	w.name, w.rule = name, decision.Rule
	return w, nil
}

// executable refuses runs that would wait for nobody knows how long. That is
// the operator's matter, not the caller's.
func (h *trigger) executable(name string, d *resolved) *Problem {
	switch {
	case d.facts.Paused && !h.config.AllowPaused:
		return &Problem{Code: CodeDeploymentPaused, Cause: fmt.Errorf("deployment %q is paused", name)}
	case !d.executed && !h.config.AllowWithoutWorkPool:
		return &Problem{Code: CodeDeploymentNoWorkPool, Cause: fmt.Errorf("deployment %q has no work pool, and no process serves it", name)}
	}
	return nil
}

// wanted is the run that a caller asks for.
type wanted struct {
	name       string // the deployment's
	clientKey  string
	rule       string
	parameters map[string]any // with the deployment's defaults
	run        stamp.Run
	fields     policy.Fields
	// asked is what came from this request, for its fingerprint.
	asked map[string]any
	place *quota.Place // nil: the route has no quota
}

// wanted makes the run's parameters, and says all that is wrong with them at
// once.
func (h *trigger) wanted(o order, d *resolved, body map[string]any) (w wanted, problem *Problem) {
	violations := policy.Forbidden(body)
	members, run, refused := policy.Split(body, h.config.BodyFields, func(name string) bool {
		return d.schema.Declares(name) || h.bindings.Takes(policy.FromBody, name)
	})
	violations = append(violations, refused...)
	if w.fields, refused = policy.ReadFields(run, stamp.ReservedTag, stamp.ReservedLabel); len(refused) > 0 {
		violations = append(violations, refused...)
	}
	parameters, refused := h.bindings.Bind(d.schema, policy.Values{
		Body: members, Query: o.query, Captures: o.target.captures, Headers: o.headers, Identity: o.caller.Identity,
	})
	violations = append(violations, refused...)
	// What else came in by query, header or claim gets the same look.
	if len(h.bindings.All()) > 0 {
		violations = append(violations, policy.Forbidden(parameters)...)
	}
	if slices.ContainsFunc(violations, func(v policy.Violation) bool { return v.Reason == policy.ReasonLimit }) {
		return w, problemOf(violations) // a closer look would cost what the limits are for
	}
	w.run = d.run("", parameters)
	w.parameters, w.asked = w.run.Parameters, parameters
	if len(run) > 0 {
		w.asked = map[string]any{"parameters": parameters, "fields": run}
	}
	violations = append(violations, d.schema.Check(w.parameters)...)
	if size, err := json.Marshal(w.parameters); err != nil || len(size) > policy.MaxParametersBytes {
		violations = append(violations, policy.Violation{Detail: fmt.Sprintf("are more than the %d bytes that Prefect takes", policy.MaxParametersBytes), Reason: policy.ReasonLimit})
	}
	return w, problemOf(violations)
}

// problemOf is one refusal for all violations. Its code is that of the gravest:
// a smuggled name before a value that merely doesn't fit.
func problemOf(list []policy.Violation) *Problem {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b policy.Violation) int { return strings.Compare(a.Pointer, b.Pointer) })
	list = slices.Compact(list)
	p := &Problem{Code: CodeParametersInvalid}
	for i, v := range list {
		if i < maxViolations {
			p.Violations = append(p.Violations, Violation{Pointer: v.Pointer, Detail: v.Detail, Code: v.Reason})
		}
		if p.Code == CodeParametersInvalid {
			p.Code = v.Reason
		}
	}
	return p
}

// maxViolations bounds an answer.
const maxViolations = 100

func (h *trigger) create(ctx context.Context, o order, d *resolved, w wanted) (*reply, *Problem) {
	cause := stamp.Cause{
		Caller: o.caller.Identity, Roles: o.caller.Roles, Rule: w.rule, RequestID: o.requestID,
		Team: h.config.Team, BusinessFunction: h.config.BusinessFunction,
		Parent: o.parent, Traceparent: o.traceparent, Run: w.run,
	}
	trail, began := trailOf(ctx), time.Now()
	if problem := trail.run(cause); problem != nil {
		return nil, problem
	}
	s, err := stamp.New(cause, h.stamp)
	trail.step(StageStamp, began)
	if err != nil {
		return nil, &Problem{Code: CodeStampFailed, Cause: err}
	}
	if problem := trail.allowed(ctx); problem != nil {
		return nil, problem
	}
	labels := maps.Clone(w.fields.Labels)
	if labels == nil {
		labels = map[string]any{}
	}
	maps.Copy(labels, s.Labels) // ours over theirs, whatever they are called
	asked := prefectclient.NewFlowRun{
		IdempotencyKey: w.run.IdempotencyKey,
		Fingerprint:    fingerprint(w.asked),
		Name:           w.fields.Name,
		Parameters:     w.parameters,
		Context:        s.Context,
		Tags:           append(s.Tags, w.fields.Tags...),
		Labels:         labels,
		CreatedBy:      createdBy(s),
		JobVariables:   w.fields.JobVariables,
		WorkQueueName:  w.fields.WorkQueueName,
	}
	trail.way.stamped(s, asked)
	if h.durable != nil {
		return h.createOrAccept(ctx, o, d, w, s, asked)
	}
	run, created, err := h.createNow(ctx, d, asked)
	return h.outcome(ctx, o, d, w, run, created, err)
}

// createNow asks Prefect.
func (h *trigger) createNow(ctx context.Context, d *resolved, asked prefectclient.NewFlowRun) (prefectclient.FlowRun, bool, error) {
	began := time.Now()
	defer func() { trailOf(ctx).step(StagePrefect, began) }()
	return h.client.CreateFlowRun(ctx, d.id, asked)
}

// outcome tells of what Prefect said.
func (h *trigger) outcome(ctx context.Context, o order, d *resolved, w wanted, run prefectclient.FlowRun, created bool, err error) (*reply, *Problem) {
	trail := trailOf(ctx)
	switch reason := prefectclient.ReasonOf(err); { // before the answer waits for the run's end
	case created, reason == prefectclient.ReasonOutcomeUnknown:
		w.place.Made(ctx)
	case err == nil && isRecent(run.Created), reason == prefectclient.ReasonIdempotencyKeyReused:
		w.place.WasThere(ctx)
	default:
		w.place.GiveBack(ctx)
	}
	if err != nil {
		problem := prefectProblem(w.name, err)
		if prefectclient.ReasonOf(err) == prefectclient.ReasonDeploymentNotFound {
			h.selection.forget(w.name, d)
		}
		trail.failed(ctx, problem)
		return nil, problem
	}
	trail.way.repeated(run)
	if err := trail.created(ctx, run, created); err != nil {
		h.process.log.Error("a run was created and can't be put on record", "run", run.ID, "request", o.requestID, "error", err)
	}
	return h.answerInTime(ctx, o, w.name, run, created)
}

// Run is what a caller is told of a run.
type Run struct {
	ID         uuid.UUID `json:"id"`
	Name       string    `json:"name"`
	State      RunState  `json:"state"`
	Deployment string    `json:"deployment"`
	// Created is false when an earlier request with the same Idempotency-Key
	// made the run, and where a request didn't ask for a new one.
	Created bool  `json:"created"`
	Links   Links `json:"links"`
}

// RunState is the run's state when the answer was made.
type RunState struct {
	Type string `json:"type"` // by Prefect's names: SCHEDULED, RUNNING, COMPLETED ...
	Name string `json:"name"`
}

// Links say where to look at the run.
type Links struct {
	// Status is at this gateway, below the route: GET reads it, DELETE cancels
	// the run. Empty where runs don't carry the stamp that says whose they are.
	Status string `json:"status,omitempty"`
	API    string `json:"api"`
	UI     string `json:"ui"`
}

// answer tells of a run that was asked for.
func (h *trigger) answer(o order, deployment string, run prefectclient.FlowRun, created bool) (*reply, *Problem) {
	r, problem := h.replyOf(o.target, deployment, run, created)
	if problem != nil {
		return nil, problem
	}
	if created {
		r.status = http.StatusCreated
	}
	r.line = fmt.Sprintf("run: id=%s created=%t deployment=%q caller=%q issuer=%q kind=%s request_id=%s",
		run.ID, created, deployment, o.caller.Identity.Display(), o.caller.Identity.Issuer, o.caller.Identity.Kind, o.requestID)
	return r, nil
}

func (h *trigger) replyOf(t target, deployment string, run prefectclient.FlowRun, created bool) (*reply, *Problem) {
	links := Links{Status: h.statusOf(t, run.ID.String())}
	links.API, links.UI = h.runLinks(run.ID.String())
	location := links.Status
	if location == "" {
		location = links.API
	}
	return jsonReply(Run{
		ID: run.ID, Name: run.Name, State: RunState{run.State.Type, run.State.Name},
		Deployment: deployment, Created: created, Links: links,
	}, header("Location", location))
}

func (h *trigger) runLinks(id string) (api, ui string) {
	return strings.TrimSuffix(h.config.Prefect.APIURL, "/") + "/flow_runs/" + id, h.uiURL + "/runs/flow-run/" + id
}
