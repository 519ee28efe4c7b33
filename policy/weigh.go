package policy

import "slices"

// Weighed is one rule, looked at for people who ask why.
type Weighed struct {
	Rule
	// HasRole says that the caller has one of the rule's roles, or that it
	// asks for none.
	HasRole bool
	// Holds says that its condition does, or that it has none. Of a rule whose
	// role the caller lacks it isn't asked.
	Holds bool
	// Failed is what kept the condition from an answer; it counted as false.
	Failed error
}

// Weigh looks at every rule, in the order in which [Policy.Decide] takes them.
func (p *Policy) Weigh(f Facts) []Weighed {
	list := make([]Weighed, len(p.rules))
	for i, r := range p.rules {
		w := Weighed{Rule: r.Rule}
		w.HasRole = len(r.Roles) == 0 || slices.ContainsFunc(r.Roles, func(role string) bool { return slices.Contains(f.Identity.Roles, role) })
		if w.HasRole {
			w.Holds = true
			if r.when != nil {
				w.Holds, w.Failed = r.when.Holds(f)
			}
		}
		list[i] = w
	}
	return list
}
