package plugin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// serveRun is the way of a request about one run, by its id below the route.
func (h *trigger) serveRun(ctx context.Context, o order) (*reply, *Problem) {
	switch o.method {
	case http.MethodGet:
		if e, found, problem := h.acceptedEntry(ctx, o); problem != nil {
			return nil, problem
		} else if found {
			return h.statusReply(o, e)
		}
		return h.status(ctx, o)
	case http.MethodDelete:
		return h.cancel(ctx, o)
	default:
		return nil, &Problem{Code: CodeMethodNotAllowed, Allow: "GET, DELETE"}
	}
}

// status tells how a run is. It waits for the run's end where the caller
// prefers that.
func (h *trigger) status(ctx context.Context, o order) (*reply, *Problem) {
	found, problem := h.lookUp(ctx, o)
	if problem != nil {
		return nil, problem
	}
	if wait, asked := h.wait(o.prefer); asked && wait > 0 {
		found.run, _ = h.await(ctx, wait, found.run)
	}
	return h.replyOf(o.target, found.deployment, found.run, false)
}

// cancel asks for a run's end. A run that is cancelled already may be
// cancelled again.
func (h *trigger) cancel(ctx context.Context, o order) (*reply, *Problem) {
	found, problem := h.lookUp(ctx, o)
	if problem != nil {
		return nil, problem
	}
	if found.rule = h.ruleFor(o, found.run, http.MethodDelete); found.rule == "" {
		return nil, h.roleNotAllowed(o) // who may see it and no more
	}
	trail := trailOf(ctx)
	trail.cancel(h.config.Prefect.APIURL, found)
	if problem := trail.allowed(ctx); problem != nil {
		return nil, problem
	}
	state, err := h.client.CancelFlowRun(ctx, found.run.ID, "(set by "+o.caller.Identity.Display()+")")
	if prefectclient.ReasonOf(err) == prefectclient.ReasonNotFound {
		return nil, &Problem{Code: CodeRunUnknown}
	}
	if err != nil {
		return nil, prefectProblem(found.deployment, err)
	}
	if state.Final() && state.Type != "CANCELLED" {
		return nil, &Problem{Code: CodeRunEnded, Detail: "Its state is " + state.Type + "."}
	}
	found.run.State = state
	r, problem := h.replyOf(o.target, found.deployment, found.run, false)
	if problem != nil {
		return nil, problem
	}
	if !state.Final() {
		r.status = http.StatusAccepted
	}
	r.line = fmt.Sprintf("cancel: id=%s state=%s deployment=%q caller=%q issuer=%q rule=%q request_id=%s",
		found.run.ID, state.Type, found.deployment, o.caller.Identity.Display(), o.caller.Identity.Issuer, found.rule, o.requestID)
	return r, nil
}

// foundRun is a run that the caller may see.
type foundRun struct {
	run        prefectclient.FlowRun
	deployment string
	rule       string // why they may, what they ask for
}

// The rules by which a run is a caller's business.
const (
	ruleOwnRun    = "own run"
	ruleSeeAll    = "see_all_roles:"
	ruleCancelAll = "cancel_all_roles:"
)

// lookUp finds the run that a request is about. What there isn't, what is no
// run of this route's and what isn't for this caller are one answer.
func (h *trigger) lookUp(ctx context.Context, o order) (found foundRun, problem *Problem) {
	run, err := h.client.FlowRun(ctx, o.target.runID)
	if prefectclient.ReasonOf(err) == prefectclient.ReasonNotFound {
		return found, &Problem{Code: CodeRunUnknown}
	}
	if err != nil {
		return found, prefectProblem(h.config.routeName(), err)
	}
	found = foundRun{run: run, rule: h.ruleFor(o, run, http.MethodGet)}
	if found.rule == "" {
		return found, &Problem{Code: CodeRunUnknown, Cause: fmt.Errorf("run %s is not this caller's", run.ID)}
	}
	name, ours, problem := h.selection.starts(ctx, o.target, run.DeploymentID)
	if !ours {
		if problem == nil {
			problem = &Problem{Code: CodeRunUnknown, Cause: fmt.Errorf("run %s is of a deployment that this route doesn't start", run.ID)}
		}
		return found, problem
	}
	found.deployment = name
	return found, nil
}

// ruleFor says why a caller may read a run (GET) or cancel it (DELETE); empty:
// they may not.
func (h *trigger) ruleFor(o order, run prefectclient.FlowRun, method string) string {
	if role := firstOf(h.config.CancelAllRoles, o.caller.Roles); role != "" {
		return ruleCancelAll + role
	}
	if role := firstOf(h.config.SeeAllRoles, o.caller.Roles); role != "" && method == http.MethodGet {
		return ruleSeeAll + role
	}
	if h.policy.MayAllow(o.caller.Roles) && h.isOwn(o, run) {
		return ruleOwnRun
	}
	return ""
}

// seesAll tells whether the caller has a role for everybody's runs.
func (h *trigger) seesAll(o order) bool {
	return firstOf(h.config.CancelAllRoles, o.caller.Roles) != "" || firstOf(h.config.SeeAllRoles, o.caller.Roles) != ""
}

func firstOf(configured, roles []string) string {
	if i := slices.IndexFunc(configured, func(r string) bool { return r != "" && slices.Contains(roles, r) }); i >= 0 {
		return configured[i]
	}
	return ""
}

// foreign are the findings with which a stamp is one of another run. What else
// may be found was done to the run since, or is old: it is its caller's all
// the same.
var foreign = []string{"flow", "deployment", "idempotency_key"}

// isOwn tells whether the caller started the run, by what the gateway signed
// and nothing else: tags, labels and even the creator that Prefect shows can be
// written by others. A run that a run of theirs started counts as theirs.
func (h *trigger) isOwn(o order, run prefectclient.FlowRun) bool {
	if h.process.Signing == nil {
		return false
	}
	signed, findings := stamp.Examine(Stored(run, time.Now()), h.process.Signing)
	if signed == nil || slices.ContainsFunc(findings, func(f stamp.Finding) bool { return slices.Contains(foreign, f.Code) }) {
		return false
	}
	id := o.caller.Identity
	if signed.Caller.Subject == id.Subject && signed.Caller.Issuer == id.Issuer {
		return true
	}
	// A run that asks in its caller's name sees the runs that its account asked
	// for in that name, and no others: a stamp is no credential, for whoever
	// reads the run reads it.
	first := o.firstCaller()
	return o.parent != nil && signed.Caller.Subject == first.Subject && signed.Caller.Issuer == first.Issuer &&
		slices.ContainsFunc(signed.Actors, func(a stamp.Actor) bool { return a.Subject == id.Subject && a.Issuer == id.Issuer })
}

// statusOf is a run's address at this gateway, relative to it. It is empty where nothing could say whose the run is.
func (h *trigger) statusOf(t target, run string) string {
	if !h.tellsWhose() {
		return ""
	}
	return t.below(run)
}

// tellsWhose says that runs carry the stamp that tells whose they are.
func (h *trigger) tellsWhose() bool { return !slices.Contains(h.stamp.Omit, stamp.PartContext) }
