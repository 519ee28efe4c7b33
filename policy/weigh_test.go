package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/policy"
)

func TestWeigh(t *testing.T) {
	t.Parallel()
	p, err := policy.New([]string{"owner"}, []policy.Rule{
		{Name: "small", Roles: []string{"runner"}, When: "parameters.n < 10"},
		{Name: "anybody", When: "request.method == 'POST'"},
	})
	require.NoError(t, err)
	f := policy.Facts{Identity: policy.Caller{Roles: []string{"runner"}}, Request: policy.Request{Method: "POST"}}
	weighed := p.Weigh(f)
	require.Len(t, weighed, 3)
	require.Equal(t, "allow_roles:owner", weighed[0].Name)
	require.False(t, weighed[0].HasRole)
	require.True(t, weighed[1].HasRole)
	require.False(t, weighed[1].Holds)
	require.Error(t, weighed[1].Failed, "there is no n")
	require.True(t, weighed[2].HasRole && weighed[2].Holds)
	require.Equal(t, "anybody", p.Decide(f).Rule, "the first that has role and condition")
}

func TestGiven(t *testing.T) {
	t.Parallel()
	g, err := policy.NewGrants([]policy.Grant{
		{Role: "viewer", Groups: []string{"g"}}, {Role: "owner", Clients: []string{"other"}}, {Role: "viewer", Clients: []string{"svc"}},
	}, []string{"https://idp"})
	require.NoError(t, err)
	id := claims.Identity{Subject: "s", Issuer: "https://idp", Kind: claims.Service, Client: "svc", Groups: []string{"g"}}
	require.Equal(t, []policy.Given{{Role: "viewer", Grant: 1}, {Role: "viewer", Grant: 3}}, g.Given(id, nil))
	require.Equal(t, []string{"viewer"}, g.Roles(id, nil))
}
