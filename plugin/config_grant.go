package plugin

import "github.com/kong-prefect/kong-prefect/policy"

// GrantConfig gives a role.
type GrantConfig struct {
	Role      string             `json:"role" kong:"required,len_min=1" doc:"The role to give: viewer, runner, developer, worker, owner, or one of your own."`
	Clients   []string           `json:"clients" doc:"Service accounts and agents, by client id. People who use the client don't match."`
	Groups    []string           `json:"groups" doc:"Groups as the token names them, exactly. One match in clients, groups, scopes or subjects is enough."`
	Scopes    []string           `json:"scopes" doc:"OAuth scopes that the token holds."`
	Subjects  []string           `json:"subjects" doc:"Single callers by the identity's subject. Roles for groups and accounts scale, roles for people don't: a warning in the log says so."`
	Claims    []GrantClaimConfig `json:"claims" doc:"Claims of the token that must all hold besides. Without clients, groups, scopes and subjects they are enough."`
	Condition string             `json:"condition" kong:"len_min=1" doc:"A CEL expression over identity and now that must hold besides; alone it is enough. One that can't be decided gives nothing."`
	Issuers   []string           `json:"issuers" kong:"element=referenceable" doc:"Issuers whose tokens this grant is for. Must be given where several issuers are configured; alone it is for every caller of theirs."`
}

// GrantClaimConfig is a condition on one claim.
type GrantClaimConfig struct {
	Claim  string   `json:"claim" kong:"required,len_min=1" doc:"The claim: its exact name, or a JSON pointer that begins with a slash."`
	Values []string `json:"values" kong:"required,len_min=1" doc:"Values of which the claim must be one, exactly; of a list, one item."`
}

func grantsOf(configured []GrantConfig) []policy.Grant {
	grants := make([]policy.Grant, len(configured))
	for i, g := range configured {
		grants[i] = policy.Grant{Role: g.Role, Clients: g.Clients, Groups: g.Groups, Scopes: g.Scopes, Subjects: g.Subjects, Issuers: g.Issuers, Condition: g.Condition}
		for _, c := range g.Claims {
			grants[i].Claims = append(grants[i].Claims, policy.Claim{Path: c.Claim, Values: c.Values})
		}
	}
	return grants
}
