package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// trigger is prefect-trigger with one configuration: one route, one
// deployment.
type trigger struct {
	config     TriggerConfig
	client     *prefectclient.Client
	deployment *deployment
	uiURL      string
	process    *Process
	stamp      stamp.Options
}

func compileTrigger(p *Process, data []byte) (*trigger, error) {
	var c TriggerConfig
	if err := decodeConfig(data, &c); err != nil {
		return nil, err
	}
	var problems []error
	name, err := parseDeploymentName(c.Deployment)
	if err != nil {
		problems = append(problems, fmt.Errorf("deployment: %w", err))
	}
	client, err := p.prefect(c.Prefect)
	if err != nil {
		problems = append(problems, fmt.Errorf("prefect: %w", err))
	}
	stamping, err := p.stampOptions(c.Stamp)
	if err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	ui := c.Prefect.UIURL
	if ui == "" {
		ui = prefectclient.UIURL(c.Prefect.APIURL)
	}
	client = client.Route(c.Deployment)
	return &trigger{
		config: c, client: client, uiURL: strings.TrimSuffix(ui, "/"),
		deployment: newDeployment(client, name, time.Now),
		process:    p, stamp: stamping,
	}, nil
}

// triggerReads is what prefect-trigger always needs of a request.
var triggerReads = []pluginserver.Read{
	pluginserver.ReadShared(SharedIdentity), pluginserver.ReadVar(varRequestID),
	pluginserver.ReadMethod(), pluginserver.ReadHeaders(), pluginserver.ReadRawBody(),
}

// order is a request to start a run, as read from Kong.
type order struct {
	caller         Caller
	requestID      string
	method         string
	contentType    []string
	idempotencyKey []string
	parentStamp    []string
	prefer         []string
	traceparent    string
	body           pluginserver.RawBody
}

// Access reads the request once, starts the run, and answers once.
func (h *trigger) Access(ctx context.Context, e *pluginserver.Event) {
	o, problem := readOrder(ctx, e)
	if problem == nil {
		trailOf(ctx).caller(o, h.config.Audit)
		var started *started
		if started, problem = h.start(ctx, o); problem == nil {
			e.Log(pluginserver.LevelNotice, started.line(o))
			e.Exit(started.status, started.body, started.headers)
			return
		}
	}
	refuse(ctx, e, DefaultRealm, problem)
}

func readOrder(ctx context.Context, e *pluginserver.Event) (o order, problem *Problem) {
	if o.caller, problem = callerOf(ctx, e); problem != nil {
		return o, problem
	}
	var headers []pluginserver.Header
	var problems [4]error
	o.requestID, problems[0] = e.Var(ctx, varRequestID)
	o.method, problems[1] = e.Method(ctx)
	headers, problems[2] = e.Headers(ctx)
	o.body, problems[3] = e.RawBody(ctx)
	if errors.Is(problems[3], pluginserver.ErrFrameTooLarge) {
		return o, &Problem{Code: CodeBodyTooLarge, Cause: problems[3]}
	}
	err := errors.Join(problems[:]...)
	if err == nil && o.requestID == "" {
		// It keeps two requests without an Idempotency-Key apart.
		err = errors.New("kong gave no request id")
	}
	if err != nil {
		return o, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	o.prefer = preferOf(headers)
	for _, hd := range headers {
		switch hd.Name {
		case "content-type":
			o.contentType = hd.Values
		case "idempotency-key":
			o.idempotencyKey = hd.Values
		case parentStampHeader:
			o.parentStamp = hd.Values
		case "traceparent":
			o.traceparent = strings.Join(hd.Values, ",")
		}
	}
	return o, nil
}

// start is the plugin's whole way: decide, read the parameters, find the
// deployment, check the parameters against it, stamp, and create the run.
func (h *trigger) start(ctx context.Context, o order) (*started, *Problem) {
	parent, problem := h.process.parentOf(o.parentStamp)
	if problem != nil {
		return nil, problem
	}
	o.caller.Roles = stamp.Roles(o.caller.Roles, parent)
	decision := policy.Decide(o.caller.Roles, h.config.AllowRoles)
	if !decision.Allowed {
		return nil, &Problem{Code: CodeRoleNotAllowed, Cause: fmt.Errorf(
			"caller %q of %s has roles %q, the route allows %q", o.caller.Identity.Subject, o.caller.Identity.Issuer, o.caller.Roles, h.config.AllowRoles)}
	}
	if o.method != http.MethodPost {
		return nil, &Problem{Code: CodeMethodNotAllowed}
	}
	clientKey, problem := idempotencyKey(o.idempotencyKey)
	if problem != nil {
		return nil, problem
	}
	parameters, problem := readParameters(o.body, o.contentType, h.config.MaxBodyBytes)
	if problem != nil {
		return nil, problem
	}
	return h.create(ctx, o, stamp.Cause{
		Caller: o.caller.Identity, Roles: o.caller.Roles, Rule: decision.Rule, RequestID: o.requestID,
		Team: h.config.Team, BusinessFunction: h.config.BusinessFunction,
		Parent: parent, Traceparent: o.traceparent,
	}, clientKey, parameters)
}

func (h *trigger) create(ctx context.Context, o order, cause stamp.Cause, clientKey string, parameters map[string]any) (*started, *Problem) {
	d, err := h.deployment.find(ctx)
	if err != nil {
		return nil, h.prefectProblem(err)
	}
	cause.Run = d.run(stamp.IdempotencyKey(o.caller.Identity, d.id, clientKey, o.requestID), parameters)
	if violations := d.schema.Check(cause.Run.Parameters); len(violations) > 0 {
		return nil, &Problem{Code: CodeParametersInvalid, Violations: violationsOf(violations)}
	}
	trail := trailOf(ctx)
	if problem := trail.run(h.config.Prefect.APIURL, h.config.Deployment, cause); problem != nil {
		return nil, problem
	}
	s, err := stamp.New(cause, h.stamp)
	if err != nil {
		return nil, &Problem{Code: CodeStampFailed, Cause: err}
	}
	if problem := trail.allowed(ctx); problem != nil {
		return nil, problem
	}
	run, created, err := h.client.CreateFlowRun(ctx, d.id, prefectclient.NewFlowRun{
		IdempotencyKey: cause.Run.IdempotencyKey,
		Fingerprint:    fingerprint(parameters),
		Parameters:     cause.Run.Parameters,
		Context:        s.Context,
		Tags:           s.Tags,
		Labels:         s.Labels,
		CreatedBy:      createdBy(s),
	})
	if err != nil {
		if prefectclient.ReasonOf(err) == prefectclient.ReasonDeploymentNotFound {
			h.deployment.forget(d)
		}
		problem := h.prefectProblem(err)
		trail.failed(ctx, problem)
		return nil, problem
	}
	if err := trail.created(ctx, run, created); err != nil {
		h.process.log.Error("a run was created and can't be put on record", "run", run.ID, "request", o.requestID, "error", err)
	}
	return h.answerInTime(ctx, o.prefer, run, created)
}

// started is the answer for a run that exists.
type started struct {
	status  int
	body    []byte
	headers []pluginserver.Header
	runID   uuid.UUID
	created bool
}

// Run is the answer's body.
type Run struct {
	ID         uuid.UUID `json:"id"`
	Name       string    `json:"name"`
	State      RunState  `json:"state"`
	Deployment string    `json:"deployment"`
	// Created is false when an earlier request with the same Idempotency-Key
	// made the run.
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
	API string `json:"api"`
	UI  string `json:"ui"`
}

func (h *trigger) answer(run prefectclient.FlowRun, created bool) (*started, *Problem) {
	links := Links{
		API: strings.TrimSuffix(h.config.Prefect.APIURL, "/") + "/flow_runs/" + run.ID.String(),
		UI:  h.uiURL + "/runs/flow-run/" + run.ID.String(),
	}
	body, err := json.Marshal(Run{
		ID: run.ID, Name: run.Name, State: RunState{run.State.Type, run.State.Name},
		Deployment: h.config.Deployment, Created: created, Links: links,
	})
	if err != nil {
		return nil, &Problem{Code: CodePrefectRefused, Cause: err}
	}
	s := &started{status: http.StatusOK, body: append(body, '\n'), runID: run.ID, created: created}
	s.headers = []pluginserver.Header{header("Content-Type", "application/json"), header("Cache-Control", "no-store"), header("Location", links.API)}
	if created {
		s.status = http.StatusCreated
	}
	return s, nil
}

// line is what the operator reads of a run that was started.
func (s *started) line(o order) string {
	return fmt.Sprintf("run: id=%s created=%t caller=%q issuer=%q kind=%s request_id=%s",
		s.runID, s.created, o.caller.Identity.Display(), o.caller.Identity.Issuer, o.caller.Identity.Kind, o.requestID)
}
