package provider_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

func start(t *testing.T) *provider.Provider {
	t.Helper()
	p, err := provider.New(provider.Options{
		Audience: []string{"kong-prefect"},
		Services: []provider.Service{
			{ID: "svc-nightly", Secret: "a-secret", Claims: map[string]any{"team": "finance"}},
			{ID: "svc-elsewhere", Secret: "b-secret", Audience: []string{"elsewhere"}},
		},
		People: []provider.Person{{
			Subject: "7f1c", Username: "alice", Password: "p&ss wörd", Name: "Alice Ä",
			Email: "alice@example.com", Groups: []string{"data-team"},
		}},
	})
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	return p
}

// verified checks a token as any relying party would, by discovery and key set, and returns its claims.
func verified(t *testing.T, p *provider.Provider, audience, token string) map[string]any {
	t.Helper()
	discovered, err := oidc.NewProvider(t.Context(), p.Issuer())
	require.NoError(t, err)
	parsed, err := discovered.Verifier(&oidc.Config{ClientID: audience}).Verify(t.Context(), token)
	require.NoError(t, err)
	claims := map[string]any{}
	require.NoError(t, parsed.Claims(&claims))
	return claims
}

func TestServiceTokenIsAJWTOfItsOwnSubject(t *testing.T) {
	t.Parallel()
	p := start(t)
	token, err := p.ServiceToken(t.Context(), "svc-nightly", "reports")
	require.NoError(t, err)
	claims := verified(t, p, "kong-prefect", token)
	for _, name := range []string{"exp", "iat", "nbf", "jti"} {
		require.Contains(t, claims, name)
		delete(claims, name)
	}
	require.Equal(t, map[string]any{
		"iss": p.Issuer(), "sub": "svc-nightly", "aud": []any{"kong-prefect"},
		"client_id": "svc-nightly", "azp": "svc-nightly", "scope": "reports", "team": "finance",
	}, claims)
}

func TestServiceWithItsOwnAudience(t *testing.T) {
	t.Parallel()
	p := start(t)
	token, err := p.ServiceToken(t.Context(), "svc-elsewhere")
	require.NoError(t, err)
	require.Equal(t, "svc-elsewhere", verified(t, p, "elsewhere", token)["sub"])
}

func TestUnknownServiceGetsNothing(t *testing.T) {
	t.Parallel()
	_, err := start(t).ServiceToken(t.Context(), "svc-unknown")
	require.ErrorContains(t, err, "invalid_client")
}

func TestPersonLogsIn(t *testing.T) {
	t.Parallel()
	p := start(t)
	token, err := p.PersonToken(t.Context(), "alice")
	require.NoError(t, err)
	claims := verified(t, p, "kong-prefect", token.AccessToken)
	require.Subset(t, claims, map[string]any{
		"sub": "7f1c", "name": "Alice Ä", "preferred_username": "alice", "email": "alice@example.com",
		"groups": []any{"data-team"}, "client_id": provider.PeopleClient, "azp": provider.PeopleClient,
		"scope": "openid profile email",
	})
	idToken, ok := token.Extra("id_token").(string)
	require.True(t, ok)
	require.Equal(t, "Alice Ä", verified(t, p, provider.PeopleClient, idToken)["name"])
}

func TestPersonWithoutAccountDoesNotLogIn(t *testing.T) {
	t.Parallel()
	_, err := start(t).PersonToken(t.Context(), "mallory")
	require.ErrorContains(t, err, "403")
}

func TestForgeries(t *testing.T) {
	t.Parallel()
	p := start(t)
	foreign, err := provider.ForeignKey()
	require.NoError(t, err)
	pem, err := p.PublicKeyPEM()
	require.NoError(t, err)
	past := time.Now().Add(-time.Hour).Unix()
	for name, c := range map[string]struct {
		forgery provider.Forgery
		wrong   string // in go-oidc's words; empty: nothing is wrong
	}{
		"nothing changed": {forgery: provider.Forgery{}},
		"expired":         {provider.Forgery{Claims: map[string]any{"exp": past}}, "expired"},
		"wrong audience":  {provider.Forgery{Claims: map[string]any{"aud": "x"}}, "audience"},
		"no audience":     {provider.Forgery{Claims: map[string]any{"aud": nil}}, "audience"},
		"foreign key":     {provider.Forgery{Key: foreign}, "signature"},
		"HS256 with the public key": {provider.Forgery{Header: map[string]any{"alg": "HS256"}, Key: pem},
			"unexpected signature algorithm"},
		"alg none": {provider.Forgery{Header: map[string]any{"alg": "none"}, Key: jwt.UnsafeAllowNoneSignatureType},
			"unexpected signature algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.forgery.Service = "svc-nightly"
			token, err := p.Forge(c.forgery)
			require.NoError(t, err)
			discovered, err := oidc.NewProvider(t.Context(), p.Issuer())
			require.NoError(t, err)
			_, err = discovered.Verifier(&oidc.Config{ClientID: "kong-prefect"}).Verify(t.Context(), token)
			if c.wrong == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.wrong)
			}
		})
	}
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	p := start(t)
	first := keyIDs(t, p)
	require.NoError(t, p.RotateKey(true))
	both := keyIDs(t, p)
	require.Len(t, both, 2)
	require.Contains(t, both, first[0])
	require.NoError(t, p.RotateKey(false))
	last := keyIDs(t, p)
	require.Len(t, last, 1)
	require.NotContains(t, both, last[0])
	token, err := p.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
	verified(t, p, "kong-prefect", token)
}

func keyIDs(t *testing.T, p *provider.Provider) (ids []string) {
	t.Helper()
	resp, err := http.Get(p.Issuer() + "/keys")
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
		} `json:"keys"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&set))
	for _, key := range set.Keys {
		ids = append(ids, key.Kid)
	}
	return ids
}

func TestStopAndResumeOnTheSamePort(t *testing.T) {
	t.Parallel()
	p := start(t)
	before := p.Issuer()
	p.Stop()
	_, err := p.ServiceToken(t.Context(), "svc-nightly")
	require.ErrorContains(t, err, "refused")
	require.NoError(t, p.Resume(t.Context()))
	require.Equal(t, before, p.Issuer())
	_, err = p.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
}
