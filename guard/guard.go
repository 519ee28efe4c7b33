package guard

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// Prefect is what the guard asks the server itself: who started a run, and
// what a limited caller's deployments are.
type Prefect interface {
	FlowRun(ctx context.Context, id uuid.UUID) (prefectclient.FlowRun, error)
	Deployment(ctx context.Context, id uuid.UUID) (prefectclient.Deployment, error)
	Query(ctx context.Context, path string, body, into any) error
}

// Grant says what a role may do.
type Grant struct {
	Role string
	// Permissions are what the role holds; empty: what the built-in role of
	// that name holds.
	Permissions []string
	// Limit keeps the role to some deployments and their runs.
	Limit Limit
}

// Limit names deployments by what is known of them, as globs (path.Match: a
// star ends at a slash). Each list that is given must have one that fits; the
// zero Limit is none.
type Limit struct {
	// Deployments are flow/deployment.
	Deployments []string
	Flows       []string
	// Tags are the deployment's, which each of its runs has too.
	Tags      []string
	WorkPools []string
}

func (l Limit) none() bool {
	return len(l.Deployments)+len(l.Flows)+len(l.Tags)+len(l.WorkPools) == 0
}

// Options configure a [Guard].
type Options struct {
	// Grants say what each role may do; empty: the built-in roles, unlimited.
	Grants []Grant
	// Prefect is asked where a decision needs it. Required.
	Prefect Prefect
	// Stamp says how runs are stamped.
	Stamp stamp.Options
}

// Guard decides for one configuration. It is safe for concurrent use.
type Guard struct {
	grants  []Grant
	prefect Prefect
	stamp   stamp.Options
	sight   *sight
}

// New checks the options and returns all problems at once.
func New(o Options) (*Guard, error) {
	grants := slices.Clone(o.Grants)
	if len(grants) == 0 {
		for _, role := range BuiltinRoles() {
			grants = append(grants, Grant{Role: role})
		}
	}
	var problems []error
	all := Permissions()
	for i := range grants {
		g := &grants[i]
		fail := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("grants[%d]: %s", i+1, fmt.Sprintf(format, args...)))
		}
		if g.Role == "" {
			fail("role is empty")
		}
		if len(g.Permissions) == 0 {
			if g.Permissions = RolePermissions(g.Role); len(g.Permissions) == 0 {
				fail("role %q isn't built in, so its permissions must be given", g.Role)
			}
		}
		for _, p := range g.Permissions {
			if !slices.Contains(all, p) {
				fail("there is no permission %q; \"kong-prefect routes\" shows them", p)
			}
		}
		for _, glob := range slices.Concat(g.Limit.Deployments, g.Limit.Flows, g.Limit.Tags, g.Limit.WorkPools) {
			if _, err := path.Match(glob, ""); err != nil || glob == "" {
				fail("%q is no glob", glob)
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &Guard{grants: grants, prefect: o.Prefect, stamp: o.Stamp, sight: newSight(o.Prefect)}, nil
}

// Grants are what each role may do, the built-in permissions written out.
func (g *Guard) Grants() []Grant { return slices.Clone(g.grants) }

// Request is one request to Prefect's API.
type Request struct {
	Caller claims.Identity
	// Roles are those that count, with a parent's taken into account.
	Roles     []string
	RequestID string
	// Method is HTTP's, or [Websocket] for an upgrade to one.
	Method string
	// Path is below Prefect's /api, percent-decoded once.
	Path string
	// Query is raw.
	Query string
	// Parent is the verified stamp of the run that asks; nil where none does.
	Parent *stamp.Claims
	// Traceparent is the request's header of that name, as it came.
	Traceparent string
}

// holds tells whether the caller has a permission, and within which limits;
// no limits: everywhere.
func (g *Guard) holds(roles []string, permission string) (limits []Limit, ok bool) {
	for _, grant := range g.grants {
		if !slices.Contains(roles, grant.Role) || !slices.Contains(grant.Permissions, permission) {
			continue
		}
		if grant.Limit.none() {
			return nil, true
		}
		limits, ok = append(limits, grant.Limit), true
	}
	return limits, ok
}
