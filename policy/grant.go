package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Grant gives a role to whoever matches one of its lists and all that narrows
// it. With nothing but what narrows it, whoever fits that has the role.
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
	// Claims, where given, must all hold.
	Claims []Claim
	// Condition, where given, must hold: see [CompileCondition]. Of what a
	// condition can ask about, a grant's knows identity (without roles) and now.
	Condition string

	condition *Condition
}

// Claim is a statement about one of a token's claims.
type Claim struct {
	// Path names the claim as [claims.Paths] does.
	Path string
	// Values are those of which the claim, or one item of a list, must be one.
	Values []string
}

// Grants is a checked list of grants.
type Grants struct {
	list []Grant
	// named are the grants that a name in one of their lists opens; open are
	// those without lists. Of thousands a caller's names open a few.
	named map[string][]int
	open  []int
}

// NewGrants checks grants against the issuers in use and returns all problems
// at once. Where there are several issuers each grant must name its own: the
// same client or group of another provider is somebody else.
func NewGrants(list []Grant, issuers []string) (Grants, error) {
	var problems []error
	checked := slices.Clone(list)
	for i, g := range list {
		for _, problem := range g.problems(issuers) {
			problems = append(problems, fmt.Errorf("roles[%d]: %w", i+1, problem))
		}
		if g.Condition == "" {
			continue
		}
		var err error
		if checked[i].condition, err = CompileCondition(g.Condition); err != nil {
			problems = append(problems, fmt.Errorf("roles[%d].condition: %w", i+1, err))
		}
	}
	grants := Grants{list: checked, named: map[string][]int{}}
	for i, g := range checked {
		if !g.listed() {
			grants.open = append(grants.open, i)
		}
		for _, name := range slices.Concat(g.Clients, g.Groups, g.Scopes, g.Subjects) {
			grants.named[name] = append(grants.named[name], i)
		}
	}
	return grants, errors.Join(problems...)
}

// candidates are the grants that may be a caller's, in their order: whether
// they are, each decides for itself.
func (g Grants) candidates(id claims.Identity) []int {
	found := slices.Clone(g.open)
	for _, names := range [][]string{{id.Client, id.Subject}, id.Groups, id.Scopes} {
		for _, name := range names {
			found = append(found, g.named[name]...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (g Grant) problems(issuers []string) (problems []error) {
	if g.Role == "" {
		problems = append(problems, errors.New("role is empty"))
	}
	if !g.listed() && len(g.Issuers)+len(g.Claims) == 0 && g.Condition == "" {
		problems = append(problems, errors.New("names nobody; give clients, groups, scopes, claims, issuers, a condition or subjects"))
	}
	if len(issuers) > 1 && len(g.Issuers) == 0 {
		problems = append(problems, errors.New("must name its issuers, since several are configured"))
	}
	for _, issuer := range g.Issuers {
		if !slices.Contains(issuers, issuer) {
			problems = append(problems, fmt.Errorf("issuer %q isn't configured", issuer))
		}
	}
	for j, c := range g.Claims {
		if c.Path == "" || len(c.Values) == 0 {
			problems = append(problems, fmt.Errorf("claims[%d] must name a claim and its values", j+1))
		}
	}
	return problems
}

func (g Grant) listed() bool {
	return len(g.Clients)+len(g.Groups)+len(g.Scopes)+len(g.Subjects) > 0
}

// Advice says what works and yet is better done in another way.
func (g Grants) Advice() (advice []string) {
	for i, grant := range g.list {
		if len(grant.Subjects) > 0 {
			advice = append(advice, fmt.Sprintf("roles[%d] gives %q to single people by subject: roles for groups and service accounts scale, roles for people don't", i+1, grant.Role))
		}
	}
	return advice
}

// Roles gives a caller's roles, each once, in the order of the grants. The
// claims are those of the caller's verified token.
func (g Grants) Roles(id claims.Identity, tokenClaims map[string]any) []string {
	var roles []string
	for _, i := range g.candidates(id) {
		if grant := g.list[i]; !slices.Contains(roles, grant.Role) && grant.matches(id, tokenClaims) {
			roles = append(roles, grant.Role)
		}
	}
	return roles
}

// Given is a role and the grant that gives it.
type Given struct {
	Role string
	// Grant is its place in the list, from 1 on as Kong counts.
	Grant int
}

// Given lists every grant that matches, also those of a role that another one
// gave already: it is for people who ask why.
func (g Grants) Given(id claims.Identity, tokenClaims map[string]any) (given []Given) {
	for _, i := range g.candidates(id) {
		if grant := g.list[i]; grant.matches(id, tokenClaims) {
			given = append(given, Given{grant.Role, i + 1})
		}
	}
	return given
}

func (g Grant) matches(id claims.Identity, tokenClaims map[string]any) bool {
	if len(g.Issuers) > 0 && !slices.Contains(g.Issuers, id.Issuer) {
		return false
	}
	for _, c := range g.Claims {
		if !c.holds(tokenClaims) {
			return false
		}
	}
	return g.names(id) && g.holds(id)
}

// names tells whether one of the lists has the caller, or there are none.
func (g Grant) names(id claims.Identity) bool {
	return !g.listed() ||
		id.Kind != claims.User && id.Client != "" && slices.Contains(g.Clients, id.Client) ||
		slices.Contains(g.Subjects, id.Subject) ||
		intersects(g.Groups, id.Groups) ||
		intersects(g.Scopes, id.Scopes)
}

// holds tells whether the condition does. One that can't be decided, an
// attribute that isn't there for instance, doesn't.
func (g Grant) holds(id claims.Identity) bool {
	if g.condition == nil {
		return g.Condition == ""
	}
	holds, err := g.condition.Holds(Facts{Identity: CallerOf(id, nil), Now: time.Now()})
	return err == nil && holds
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func (c Claim) holds(tokenClaims map[string]any) bool {
	for _, v := range claims.Lookup(tokenClaims, c.Path) {
		items, isList := v.([]any)
		if !isList {
			items = []any{v}
		}
		for _, item := range items {
			if text, ok := claimText(item); ok && slices.Contains(c.Values, text) {
				return true
			}
		}
	}
	return false
}

// claimText writes what can be compared as a text; objects can't.
func claimText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	default:
		return "", false
	}
}
