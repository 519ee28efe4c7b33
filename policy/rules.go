package policy

import (
	"errors"
	"fmt"
	"slices"
)

// Rule allows whoever has one of its roles while its condition holds.
type Rule struct {
	// Name stands in the decision, the audit and the run's stamp.
	Name string
	// Roles of which the caller must have one. None: any verified caller for
	// whom the condition holds.
	Roles []string
	// When is a CEL condition. Empty: always. One of Roles and When is needed.
	When string
}

// Policy is a checked list of rules, safe for use by many at once.
type Policy struct {
	rules   []rule
	byRole  map[string][]int // the rules of a role, in their order
	anybody []int            // the rules without roles
	byRoles int              // how many of the rules, the first, are allowRoles
}

type rule struct {
	Rule
	when *Condition // nil: always
}

// New checks the rules and returns all problems at once. allowRoles are rules
// of one role each without a condition, and come first.
func New(allowRoles []string, rules []Rule) (*Policy, error) {
	p := &Policy{byRole: map[string][]int{}, byRoles: len(allowRoles)}
	var problems []error
	names := map[string]bool{}
	for i, role := range allowRoles {
		if role == "" {
			problems = append(problems, fmt.Errorf("allow_roles[%d]: is empty", i+1))
		}
		p.add(rule{Rule: Rule{Name: ruleOfRole(role), Roles: []string{role}}})
	}
	for i, r := range rules {
		fail := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("allow[%d]: %w", i+1, fmt.Errorf(format, args...)))
		}
		switch {
		case r.Name == "":
			fail("name is empty")
		case names[r.Name]:
			fail("the name %q is taken", r.Name)
		}
		names[r.Name] = true
		if len(r.Roles) == 0 && r.When == "" {
			fail("allows everybody; give roles or when")
		}
		if slices.Contains(r.Roles, "") {
			fail("roles: one is empty")
		}
		checked := rule{Rule: r}
		if r.When != "" {
			var err error
			if checked.when, err = CompileCondition(r.When); err != nil {
				fail("when: %w", err)
			}
		}
		p.add(checked)
	}
	if len(p.rules) == 0 {
		problems = append(problems, errors.New("nobody is allowed; give allow_roles or allow"))
	}
	return p, errors.Join(problems...)
}

func (p *Policy) add(r rule) {
	i := len(p.rules)
	p.rules = append(p.rules, r)
	if len(r.Roles) == 0 {
		p.anybody = append(p.anybody, i)
	}
	for _, role := range r.Roles {
		if of := p.byRole[role]; len(of) == 0 || of[len(of)-1] != i {
			p.byRole[role] = append(of, i)
		}
	}
}

// Decide takes the first rule that allows.
func (p *Policy) Decide(f Facts) Decision {
	var failed []error
	for _, i := range p.candidates(f.Identity.Roles) {
		r := p.rules[i]
		if r.when != nil {
			holds, err := r.when.Holds(f)
			if err != nil {
				failed = append(failed, fmt.Errorf("rule %q: %w", r.Name, err))
			}
			if !holds {
				continue
			}
		}
		d := Decision{Allowed: true, Rule: r.Name, Failed: errors.Join(failed...)}
		if at := slices.IndexFunc(r.Roles, func(role string) bool { return slices.Contains(f.Identity.Roles, role) }); at >= 0 {
			d.Role = r.Roles[at]
		}
		return d
	}
	return Decision{Rule: defaultDeny, Failed: errors.Join(failed...)}
}

// MayAllow tells whether a caller of these roles could be allowed at all. Who
// could not is refused before anything else is read or asked.
func (p *Policy) MayAllow(roles []string) bool { return len(p.candidates(roles)) > 0 }

// MayStart tells whether a caller could be allowed to start a deployment, with
// some parameters and some request: what is known of the caller, the
// deployment and the time counts.
func (p *Policy) MayStart(f Facts) bool {
	return slices.ContainsFunc(p.candidates(f.Identity.Roles), func(i int) bool {
		when := p.rules[i].when
		return when == nil || when.MayHold(f, "parameters", "request")
	})
}

// candidates are the rules that a caller's roles open, in their order.
func (p *Policy) candidates(roles []string) []int {
	found := slices.Clone(p.anybody)
	for _, role := range roles {
		found = append(found, p.byRole[role]...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
