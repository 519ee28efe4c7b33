package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/quota"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// trigger is prefect-trigger with one configuration: one route. start.go is
// its way for a POST.
type trigger struct {
	config    TriggerConfig
	client    *prefectclient.Client
	selection *selection
	policy    *policy.Policy
	bindings  *policy.Bindings
	quota     *quota.Quota // nil: any number of runs
	uiURL     string
	process   *Process
	stamp     stamp.Options
	durable   *durable // nil: nothing is accepted while Prefect is away
}

func compileTrigger(p *Process, data []byte) (*trigger, error) {
	h := &trigger{process: p}
	if err := decodeConfig(data, &h.config); err != nil {
		return nil, err
	}
	c := h.config
	var problems []error
	note := func(field string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s%w", field, err))
		}
	}
	client, err := p.prefect(c.Prefect)
	note("prefect: ", err)
	if err == nil {
		h.client = client.Route(c.routeName())
	}
	h.stamp, err = p.stampOptions(c.Stamp)
	note("", err)
	h.selection, err = newSelection(c, h.client)
	note("", err)
	h.quota, err = p.quota(c)
	note("quota: ", err)
	h.policy, err = p.policyOf(c.AllowRoles, c.Allow)
	note("", err)
	h.bindings, err = policy.NewBindings(bindingsOf(c.Parameters), h.selection.path.names)
	note("", err)
	for _, field := range c.BodyFields {
		if h.bindings.Takes(policy.FromBody, field) {
			note("body_fields: ", fmt.Errorf("callers set %s by the member from which a parameter is taken; give the parameter another path", field))
		}
	}
	h.durable, err = p.durable(c)
	note("durable.", err)
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if h.uiURL = c.Prefect.UIURL; h.uiURL == "" {
		h.uiURL = prefectclient.UIURL(c.Prefect.APIURL)
	}
	h.uiURL = strings.TrimSuffix(h.uiURL, "/")
	return h, nil
}

// routeName tells routes apart that share a server's connections.
func (c TriggerConfig) routeName() string {
	if c.Deployment != "" {
		return c.Deployment
	}
	for _, d := range c.Deployments {
		return d.Deployment
	}
	return strings.Join(c.Choose, " ")
}

func bindingsOf(configured []ParameterConfig) []policy.Binding {
	list := make([]policy.Binding, len(configured))
	for i, p := range configured {
		list[i] = policy.Binding{Name: p.Name, From: policy.Source(p.From), Path: p.Path, Value: p.Value, Default: p.Default}
	}
	return list
}

// Access reads the request once, does what it asks for, and answers once.
func (h *trigger) Access(ctx context.Context, e *pluginserver.Event) {
	o, problem := h.readOrder(ctx, e)
	if problem == nil {
		trailOf(ctx).caller(o, h.config.Audit)
		trailOf(ctx).chosen(h.config.Prefect.APIURL, h.selection.only())
		var r *reply
		if r, problem = h.serve(ctx, o); problem == nil {
			if r.line != "" {
				e.Log(pluginserver.LevelNotice, r.line)
			}
			e.Exit(r.status, r.body, r.headers)
			return
		}
	}
	refuse(ctx, e, DefaultRealm, problem)
}

// reply is what a caller gets whom nothing refused.
type reply struct {
	status  int
	body    []byte
	headers []pluginserver.Header
	line    string // for the operator's log; empty: none
}

// serve admits the caller and goes the way of the request's method.
func (h *trigger) serve(ctx context.Context, o order) (*reply, *Problem) {
	parent, problem := h.process.parentOf(o.parentStamp)
	if problem != nil {
		return nil, problem
	}
	o.parent = parent
	o.caller.Roles = stamp.Roles(o.caller.Roles, parent)
	trailOf(ctx).way.ordered(o)
	trailOf(ctx).targeted(h.config.Path, o.path, parent)
	if !h.policy.MayAllow(o.caller.Roles) && !h.seesAll(o) {
		trailOf(ctx).way.decided(h.policy, o.facts(), "")
		return nil, h.roleNotAllowed(o)
	}
	var inside bool
	if o.target, inside = h.selection.path.read(o.path); !inside && o.method == http.MethodGet {
		o.target, inside = h.selection.path.readFront(o.path)
	}
	if !inside {
		return nil, &Problem{Code: CodePathUnknown}
	}
	switch {
	case o.target.runID != uuid.Nil:
		return h.serveRun(ctx, o)
	case !h.policy.MayAllow(o.caller.Roles):
		return nil, h.roleNotAllowed(o) // who may see runs need not start any
	case o.method == http.MethodPost:
		return h.start(ctx, o)
	case o.method == http.MethodGet:
		return h.describe(ctx, o)
	default:
		return nil, &Problem{Code: CodeMethodNotAllowed, Allow: "GET, POST"}
	}
}

func (h *trigger) roleNotAllowed(o order) *Problem {
	return &Problem{Code: CodeRoleNotAllowed, Cause: fmt.Errorf("caller %q of %s has roles %q, the route allows %q",
		o.caller.Identity.Subject, o.caller.Identity.Issuer, o.caller.Roles, h.config.AllowRoles)}
}

// facts are what the route's conditions look at, before the deployment and the
// parameters are known.
func (o order) facts() policy.Facts {
	return policy.Facts{
		Identity: policy.CallerOf(o.caller.Identity, o.caller.Roles),
		Request: policy.Request{
			ID: o.requestID, Method: o.method, Path: o.path, SourceAddress: o.address,
			Query: singles(o.query), Headers: singles(o.headers), Captures: o.target.captures,
		},
		Now: time.Now(),
	}
}

// singles are what came exactly once.
func singles(all map[string][]string) map[string]string {
	once := make(map[string]string, len(all))
	for name, values := range all {
		if len(values) == 1 {
			once[name] = values[0]
		}
	}
	return once
}
