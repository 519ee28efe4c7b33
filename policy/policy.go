// Package policy says which roles a caller has and whether a role may do what
// is asked. It denies by default: no grant, no role; no role, no run.
//
// It refuses to match by likeness: names are compared byte for byte, and
// "admin" is never part of "administrator".
//
// Read [Grants.Roles] first, then [Policy.Decide].
package policy

import "slices"

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

// Decision says whether a caller may do what is asked, and by which rule.
type Decision struct {
	Allowed bool
	// Role by which the caller may; empty where it may not.
	Role string
	// Rule names what decided, for the audit and the run's stamp.
	Rule string
	// Failed is what kept conditions from an answer, for the operator's log.
	// They counted as false.
	Failed error
}

// defaultDeny is the rule of a decision that no other rule made.
const defaultDeny = "default deny"

// Decide allows a caller who has one of the allowed roles.
func Decide(roles, allowed []string) Decision {
	for _, role := range allowed {
		if role != "" && slices.Contains(roles, role) {
			return Decision{Allowed: true, Role: role, Rule: ruleOfRole(role)}
		}
	}
	return Decision{Rule: defaultDeny}
}

func ruleOfRole(role string) string { return "allow_roles:" + role }
