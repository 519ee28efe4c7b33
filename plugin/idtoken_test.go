package plugin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// An app that signs people in and is called itself has one audience for ID tokens and access tokens. Entra's have
// nothing that tells them apart but the client, which its access tokens always name.
func TestIDTokenOfEntraIsNoAccessToken(t *testing.T) {
	t.Parallel()
	idToken := map[string]any{
		"client_id": tokentest.Absent, "scope": tokentest.Absent, "oid": "o-1", "sub": "pairwise", "name": "Alice",
		"preferred_username": "alice@example.com", "tid": "t-1", "uti": "u", "ver": "2.0", "roles": []any{"Runs.Start"},
	}
	accessToken := func(claim string) map[string]any {
		claims := map[string]any{"scp": "runs"}
		for name, value := range idToken {
			claims[name] = value
		}
		claims[claim] = "portal"
		return claims
	}
	for name, c := range map[string]struct {
		config string
		claims map[string]any
		code   string
	}{
		"an ID token":                  {"", idToken, token.ReasonType},
		"an access token, version 2":   {"", accessToken("azp"), ""},
		"an access token, version 1":   {"", accessToken("appid"), ""},
		"an ID token, and the switch":  {`,"insecure_accept_any_token_type":true`, idToken, ""},
		"an ID token, an empty client": {"", map[string]any{"client_id": "", "oid": "o-1", "scope": tokentest.Absent}, token.ReasonType},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, `,"preset":"entra"`+c.config+`}]`)
			compact := r.issuer.MintWith(t, map[string]any{"typ": "JWT"}, c.claims)
			saw := r.access(kongRequest{headers: map[string][]string{"authorization": {"Bearer " + compact}}})
			if c.code != "" {
				require.Equal(t, c.code, saw.code(t))
				return
			}
			require.Nil(t, saw.exit)
			require.Equal(t, "o-1", saw.set["X-Caller-Subject"])
		})
	}
}
