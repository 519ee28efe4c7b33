package policy

import (
	"slices"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Answer is what can be said where not all is known.
type Answer int

// The answers.
const (
	No Answer = iota
	Maybe
	Yes
)

// Likely gives the roles of a caller of whom only subject, issuer, kind,
// client, groups and scopes are known: those that it has for sure, and those
// that depend on more. withoutNames says that groups and scopes aren't known
// either.
func (g Grants) Likely(id claims.Identity, withoutNames bool) (sure, maybe []string) {
	for _, grant := range g.list {
		switch grant.likely(id, withoutNames) {
		case Yes:
			sure = append(sure, grant.Role)
		case Maybe:
			maybe = append(maybe, grant.Role)
		}
	}
	return sure, maybe
}

func (g Grant) likely(id claims.Identity, withoutNames bool) Answer {
	switch {
	case len(g.Issuers) > 0 && !slices.Contains(g.Issuers, id.Issuer):
		return No
	case !g.names(id) && !(withoutNames && len(g.Groups)+len(g.Scopes) > 0):
		return No
	case !g.names(id), len(g.Claims) > 0, g.Condition != "":
		return Maybe
	}
	return Yes
}

// Foretell says whether a caller may who has some roles for sure and others
// perhaps. The conditions of rules aren't known.
func (p *Policy) Foretell(sure, maybe []string) Answer {
	best := No
	for _, r := range p.rules {
		has := func(roles []string) bool {
			return slices.ContainsFunc(r.Roles, func(role string) bool { return slices.Contains(roles, role) })
		}
		switch {
		case r.when == nil && has(sure): // a rule without roles has a condition
			return Yes
		case len(r.Roles) == 0 || has(sure) || has(maybe):
			best = Maybe
		}
	}
	return best
}
