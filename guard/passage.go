package guard

import (
	"context"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/stamp"
)

// Passage is a request whose operation the caller's roles allow. What its body
// may hold is not yet decided: see [Passage.Check].
type Passage struct {
	Request Request
	Route   *Route

	guard  *Guard
	params Parameters
	// limits are those of each permission that was needed so far, without
	// those that hold everywhere. All must be kept.
	limits [][]Limit
}

// Open decides by method and path alone.
func (g *Guard) Open(r Request) (*Passage, error) {
	route, params, ok := Match(r.Method, r.Path)
	if !ok {
		return nil, &Refusal{Reason: ReasonRouteUnknown}
	}
	p := &Passage{Request: r, Route: route, guard: g, params: params}
	if err := p.need(route.Permission); err != nil {
		return nil, err
	}
	if p.limited() && route.Limit == limitNone {
		return nil, &Refusal{Reason: ReasonLimited}
	}
	return p, nil
}

// need refuses without the permission and notes its limits.
func (p *Passage) need(permission string) error {
	limits, ok := p.guard.holds(p.Request.Roles, permission)
	if !ok {
		return missing(permission)
	}
	if len(limits) > 0 {
		p.limits = append(p.limits, limits)
	}
	return nil
}

// has is need where there is another way.
func (p *Passage) has(permission string) bool { return p.need(permission) == nil }

func (p *Passage) limited() bool { return len(p.limits) > 0 }

// Limits are the ones that the request must keep, so far; none: it is limited
// by nothing.
func (p *Passage) Limits() []Limit { return slices.Concat(p.limits...) }

// Names are the run and the deployment that the path names, where it does.
func (p *Passage) Names() (runID, deploymentID string) {
	switch {
	case strings.HasPrefix(p.Route.Path, "/flow_runs/{id:uuid}"):
		return p.params["id"], ""
	case strings.HasPrefix(p.Route.Path, "/deployments/{id:uuid}"):
		return "", p.params["id"]
	}
	return "", ""
}

// NeedsBody tells whether the decision depends on the body.
func (p *Passage) NeedsBody() bool {
	rule := p.Route.Body != "" && p.Request.Method != "GET"
	return rule || p.limited() && limitReadsBody(p.Route.Limit)
}

// Outcome is a request that passes.
type Outcome struct {
	// Body replaces the caller's where it isn't nil.
	Body []byte
	// CreatedBy is to be named in Prefect's own headers as well, where it
	// isn't nil: it becomes created_by of what is created.
	CreatedBy *stamp.CreatedBy
	// Runs are those that Prefect is asked to create, for the audit.
	Runs []stamp.Run
}

// Check decides by the body, which may be nil where [Passage.NeedsBody] says
// that it isn't needed, and by the caller's limits.
func (p *Passage) Check(ctx context.Context, body []byte) (Outcome, error) {
	c := &check{ctx: ctx, Passage: p}
	if p.NeedsBody() {
		if err := c.parse(body); err != nil {
			return Outcome{}, err
		}
	}
	if p.Route.Body != "" {
		if err := rules[p.Route.Body](c); err != nil {
			return Outcome{}, err
		}
	}
	if err := c.keepLimits(); err != nil {
		return Outcome{}, err
	}
	outcome := Outcome{CreatedBy: c.createdBy, Runs: c.runs}
	if p.NeedsBody() {
		// What was decided is what Prefect reads: it never sees the caller's
		// own bytes, which another parser might read otherwise.
		data, err := c.encode()
		if err != nil {
			return Outcome{}, err
		}
		outcome.Body = data
	}
	return outcome, nil
}

// rules are the table's body rules.
var rules = map[string]func(*check) error{
	"start_run":  startRun,
	"start_runs": startRuns,
	"new_run":    newRun,
	"change_run": changeRun,
	"labels":     changeLabels,
	"set_state":  setState,
	"own_run":    ownRun,
	"bulk":       bulk,
	"bulk_state": bulkState,
	"deployment": deployment,
	"schedules":  schedules,
	"automation": automation,
	"events":     events,
	"tagged":     tagged,
	"secrets":    secrets,
	"hydrated":   hydrated,
}

// querySays tells whether the raw query could name a parameter, in whatever
// way a server reads it.
func querySays(query, name string) bool {
	return strings.Contains(strings.ToLower(unescape(query)), name)
}
