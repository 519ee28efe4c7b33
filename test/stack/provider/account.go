package provider

import (
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Service is a service account: an OAuth client that acts for itself.
type Service struct {
	// ID is the client id, and the subject of its tokens (RFC 9068, section 2.2).
	ID string
	// Secret is what it proves itself with.
	Secret string
	// Audience replaces the provider's audience in its tokens.
	Audience []string
	// Claims are added to its access tokens.
	Claims map[string]any
	// Opaque makes its access tokens opaque: what they hold is told by introspection alone (RFC 7662).
	Opaque bool
}

// Person is an account that logs in with a password.
type Person struct {
	// Subject is the stable identifier, never the user name.
	Subject string
	// Username and Password are for the login form.
	Username, Password string
	// Name is shown to people and need not be ASCII.
	Name string
	// Email is given out as verified.
	Email string
	// Groups become the groups claim.
	Groups []string
}

// claims are what a person's access token says beside the registered claims.
func (p Person) claims() map[string]any {
	return map[string]any{
		"name":               p.Name,
		"preferred_username": p.Username,
		"email":              p.Email,
		"email_verified":     true,
		"groups":             p.Groups,
	}
}

// PeopleClient is the public client that people log in through.
const PeopleClient = "command-line"

// redirectURI is where people's codes are sent. A native client may use any port of the loopback (RFC 8252, 7.3).
const redirectURI = "http://127.0.0.1/callback"

// client is how zitadel's provider sees a service account, or PeopleClient where service is nil.
type client struct {
	id      string
	service *Service
}

var _ op.Client = client{}

func (c client) GetID() string { return c.id }

func (c client) AuthMethod() oidc.AuthMethod {
	if c.service != nil {
		return oidc.AuthMethodBasic
	}
	return oidc.AuthMethodNone
}

func (c client) ApplicationType() op.ApplicationType {
	if c.service != nil {
		return op.ApplicationTypeWeb
	}
	return op.ApplicationTypeNative
}

func (c client) GrantTypes() []oidc.GrantType {
	if c.service != nil {
		return []oidc.GrantType{oidc.GrantTypeClientCredentials, oidc.GrantTypeTokenExchange}
	}
	return []oidc.GrantType{oidc.GrantTypeCode}
}

func (c client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

func (c client) AccessTokenType() op.AccessTokenType {
	if c.service != nil && c.service.Opaque {
		return op.AccessTokenTypeBearer
	}
	return op.AccessTokenTypeJWT
}

func (c client) RedirectURIs() []string {
	if c.service != nil {
		return nil
	}
	return []string{redirectURI}
}

func (c client) PostLogoutRedirectURIs() []string                             { return nil }
func (c client) LoginURL(id string) string                                    { return loginPath + "?id=" + id }
func (c client) IDTokenLifetime() time.Duration                               { return 10 * time.Minute }
func (c client) DevMode() bool                                                { return false }
func (c client) IsScopeAllowed(string) bool                                   { return false }
func (c client) IDTokenUserinfoClaimsAssertion() bool                         { return true }
func (c client) ClockSkew() time.Duration                                     { return 0 }
func allScopes(scopes []string) []string                                      { return scopes }
func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string     { return allScopes }
func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string { return allScopes }
