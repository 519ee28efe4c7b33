package policy_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/policy"
)

func who(roles ...string) policy.Facts {
	return policy.Facts{Identity: policy.Caller{Subject: "x", Roles: roles}, Parameters: map[string]any{"amount": 5}, Now: time.Now()}
}

func TestPolicyDecides(t *testing.T) {
	t.Parallel()
	p, err := policy.New([]string{"runner"}, []policy.Rule{
		{Name: "broken", Roles: []string{"viewer"}, When: `parameters.absent == 1`},
		{Name: "small", Roles: []string{"viewer", "developer"}, When: `parameters.amount < 10`},
		{Name: "named", When: `identity.subject == "root"`},
	})
	require.NoError(t, err)
	root, large := who(), who("developer")
	root.Identity.Subject = "root"
	large.Parameters = map[string]any{"amount": 10}
	for name, c := range map[string]struct {
		facts policy.Facts
		want  policy.Decision
		fails bool
	}{
		"by role":               {who("other", "runner"), policy.Decision{Allowed: true, Role: "runner", Rule: "allow_roles:runner"}, false},
		"by condition":          {who("developer"), policy.Decision{Allowed: true, Role: "developer", Rule: "small"}, false},
		"past a failed one":     {who("viewer"), policy.Decision{Allowed: true, Role: "viewer", Rule: "small"}, true},
		"without a role":        {root, policy.Decision{Allowed: true, Rule: "named"}, false},
		"condition is false":    {large, policy.Decision{Rule: "default deny"}, false},
		"no role":               {who(), policy.Decision{Rule: "default deny"}, false},
		"an empty role":         {who(""), policy.Decision{Rule: "default deny"}, false},
		"a role that is longer": {who("runner2"), policy.Decision{Rule: "default deny"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := p.Decide(c.facts)
			require.Equal(t, c.fails, got.Failed != nil, "%v", got.Failed)
			got.Failed = nil
			require.Equal(t, c.want, got)
			require.True(t, !got.Allowed || p.MayAllow(c.facts.Identity.Roles), "what is allowed may be")
		})
	}
}

func TestPolicyIsChecked(t *testing.T) {
	t.Parallel()
	_, err := policy.New(nil, nil)
	require.ErrorContains(t, err, "nobody is allowed")
	_, err = policy.New([]string{""}, []policy.Rule{{}, {Name: "a", Roles: []string{""}}, {Name: "a", When: "1"}})
	for _, problem := range []string{
		"allow_roles[1]: is empty", "allow[1]: name is empty", "allow[1]: allows everybody",
		"allow[2]: roles: one is empty", `allow[3]: the name "a" is taken`, "allow[3]: when: condition",
	} {
		require.ErrorContains(t, err, problem)
	}
}

// A policy with fewer rules never allows more.
func TestFewerRulesNeverAllowMore(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	conditions := []string{"", "true", "false", "parameters.amount < 10", "parameters.absent == 1", `"b" in identity.roles`}
	roles := []string{"a", "b", "c"}
	some := func() (list []string) {
		for _, r := range roles {
			if random.IntN(2) == 0 {
				list = append(list, r)
			}
		}
		return list
	}
	for range 500 {
		rules := []policy.Rule{{Name: "last", Roles: []string{"z"}}}
		for i := range 4 {
			r := policy.Rule{Name: fmt.Sprint(i), Roles: some(), When: conditions[random.IntN(len(conditions))]}
			if len(r.Roles) > 0 || r.When != "" {
				rules = append(rules, r)
			}
		}
		facts := who(some()...)
		whole, err := policy.New(nil, rules)
		require.NoError(t, err)
		fewer, err := policy.New(nil, rules[:len(rules)-1])
		if err != nil {
			continue
		}
		require.True(t, !fewer.Decide(facts).Allowed || whole.Decide(facts).Allowed, "%v %v", rules, facts.Identity.Roles)
	}
}

func TestConditionsAreSharedAndSayWhatTheyUse(t *testing.T) {
	t.Parallel()
	const text = `"a" in identity.roles && has(identity.attributes.x) && now > timestamp("2026-01-01T00:00:00Z")`
	a, err := policy.CompileCondition(text)
	require.NoError(t, err)
	b, err := policy.CompileCondition(text)
	require.NoError(t, err)
	require.Same(t, a, b)
	for name, want := range map[string]bool{"identity": true, "identity.roles": true, "identity.attributes": true, "now": true, "parameters": false, "identity.groups": false} {
		require.Equal(t, want, a.Uses(name), name)
	}
}

// BenchmarkPolicy is a decision among 10,000 rules, of which the caller's
// roles open two.
func BenchmarkPolicy(b *testing.B) {
	rules := make([]policy.Rule, 10_000)
	for i := range rules {
		rules[i] = policy.Rule{Name: fmt.Sprintf("rule-%d", i), Roles: []string{fmt.Sprintf("role-%d", i)}}
	}
	p, err := policy.New(nil, rules)
	require.NoError(b, err)
	facts := who("role-9999", "nothing")
	b.ReportAllocs()
	for b.Loop() {
		if !p.Decide(facts).Allowed {
			b.Fatal("refused")
		}
	}
}

// BenchmarkGrants gives a caller's roles among 10,000 grants.
func BenchmarkGrants(b *testing.B) {
	list := make([]policy.Grant, 10_000)
	for i := range list {
		list[i] = policy.Grant{Role: fmt.Sprintf("role-%d", i), Groups: []string{fmt.Sprintf("group-%d", i)}}
	}
	grants, err := policy.NewGrants(list, nil)
	require.NoError(b, err)
	caller := claims.Identity{Subject: "s", Groups: []string{"group-17", "group-9999", "none"}}
	b.ReportAllocs()
	for b.Loop() {
		if len(grants.Roles(caller, nil)) != 2 {
			b.Fatal("not the caller's roles")
		}
	}
}
