package claims_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// identity mints a real token with the claims, verifies it, and maps it.
func identity(t *testing.T, preset string, change map[string]any) (claims.Identity, error) {
	t.Helper()
	issuer := tokentest.New(t, "ES256")
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	t.Cleanup(keys.Close)
	verifier, err := token.NewVerifier(token.Options{Issuers: []token.Issuer{{URL: issuer.URL, Audiences: []string{tokentest.Audience}}}, Keys: keys})
	require.NoError(t, err)
	verified, err := verifier.Verify(t.Context(), issuer.Mint(t, change))
	require.NoError(t, err)
	mapper, err := claims.NewMapper(preset, []string{"agent-planner"})
	require.NoError(t, err)
	id, err := mapper.Identity(verified)
	require.Equal(t, issuer.URL, id.Issuer)
	id.Issuer = ""
	return id, err
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		preset string
		claims map[string]any
		want   claims.Identity
	}{
		"generic person": {"generic", map[string]any{
			"sub": "5d1a", "name": "Alice Ä", "email": "Alice@Example.com", "groups": []any{"data-team", "a,b", "data-team"},
			"scope": "openid  profile", "client_id": "portal",
		}, claims.Identity{Subject: "5d1a", Kind: claims.User, Name: "Alice Ä", Email: "Alice@Example.com", Client: "portal",
			Groups: []string{"data-team", "a,b"}, Scopes: []string{"openid", "profile"}}},
		"generic service account": {"generic", map[string]any{"sub": "svc-nightly", "client_id": "svc-nightly", "scope": tokentest.Absent},
			claims.Identity{Subject: "svc-nightly", Kind: claims.Service, Client: "svc-nightly"}},
		"generic agent": {"generic", map[string]any{"sub": "agent-planner", "client_id": "agent-planner", "scope": tokentest.Absent},
			claims.Identity{Subject: "agent-planner", Kind: claims.Agent, Client: "agent-planner"}},
		"an agent's client used by a person is a person": {"generic", map[string]any{"sub": "5d1a", "client_id": "agent-planner", "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Client: "agent-planner"}},
		"one group is a string": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "groups": "a,b", "scope": []any{"x y"}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Groups: []string{"a,b"}, Scopes: []string{"x y"}}},
		"an unverified address is left out": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "email": "x@example.com", "email_verified": false, "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User}},
		"null is absent": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "groups": nil, "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User}},
		"actors, the nearest first": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "scope": tokentest.Absent,
			"act": map[string]any{"sub": "agent-planner", "act": map[string]any{"client_id": "portal"}}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Actors: []claims.Actor{{Subject: "agent-planner"}, {Client: "portal"}}}},
		"keycloak service account": {"keycloak", map[string]any{"sub": "uuid", "azp": "svc-nightly", "client_id": "svc-nightly",
			"preferred_username": "service-account-svc-nightly", "email_verified": false, "scope": "email profile"},
			claims.Identity{Subject: "uuid", Kind: claims.Service, Name: "service-account-svc-nightly", Client: "svc-nightly", Scopes: []string{"email", "profile"}}},
		"keycloak person with a service account's name": {"keycloak", map[string]any{"sub": "uuid", "azp": "portal", "client_id": tokentest.Absent, "sid": "s",
			"preferred_username": "service-account-svc-nightly", "scope": tokentest.Absent},
			claims.Identity{Subject: "uuid", Kind: claims.User, Name: "service-account-svc-nightly", Client: "portal"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := identity(t, c.preset, c.claims)
			require.NoError(t, err)
			require.Equal(t, c.want, id)
		})
	}
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	many := make([]any, claims.MaxGroups+1)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	deep := any(map[string]any{"sub": "x"})
	for range claims.MaxActors {
		deep = map[string]any{"sub": "x", "act": deep}
	}
	for name, change := range map[string]map[string]any{
		"groups":   {"groups": map[string]any{"a": true}},
		"groups ":  {"groups": []any{"a", 1}},
		"groups  ": {"groups": many},
		"name":     {"name": 7},
		"act":      {"act": "agent"},
		"act ":     {"act": map[string]any{"name": "nobody"}},
		"act  ":    {"act": deep},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := identity(t, "generic", change)
			require.ErrorIs(t, err, claims.ErrInvalid)
		})
	}
}

func TestUnknownPreset(t *testing.T) {
	t.Parallel()
	_, err := claims.NewMapper("keyclock", nil)
	require.ErrorContains(t, err, "there are: generic, keycloak")
}
