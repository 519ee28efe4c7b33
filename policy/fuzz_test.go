package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/policy"
)

// fuzzedConditions are true, false, failing, and of the caller and the
// parameters. None of them holds because a role is missing.
var fuzzedConditions = []string{
	"", "true", "false", "parameters.absent == 1", "parameters.amount < 10", "parameters.amount > 10", `"a" in identity.roles`, `identity.subject == "x"`,
}

// fuzzedRules makes rules and a caller of any bytes: two for each rule, the
// roles as bits and the condition.
func fuzzedRules(data []byte) (rules []policy.Rule) {
	for i := 0; i+1 < len(data) && len(rules) < 16; i += 2 {
		r := policy.Rule{Name: fmt.Sprint(i), Roles: fuzzedRoles(data[i]), When: fuzzedConditions[int(data[i+1])%len(fuzzedConditions)]}
		if len(r.Roles) > 0 || r.When != "" {
			rules = append(rules, r)
		}
	}
	return rules
}

func fuzzedRoles(bits byte) (roles []string) {
	for i, role := range []string{"a", "b", "c", "d"} {
		if bits>>i&1 == 1 {
			roles = append(roles, role)
		}
	}
	return roles
}

// FuzzPolicy: a decision is what reading the rules one by one says; and who
// takes something away (a rule, a role of the caller, or a condition's truth)
// never allows more.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte{1, 0, 2, 4, 0, 7}, byte(1), byte(0))
	f.Add([]byte{15, 3, 15, 5, 8, 6, 4, 1}, byte(9), byte(2))
	f.Fuzz(func(t *testing.T, data []byte, bits, less byte) {
		rules := fuzzedRules(data)
		if len(rules) == 0 {
			return
		}
		caller := who(fuzzedRoles(bits)...)
		decides := func(rules []policy.Rule) *policy.Policy {
			p, err := policy.New(nil, rules)
			require.NoError(t, err)
			return p
		}
		whole := decides(rules)
		decision := whole.Decide(caller)
		require.Equal(t, firstThatAllows(t, rules, caller), decision.Rule)
		require.Equal(t, decision.Rule != "default deny", decision.Allowed)
		if !whole.MayAllow(caller.Identity.Roles) || !whole.MayStart(caller) {
			require.False(t, decision.Allowed, "who may not at all is not allowed")
		}
		if decision.Allowed {
			return
		}
		at := int(less) % len(rules)
		if fewer := slices.Delete(slices.Clone(rules), at, at+1); len(fewer) > 0 {
			require.False(t, decides(fewer).Decide(caller).Allowed, "without a rule")
		}
		narrower := slices.Clone(rules)
		narrower[at].When = "false"
		if rules[at].When != "" {
			narrower[at].When = "(" + rules[at].When + `) && identity.subject != "y"`
		}
		require.False(t, decides(narrower).Decide(caller).Allowed, "with a condition more")
		require.False(t, whole.Decide(who(fuzzedRoles(bits&less)...)).Allowed, "without a role")
	})
}

// firstThatAllows reads the rules one by one.
func firstThatAllows(t *testing.T, rules []policy.Rule, caller policy.Facts) string {
	t.Helper()
	for _, r := range rules {
		opened := len(r.Roles) == 0 || slices.ContainsFunc(r.Roles, func(role string) bool { return slices.Contains(caller.Identity.Roles, role) })
		holds := r.When == ""
		if !holds {
			c, err := policy.CompileCondition(r.When)
			require.NoError(t, err)
			holds, _ = c.Holds(caller) // what fails doesn't hold
		}
		if opened && holds {
			return r.Name
		}
	}
	return "default deny"
}
