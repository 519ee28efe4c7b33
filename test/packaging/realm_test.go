package packaging_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// realm is as much of a Keycloak realm's file as kong.yml depends on.
type realm struct {
	Realm   string `json:"realm"`
	Enabled bool   `json:"enabled"`
	Groups  []struct {
		Name string `json:"name"`
	} `json:"groups"`
	Clients []realmClient `json:"clients"`
	Users   []struct {
		Username string   `json:"username"`
		Enabled  bool     `json:"enabled"`
		Groups   []string `json:"groups"`
	} `json:"users"`
}

type realmClient struct {
	ID              string   `json:"clientId"`
	Enabled         bool     `json:"enabled"`
	Public          bool     `json:"publicClient"`
	Secret          string   `json:"secret"`
	ServiceAccounts bool     `json:"serviceAccountsEnabled"`
	StandardFlow    bool     `json:"standardFlowEnabled"`
	DirectGrants    bool     `json:"directAccessGrantsEnabled"`
	RedirectURIs    []string `json:"redirectUris"`
	Attributes      struct {
		PKCE string `json:"pkce.code.challenge.method"`
	} `json:"attributes"`
	Mappers []struct {
		Mapper string            `json:"protocolMapper"`
		Config map[string]string `json:"config"`
	} `json:"protocolMappers"`
}

// mapper is the configuration of a client's protocol mapper, if its access
// tokens are mapped by one of that kind.
func (c realmClient) mapper(kind string) map[string]string {
	for _, m := range c.Mappers {
		if m.Mapper == kind && m.Config["access.token.claim"] == "true" {
			return m.Config
		}
	}
	return nil
}

func readRealm(t *testing.T) (r realm, clients map[string]realmClient) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(read(t, "examples/compose/realm.json")), &r))
	clients = map[string]realmClient{}
	for _, c := range r.Clients {
		clients[c.ID] = c
	}
	return r, clients
}

// identityConfig is the configuration of prefect-identity in compose's
// kong.yml.
type identityConfig struct {
	Issuers []struct {
		Audiences []string `yaml:"audiences"`
		Preset    string   `yaml:"preset"`
	} `yaml:"issuers"`
	Roles []struct {
		Clients []string `yaml:"clients"`
		Groups  []string `yaml:"groups"`
	} `yaml:"roles"`
}

func readIdentity(t *testing.T) identityConfig {
	t.Helper()
	var file struct {
		Plugins []struct {
			Name   string         `yaml:"name"`
			Config identityConfig `yaml:"config"`
		} `yaml:"plugins"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "examples/compose/kong.yml")), &file))
	for _, p := range file.Plugins {
		if p.Name == "prefect-identity" {
			return p.Config
		}
	}
	require.Fail(t, "no prefect-identity")
	return identityConfig{}
}

// TestRealmKnowsWhoKongYMLNames: service accounts, groups and the audience
// exist at the provider, and tokens carry them where the preset looks.
func TestRealmKnowsWhoKongYMLNames(t *testing.T) {
	r, clients := readRealm(t)
	identity := readIdentity(t)
	require.True(t, r.Enabled)
	require.True(t, strings.HasSuffix(readCompose(t).Services["kong"].Environment["OIDC_ISSUER"], "/realms/"+r.Realm))
	require.Len(t, identity.Issuers, 1)
	require.Equal(t, "keycloak", identity.Issuers[0].Preset)
	for _, c := range clients {
		require.True(t, c.Enabled, c.ID)
		require.False(t, c.DirectGrants, "%s: no password is given to a client", c.ID)
		require.Contains(t, identity.Issuers[0].Audiences, c.mapper("oidc-audience-mapper")["included.custom.audience"], c.ID)
	}
	named := 0
	for _, role := range identity.Roles {
		for _, id := range role.Clients {
			require.True(t, clients[id].ServiceAccounts, id)
			require.NotEmpty(t, clients[id].Secret, id)
			named++
		}
		for _, group := range role.Groups {
			requireMember(t, r, group)
			named++
		}
	}
	require.NotZero(t, named)
	nightly := clients["svc-nightly"]
	require.Contains(t, read(t, "docker-compose.yml"), "-u "+nightly.ID+":"+nightly.Secret)
	require.Contains(t, read(t, "docker-compose.yml"), "/realms/"+r.Realm+"/protocol/openid-connect/token")
}

func requireMember(t *testing.T, r realm, group string) {
	t.Helper()
	exists, member := false, false
	for _, g := range r.Groups {
		exists = exists || g.Name == group
	}
	for _, u := range r.Users {
		member = member || u.Enabled && slices.Contains(u.Groups, "/"+group)
	}
	require.True(t, exists, group)
	require.True(t, member, "nobody is in %s", group)
}

// TestPeopleCanSignIn: one public client for people, with PKCE, whose tokens
// carry the groups by their plain names.
func TestPeopleCanSignIn(t *testing.T) {
	_, clients := readRealm(t)
	people := 0
	for _, c := range clients {
		if !c.StandardFlow {
			continue
		}
		people++
		require.True(t, c.Public)
		require.Equal(t, "S256", c.Attributes.PKCE)
		groups := c.mapper("oidc-group-membership-mapper")
		require.Equal(t, "groups", groups["claim.name"])
		require.Equal(t, "false", groups["full.path"])
		for _, uri := range c.RedirectURIs {
			require.True(t, strings.HasPrefix(uri, "http://127.0.0.1"), uri)
		}
	}
	require.Equal(t, 1, people)
}
