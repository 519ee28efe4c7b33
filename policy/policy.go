// Package policy says which roles a caller has and whether a role may do what
// is asked. It denies by default: no grant, no role; no role, no run.
//
// It refuses to match by likeness: names are compared byte for byte, and
// "admin" is never part of "administrator".
//
// Read [Grants.Roles] first, then [Decide].
package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Roles by Prefect Cloud's names, so that a policy survives a move there.
// Others can be made up.
// Source: Prefect Cloud's documentation, "Roles and permissions".
const (
	Viewer    = "viewer"
	Runner    = "runner"
	Developer = "developer"
	Worker    = "worker"
	Owner     = "owner"
)

// Grant gives a role to whoever matches one of its lists.
type Grant struct {
	Role string
	// Clients are service accounts and agents. A person who merely uses the
	// client doesn't match: the role is the account's, not its users'.
	Clients []string
	Groups  []string
	Scopes  []string
	// Subjects are single callers by the token's sub.
	Subjects []string
	// Issuers, where given, limits the grant to their tokens.
	Issuers []string
}

// Grants is a checked list of grants.
type Grants struct{ list []Grant }

// NewGrants checks grants against the issuers in use and returns all problems
// at once. Where there are several issuers each grant must name its own: the
// same client or group of another provider is somebody else.
func NewGrants(list []Grant, issuers []string) (Grants, error) {
	var problems []error
	for i, g := range list {
		fail := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("roles[%d]: %s", i+1, fmt.Sprintf(format, args...)))
		}
		if g.Role == "" {
			fail("role is empty")
		}
		if len(g.Clients)+len(g.Groups)+len(g.Scopes)+len(g.Subjects) == 0 {
			fail("names nobody; give clients, groups, scopes or subjects")
		}
		if len(issuers) > 1 && len(g.Issuers) == 0 {
			fail("must name its issuers, since several are configured")
		}
		for _, issuer := range g.Issuers {
			if !slices.Contains(issuers, issuer) {
				fail("issuer %q isn't configured", issuer)
			}
		}
	}
	return Grants{list: list}, errors.Join(problems...)
}

// Roles gives a caller's roles, each once, in the order of the grants.
func (g Grants) Roles(id claims.Identity) []string {
	var roles []string
	for _, grant := range g.list {
		if grant.matches(id) && !slices.Contains(roles, grant.Role) {
			roles = append(roles, grant.Role)
		}
	}
	return roles
}

func (g Grant) matches(id claims.Identity) bool {
	if len(g.Issuers) > 0 && !slices.Contains(g.Issuers, id.Issuer) {
		return false
	}
	return id.Kind != claims.User && id.Client != "" && slices.Contains(g.Clients, id.Client) ||
		slices.Contains(g.Subjects, id.Subject) ||
		intersects(g.Groups, id.Groups) ||
		intersects(g.Scopes, id.Scopes)
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// Decision says whether a caller may do what is asked, and by which rule.
type Decision struct {
	Allowed bool
	// Role by which the caller may; empty where it may not.
	Role string
	// Rule names what decided, for the audit and the run's stamp.
	Rule string
}

// Decide allows a caller who has one of the allowed roles.
func Decide(roles, allowed []string) Decision {
	for _, role := range allowed {
		if role != "" && slices.Contains(roles, role) {
			return Decision{Allowed: true, Role: role, Rule: "allow_roles:" + role}
		}
	}
	return Decision{Rule: "default deny"}
}
