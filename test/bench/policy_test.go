package bench

import (
	"fmt"
	"testing"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/stretchr/testify/require"
)

// policyRows measures a caller's roles among 10,000 grants, and a decision
// among 10,000 rules.
func policyRows(b *bench) []row {
	const n = 10_000
	grants, rules := make([]policy.Grant, n), make([]policy.Rule, n)
	for i := range n {
		role := fmt.Sprintf("role-%d", i)
		grants[i] = policy.Grant{Role: role, Groups: []string{fmt.Sprintf("group-%d", i)}}
		rules[i] = policy.Rule{Name: fmt.Sprintf("rule-%d", i), Roles: []string{role}}
	}
	granted, err := policy.NewGrants(grants, nil)
	require.NoError(b, err)
	decides, err := policy.New(nil, rules)
	require.NoError(b, err)
	caller := claims.Identity{Subject: "s", Groups: []string{"group-17", "group-9999", "none"}}
	roles := b.perOp(func(b *testing.B) {
		for b.Loop() {
			if len(granted.Roles(caller, nil)) != 2 {
				b.Fatal("not the caller's roles")
			}
		}
	})
	facts := policy.Facts{Identity: policy.CallerOf(caller, granted.Roles(caller, nil))}
	decision := b.perOp(func(b *testing.B) {
		for b.Loop() {
			if !decides.Decide(facts).Allowed {
				b.Fatal("refused")
			}
		}
	})
	return []row{
		figure("policy/roles/grants=10000", roles/1e3, "µs").atMost(5),
		figure("policy/decide/rules=10000", decision/1e3, "µs").atMost(5),
	}
}
