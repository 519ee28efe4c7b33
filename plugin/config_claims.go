package plugin

import "github.com/kong-prefect/kong-prefect/claims"

// ClaimsConfig says where an issuer's tokens hold what, in place of the preset.
type ClaimsConfig struct {
	Subject    []string          `json:"subject" kong:"len_min=1" doc:"Who the caller is, in place of sub: a claim that is never given to somebody else. A token without it is refused."`
	Username   []string          `json:"username" kong:"len_min=1" doc:"What the caller signs in with; the first claim that is present counts, here and in the next three."`
	Name       []string          `json:"name" kong:"len_min=1" doc:"The caller's name for people to read."`
	Email      []string          `json:"email" kong:"len_min=1" doc:"The caller's address."`
	Client     []string          `json:"client" kong:"len_min=1" doc:"The OAuth client that got the token."`
	Groups     []string          `json:"groups" kong:"len_min=1" doc:"Groups: the values of all these claims are taken, each a text or a list of texts."`
	GroupNames []string          `json:"group_names" kong:"len_min=1" doc:"Claims that are objects whose members' names are groups."`
	Scopes     []string          `json:"scopes" kong:"len_min=1" doc:"Scopes: all these claims, each a list or a text separated by spaces."`
	Attributes []AttributeConfig `json:"attributes" doc:"Further claims, under names of your own: for headers, conditions and parameters. They come beside the preset's."`
}

// AttributeConfig names one further claim.
type AttributeConfig struct {
	Name  string `json:"name" kong:"required,len_min=1,match=^[a-z][a-z0-9_]*$" doc:"The attribute's name: small letters, digits and underscores."`
	Claim string `json:"claim" kong:"required,len_min=1" doc:"The claim: its exact name, or a JSON pointer that begins with a slash."`
}

func (c ClaimsConfig) paths() claims.Paths {
	p := claims.Paths{
		Subject: c.Subject, Username: c.Username, Name: c.Name, Email: c.Email, Client: c.Client,
		Groups: c.Groups, GroupNames: c.GroupNames, Scopes: c.Scopes, Attributes: map[string]string{},
	}
	for _, a := range c.Attributes {
		p.Attributes[a.Name] = a.Claim
	}
	return p
}

// mapper makes the mapper of an issuer's tokens.
func (c IssuerConfig) mapper() (*claims.Mapper, error) {
	return claims.NewMapper(claims.Options{
		Preset: c.Preset, Paths: c.Claims.paths(), ServiceAccounts: c.ServiceAccounts, Agents: c.Agents,
		GroupSeparator: c.GroupSeparator, WithoutGroupsOnOverage: c.WithoutGroupsOnOverage,
	})
}
