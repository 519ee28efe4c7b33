package plugin

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// describe is the way of a GET: what this caller may start here, as an OpenAPI
// document (docs/decisions/0008). It refuses whom every start would refuse.
func (h *trigger) describe(ctx context.Context, o order) (*reply, *Problem) {
	facts := o.facts()
	facts.Request.Method = http.MethodPost // it is asked about starting
	if h.selection.open(o.target) {
		return h.list(ctx, o, facts)
	}
	name, problem := h.selection.choose(facts)
	if problem != nil {
		return nil, problem
	}
	d, problem := h.selection.find(ctx, name)
	if problem != nil {
		return nil, problem
	}
	if problem := h.executable(name, d); problem != nil {
		return nil, problem
	}
	facts.Deployment = d.facts
	if !h.policy.MayStart(facts) {
		return nil, &Problem{Code: CodePolicyDenied, Cause: h.roleNotAllowed(o).Cause}
	}
	if problem := problemOf(h.bindings.Lacking(o.caller.Identity)); problem != nil {
		return nil, problem
	}
	// A part of the path that is a parameter is the caller's to choose; any
	// other stays as it was asked for.
	literal := maps.Clone(o.target.captures)
	maps.DeleteFunc(literal, func(part, _ string) bool { return h.bindings.Takes(policy.FromCapture, part) })
	return jsonReply(description{
		name: name, version: d.version, text: d.text,
		path:  h.selection.path.write(o.target.base, literal),
		runs:  h.tellsWhose(),
		offer: h.bindings.Offer(d.schema, d.defaults, h.config.BodyFields),
	}.document())
}

// list names the deployments that this caller may choose, each with the
// address of its own description.
func (h *trigger) list(ctx context.Context, o order, facts policy.Facts) (*reply, *Problem) {
	all, err := h.selection.all(ctx)
	if err != nil {
		return nil, prefectProblem(strings.Join(h.config.Choose, " "), err)
	}
	var offered []listed
	for _, d := range all {
		name := d.FlowName + "/" + d.Name
		captures := maps.Clone(o.target.captures)
		if flow, chosen := captures[partFlow]; chosen && flow != d.FlowName || !h.selection.offers(name) {
			continue
		}
		if deployment, chosen := captures[partDeployment]; chosen && deployment != d.Name {
			continue
		}
		captures[partFlow], captures[partDeployment] = d.FlowName, d.Name
		facts.Deployment, facts.Request.Captures = factsOf(d), captures
		if h.executable(name, &resolved{facts: facts.Deployment, executed: isExecuted(d)}) != nil || !h.policy.MayStart(facts) {
			continue
		}
		offered = append(offered, listed{name, d.Description, h.selection.path.write("", captures)})
	}
	return jsonReply(listDocument(offered))
}

// open tells whether the caller has the choice still before them.
func (s *selection) open(t target) bool {
	_, flow := t.captures[partFlow]
	_, deployment := t.captures[partDeployment]
	return len(s.choices) > 0 && !(flow && deployment)
}

// all lists the server's deployments, as old as a resolved one may be;
// requests that come together ask Prefect once.
func (s *selection) all(ctx context.Context) ([]prefectclient.Deployment, error) {
	return s.listing.get(ctx, s.client.Deployments)
}
