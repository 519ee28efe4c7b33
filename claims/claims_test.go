package claims_test

import (
	"fmt"
	"maps"
	"strings"
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
	mapper, err := claims.NewMapper(claims.Options{Preset: preset, Agents: []string{"agent-planner"}})
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
		"an agent that signed a person in acts for them": {"generic", map[string]any{"sub": "5d1a", "client_id": "agent-planner", "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Client: "agent-planner", Actors: []claims.Actor{{Client: "agent-planner", Kind: claims.Agent}}}},
		"and is named once": {"generic", map[string]any{"sub": "5d1a", "client_id": "agent-planner", "scope": tokentest.Absent, "act": map[string]any{"sub": "agent-planner"}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Client: "agent-planner", Actors: []claims.Actor{{Subject: "agent-planner", Kind: claims.Agent}}}},
		"before those for whom it acts in turn": {"generic", map[string]any{"sub": "5d1a", "client_id": "agent-planner", "scope": tokentest.Absent, "act": map[string]any{"client_id": "portal"}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Client: "agent-planner", Actors: []claims.Actor{{Client: "agent-planner", Kind: claims.Agent}, {Client: "portal"}}}},
		"one group is a string": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "groups": "a,b", "scope": []any{"x y"}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Groups: []string{"a,b"}, Scopes: []string{"x y"}}},
		"an unverified address is left out": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "email": "x@example.com", "email_verified": false, "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User}},
		"an unverified address is no username and no name either": {"google", map[string]any{"sub": "1", "client_id": tokentest.Absent, "email": "ceo@example.com", "email_verified": false, "scope": tokentest.Absent},
			claims.Identity{Subject: "1", Kind: claims.User}},
		"null is absent": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "groups": nil, "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User}},
		"actors, the nearest first": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "scope": tokentest.Absent,
			"act": map[string]any{"sub": "agent-planner", "act": map[string]any{"client_id": "portal"}}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Actors: []claims.Actor{{Subject: "agent-planner", Kind: claims.Agent}, {Client: "portal"}}}},
		"an actor's client says what it is, not its name": {"generic", map[string]any{"sub": "5d1a", "client_id": tokentest.Absent, "scope": tokentest.Absent,
			"act": map[string]any{"sub": "agent-planner", "client_id": "portal"}},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Actors: []claims.Actor{{Subject: "agent-planner", Client: "portal"}}}},
		"a scope of Entra's is a person's": {"entra", map[string]any{"sub": "o-1", "oid": "o-1", "azp": "portal", "client_id": tokentest.Absent, "scope": tokentest.Absent, "scp": "runs"},
			claims.Identity{Subject: "o-1", Kind: claims.User, Client: "portal", Scopes: []string{"runs"}}},
		"a person of Entra's without a scope": {"entra", map[string]any{"sub": "s-1", "oid": "o-1", "azp": "portal", "client_id": tokentest.Absent, "scope": tokentest.Absent},
			claims.Identity{Subject: "o-1", Kind: claims.User, Client: "portal"}},
		"a service account by azp": {"generic", map[string]any{"sub": "svc-nightly", "azp": "svc-nightly", "client_id": tokentest.Absent, "scope": tokentest.Absent},
			claims.Identity{Subject: "svc-nightly", Kind: claims.Service, Client: "svc-nightly"}},
		"no client is no service account": {"keycloak", map[string]any{"sub": "5d1a", "client_id": "", "preferred_username": "service-account-", "scope": tokentest.Absent},
			claims.Identity{Subject: "5d1a", Kind: claims.User, Username: "service-account-", Name: "service-account-"}},
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
		"name ":    {"name": "a\x00"},
		"act":      {"act": "agent"},
		"act ":     {"act": map[string]any{"name": "nobody"}},
		"act  ":    {"act": deep},
		"act   ":   {"act": map[string]any{"sub": "a\x00"}},
		"act    ":  {"act": map[string]any{"sub": 7, "client_id": "agent-planner"}},
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
	_, err := claims.NewMapper(claims.Options{Preset: "keyclock"})
	require.ErrorContains(t, err, "there are: auth0, aws-iam")
}

// identityWith is what options make of claims.
func identityWith(t *testing.T, o claims.Options, given map[string]any) (claims.Identity, error) {
	t.Helper()
	base := map[string]any{"iss": "x", "sub": "5d1a", "aud": "kong-prefect", "iat": float64(1795000000), "exp": float64(1795000300)}
	maps.Copy(base, given)
	mapper, err := claims.NewMapper(o)
	require.NoError(t, err)
	return mapper.Identity(verify(t, claims.Preset{}, base))
}

func TestConfiguredPathsReplaceThePresets(t *testing.T) {
	t.Parallel()
	id, err := identityWith(t, claims.Options{Preset: "keycloak", Paths: claims.Paths{
		Groups: []string{"/realm_access/roles", "/resource_access/*/roles"}, Attributes: map[string]string{"team": "/org/team"},
	}}, map[string]any{
		"preferred_username": "alice", "groups": []any{"left out"}, "org": map[string]any{"team": "data"},
		"realm_access":    map[string]any{"roles": []any{"a"}},
		"resource_access": map[string]any{"app": map[string]any{"roles": []any{"b"}}, "other": map[string]any{"roles": []any{"c", "a"}}},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, id.Groups)
	require.Equal(t, "alice", id.Username, "what isn't named stays the preset's")
	require.Equal(t, map[string]any{"team": "data"}, id.Attributes)
}

func TestConfiguredGroupNamesReplaceThePresetsGroups(t *testing.T) {
	t.Parallel()
	id, err := identityWith(t, claims.Options{Preset: "generic", Paths: claims.Paths{GroupNames: []string{"/entitlements"}}},
		map[string]any{"groups": []any{"left out"}, "entitlements": map[string]any{"b": 1, "a": nil}})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, id.Groups)
}

// Providers write true in several ways, and anything else isn't it.
func TestAddressesThatTheProviderVouchesFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says   any
		counts bool
	}{{true, true}, {"true", true}, {"1", true}, {float64(1), true}, {false, false}, {"false", false}, {"yes", false}, {float64(0), false}, {[]any{true}, false}} {
		for preset, claim := range map[string]string{"entra": "xms_edov", "generic": "email_verified"} {
			id, err := identityWith(t, claims.Options{Preset: preset}, map[string]any{"email": "a@example.com", claim: c.says})
			require.NoError(t, err)
			require.Equal(t, c.counts, id.Email != "", "%s %v", preset, c.says)
		}
	}
}

func TestAConfiguredSubjectMustBeThere(t *testing.T) {
	t.Parallel()
	o := claims.Options{Preset: "generic", Paths: claims.Paths{Subject: []string{"employee"}}}
	id, err := identityWith(t, o, map[string]any{"employee": "E-1"})
	require.NoError(t, err)
	require.Equal(t, "E-1", id.Subject)
	for _, employee := range []any{nil, "", "E\r\n1", float64(7)} {
		_, err = identityWith(t, o, map[string]any{"employee": employee})
		require.ErrorIs(t, err, claims.ErrInvalid, "%v", employee)
	}
}

func TestNestedGroups(t *testing.T) {
	t.Parallel()
	id, err := identityWith(t, claims.Options{Preset: "generic", GroupSeparator: "/"}, map[string]any{"groups": []any{"/data/emea/berlin", "ops", "/data/apac"}})
	require.NoError(t, err)
	require.Equal(t, []string{"/data/emea/berlin", "ops", "/data/apac", "/data/emea", "/data"}, id.Groups)
	id, err = identityWith(t, claims.Options{Preset: "generic"}, map[string]any{"groups": []any{"/data/emea"}})
	require.NoError(t, err)
	require.Equal(t, []string{"/data/emea"}, id.Groups, "names stay exact unless told otherwise")
	_, err = identityWith(t, claims.Options{Preset: "generic", GroupSeparator: "/"}, map[string]any{"groups": strings.Repeat("/a", 2*claims.MaxGroups)})
	require.ErrorIs(t, err, claims.ErrInvalid)
}

func TestServiceAccountsByName(t *testing.T) {
	t.Parallel()
	o := claims.Options{Preset: "zitadel", ServiceAccounts: []string{"svc-nightly", "agent-planner"}, Agents: []string{"agent-planner"}}
	for client, kind := range map[string]claims.Kind{"svc-nightly": claims.Service, "agent-planner": claims.Agent, "portal": claims.User} {
		id, err := identityWith(t, o, map[string]any{"client_id": client})
		require.NoError(t, err)
		require.Equal(t, kind, id.Kind, client)
	}
	o.ServiceAccounts = append(o.ServiceAccounts, "")
	id, err := identityWith(t, o, nil)
	require.NoError(t, err)
	require.Equal(t, claims.User, id.Kind, "a token without a client is nobody's service account")
}

func TestGroupsOverage(t *testing.T) {
	t.Parallel()
	over := map[string]any{"oid": "o", "_claim_names": map[string]any{"groups": "src1"}, "roles": []any{"Owner"}}
	_, err := identityWith(t, claims.Options{Preset: "entra"}, over)
	require.ErrorIs(t, err, claims.ErrGroupsOverage)
	id, err := identityWith(t, claims.Options{Preset: "entra", WithoutGroupsOnOverage: true}, over)
	require.NoError(t, err)
	require.Empty(t, id.Groups, "not even those that the token does name: the list isn't whole")
}
