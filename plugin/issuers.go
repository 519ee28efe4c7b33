package plugin

import (
	"time"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/token"
)

// newVerifier makes the verifier of a configuration. Its problems are named by
// the configuration's fields.
func newVerifier(p *Process, c IdentityConfig) (*token.Verifier, error) {
	o := token.Options{
		Keys: p.Keys, Proofs: p.Proofs,
		MaxTokenBytes: c.MaxTokenBytes, DenyListFile: c.DenyListFile,
		Cache: token.CacheOptions{MaxEntries: c.TokenCacheEntries, MaxAge: seconds(c.TokenCacheMaxSeconds), Counters: &p.tokenCache},
	}
	if c.TokenCacheEntries == 0 {
		o.Cache.MaxEntries = -1 // the verifier's zero is its default
	}
	for _, is := range c.Issuers {
		o.Issuers = append(o.Issuers, tokenIssuer(is))
	}
	return token.NewVerifier(o)
}

func tokenIssuer(c IssuerConfig) token.Issuer {
	preset, _ := claims.PresetOf(c.Preset) // the mapper names an unknown one
	i := token.Issuer{
		URL: c.Issuer, Audiences: c.Audiences, AudienceClaim: c.AudienceClaim, AuthorizedParties: c.AuthorizedParties,
		Algorithms: c.Algorithms, DiscoveryURL: c.DiscoveryURL, JWKSURL: c.JWKSURL, JWKSFile: c.JWKSFile, PEMFile: c.PEMFile,
		Leeway: seconds(c.LeewaySeconds), MaxLifetime: seconds(c.MaxLifetimeSeconds), InsecureUnlimitedLifetime: c.InsecureUnlimitedLifetime,
		RequireAccessTokenType: c.RequireAccessTokenType, InsecureAcceptAnyTokenType: c.InsecureAcceptAnyTokenType,
		HTTP: token.HTTPOptions{
			Timeout: time.Duration(c.TimeoutMS) * time.Millisecond,
			CAFile:  c.CAFile, InsecureAllowHTTP: c.InsecureAllowHTTP,
		},
	}
	if c.AudienceClaim == "" {
		i.AudienceClaim = preset.AudienceClaim
	}
	i.NamesClient = preset.NamesClient
	if preset.Assertions {
		i.InsecureAcceptAnyTokenType = true
	}
	if c.LeewaySeconds == 0 {
		i.Leeway = -1 // the verifier's zero is its default
	}
	if c.RequireBinding != "none" {
		i.RequireBinding = token.Binding(c.RequireBinding)
	}
	if in := c.Introspection; in != nil {
		i.Introspection = &token.Introspection{
			URL: in.URL, ClientID: in.ClientID, ClientSecret: in.ClientSecret, ClientSecretFile: in.ClientSecretFile,
			CacheFor: seconds(in.CacheSeconds), InsecureAcceptMissingAudience: in.InsecureAcceptMissingAudience,
		}
	}
	return i
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
