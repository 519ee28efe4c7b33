package plugin

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// AssertionType is the typ in an assertion's header: what else our keys sign
// has another (RFC 8725, section 3.11).
const AssertionType = "kong-prefect-caller+jwt"

// assertionClaims are what an upstream reads: the standard's names where the
// standard has one (RFC 7519, RFC 8693, RFC 9068). Scopes are a list: one that
// holds a space would be two in the standard's text.
type assertionClaims struct {
	jwt.RegisteredClaims
	// The provider's own name of the caller. sub is an id of ours, since two
	// providers may have the same subject and iss is this gateway.
	IdentityProvider string         `json:"idp"`
	ProviderSubject  string         `json:"idp_sub"`
	Kind             claims.Kind    `json:"kind"`
	Username         string         `json:"preferred_username,omitempty"`
	Name             string         `json:"name,omitempty"`
	Email            string         `json:"email,omitempty"`
	Client           string         `json:"client_id,omitempty"`
	Groups           []string       `json:"groups,omitempty"`
	Scopes           []string       `json:"scopes,omitempty"`
	Roles            []string       `json:"roles,omitempty"`
	Act              *assertedActor `json:"act,omitempty"`
	Attributes       map[string]any `json:"attributes,omitempty"`
}

// assertedActor is the chain of who acts, the nearest outside (RFC 8693,
// section 4.1).
type assertedActor struct {
	Subject string         `json:"sub,omitempty"`
	Issuer  string         `json:"iss,omitempty"`
	Client  string         `json:"client_id,omitempty"`
	Act     *assertedActor `json:"act,omitempty"`
}

// asserter signs statements for one upstream. Each request has its own: one
// that was kept could outlive the key that signed it.
type asserter struct {
	config AssertionConfig
	keys   *signing.Keys
	now    func() time.Time
}

func newAsserter(c *AssertionConfig, keys *signing.Keys) (*asserter, error) {
	if c == nil {
		return nil, nil
	}
	if keys == nil {
		return nil, fmt.Errorf("assertion: this process has no signing keys")
	}
	return &asserter{config: *c, keys: keys, now: time.Now}, nil
}

func (a *asserter) header(c Caller) (pluginserver.Header, error) {
	now := a.now()
	id := c.Identity
	signed, err := a.keys.Sign(assertionClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: a.config.Issuer, Subject: stamp.CallerID(id).String(), Audience: jwt.ClaimStrings{a.config.Audience},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(seconds(a.config.LifetimeSeconds))), ID: uuid.NewString(),
		},
		IdentityProvider: id.Issuer, ProviderSubject: id.Subject, Kind: id.Kind,
		Username: id.Username, Name: id.Name, Email: id.Email, Client: id.Client,
		Groups: id.Groups, Scopes: id.Scopes, Roles: c.Roles, Act: assertedActors(id.Actors), Attributes: id.Attributes,
	}, AssertionType)
	return header(a.config.Header, signed), err
}

func assertedActors(chain []claims.Actor) *assertedActor {
	if len(chain) == 0 {
		return nil
	}
	return &assertedActor{Subject: chain[0].Subject, Issuer: chain[0].Issuer, Client: chain[0].Client, Act: assertedActors(chain[1:])}
}
