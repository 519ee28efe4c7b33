package plugin

import (
	"context"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
	"github.com/kong-prefect/kong-prefect/token"
)

// Way is what became of one request, stage by stage, for people who ask why.
// The plugins note it as they go where the context has one ([WithWay]), which
// no served request's has. What wasn't reached is zero. It holds no token.
type Way struct {
	// What prefect-identity found.
	Source string         // where the token was, as token.Located says it
	Token  token.Verified // zero: none that is true
	Caller Caller
	Given  []policy.Given // the grants that gave the roles
	// Consumer is what Kong's own plugins are told.
	Consumer string

	// What prefect-trigger found.
	Parent     *stamp.Claims
	Roles      []string // those that count, with a parent's taken into account
	Deployment string   // as chosen
	Found      *FoundDeployment
	Parameters map[string]any // with the deployment's defaults
	Rules      []policy.Weighed
	Rule       string
	Stamp      *stamp.Claims
	Run        *prefectclient.NewFlowRun // what Prefect is asked for
	Repeated   uuid.UUID                 // the run that is there already, where one is

	// What prefect-guard found.
	Operation  *guard.Route
	APIMethod  string
	APIPath    string
	GuardRoles []string
	Limits     []guard.Limit
	Outcome    *guard.Outcome
	Credential bool // Prefect's own credential goes with the request

	// Problem is why it was refused; nil: nothing refused it.
	Problem *Problem
}

// FoundDeployment is a deployment as Prefect has it.
type FoundDeployment struct {
	ID, FlowID uuid.UUID
	policy.Deployment
}

type wayKey struct{}

// WithWay makes the plugins note a request's way.
func WithWay(ctx context.Context, w *Way) context.Context { return context.WithValue(ctx, wayKey{}, w) }

func wayOf(ctx context.Context) *Way {
	w, _ := ctx.Value(wayKey{}).(*Way)
	return w
}

// The methods below do nothing without a Way.

func (w *Way) located(source string) {
	if w != nil {
		w.Source = source
	}
}

func (w *Way) recognized(h *identity, verified token.Verified, c Caller) {
	if w == nil {
		return
	}
	w.Token, w.Caller = verified, c
	w.Given = h.grants.Given(c.Identity, verified.Claims())
}

func (w *Way) stands(s standing) {
	if w != nil {
		w.Consumer = s.consumer.Username
	}
}

func (w *Way) ordered(o order) {
	if w != nil {
		w.Caller, w.Roles, w.Parent = o.caller, o.caller.Roles, o.parent
	}
}

func (w *Way) chose(name string, d *resolved) {
	if w == nil {
		return
	}
	w.Deployment = name
	if d != nil {
		w.Found = &FoundDeployment{ID: d.id, FlowID: d.flowID, Deployment: d.facts}
	}
}

func (w *Way) decided(p *policy.Policy, f policy.Facts, rule string) {
	if w == nil {
		return
	}
	w.Parameters, w.Rules, w.Rule = f.Parameters, p.Weigh(f), rule
}

func (w *Way) stamped(s stamp.Stamp, run prefectclient.NewFlowRun) {
	if w != nil {
		w.Stamp, w.Run = &s.Claims, &run
	}
}

func (w *Way) repeated(run prefectclient.FlowRun) {
	if w != nil {
		w.Repeated = run.ID
	}
}

func (w *Way) passing(p *guard.Passage) {
	if w == nil {
		return
	}
	w.Operation, w.Limits = p.Route, p.Limits()
	w.APIMethod, w.APIPath, w.GuardRoles = p.Request.Method, p.Request.Path, p.Request.Roles
}

func (w *Way) passed(p *guard.Passage, o guard.Outcome, credential string) {
	if w != nil {
		w.Limits, w.Outcome, w.Credential = p.Limits(), &o, credential != ""
	}
}

func (w *Way) refused(p *Problem) {
	if w != nil {
		w.Problem = p
	}
}

// Status is the HTTP status of a refusal, and Sentence what its caller reads.
func (p *Problem) Status() int      { return kindOf(p.Code).status }
func (p *Problem) Sentence() string { return p.sentence(kindOf(p.Code)) }
