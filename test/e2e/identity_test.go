package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// The refusals of prefect-identity, on a route with an upstream and on one that starts runs.
var guarded = []string{"/echo", reportRoute}

func TestWithoutTokenIsChallenged(t *testing.T) {
	t.Parallel()
	for _, path := range guarded {
		r := send(t, request{path: path, body: emea})
		requireRefused(t, r, http.StatusUnauthorized, "token_missing")
		// RFC 6750, section 3.1: no error code for a request without any authentication.
		require.Equal(t, `Bearer realm="kong-prefect"`, r.header.Get("WWW-Authenticate"))
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	foreign, err := provider.ForeignKey()
	require.NoError(t, err)
	publicKey, err := s.Provider.PublicKeyPEM()
	require.NoError(t, err)
	hourAgo := time.Now().Add(-time.Hour).Unix()
	inAnHour := time.Now().Add(time.Hour).Unix()

	for name, c := range map[string]struct {
		forgery provider.Forgery
		code    string
	}{
		"expired":           {provider.Forgery{Claims: map[string]any{"exp": hourAgo, "iat": hourAgo - 60, "nbf": nil}}, "token_expired"},
		"without exp":       {provider.Forgery{Claims: map[string]any{"exp": nil}}, "token_claims_invalid"},
		"not yet valid":     {provider.Forgery{Claims: map[string]any{"nbf": inAnHour, "exp": inAnHour + 60}}, "token_not_yet_valid"},
		"wrong audience":    {provider.Forgery{Claims: map[string]any{"aud": "somebody-else"}}, "token_audience_mismatch"},
		"without audience":  {provider.Forgery{Claims: map[string]any{"aud": nil}}, "token_audience_mismatch"},
		"another issuer":    {provider.Forgery{Claims: map[string]any{"iss": "http://127.0.0.1:1"}}, "token_issuer_unknown"},
		"signed by another": {provider.Forgery{Key: foreign}, "token_signature_invalid"},
		"unknown key id":    {provider.Forgery{Key: foreign, Header: map[string]any{"kid": "never-published"}}, "token_key_unknown"},
		"alg none": {provider.Forgery{Header: map[string]any{"alg": "none"}, Key: jwt.UnsafeAllowNoneSignatureType},
			"token_algorithm_not_allowed"},
		"HS256 with the public key": {provider.Forgery{Header: map[string]any{"alg": "HS256"}, Key: publicKey},
			"token_algorithm_not_allowed"},
		"a logout token": {provider.Forgery{Header: map[string]any{"typ": "logout+jwt"}}, "token_type_not_allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.forgery.Service = "svc-nightly"
			token, err := s.Provider.Forge(c.forgery)
			require.NoError(t, err)
			for _, path := range guarded {
				requireInvalidToken(t, send(t, request{path: path, body: emea, token: token}), c.code)
			}
		})
	}
}

func requireInvalidToken(t *testing.T, r response, code string) {
	t.Helper()
	requireRefused(t, r, http.StatusUnauthorized, code)
	require.Contains(t, r.header.Get("WWW-Authenticate"), `Bearer realm="kong-prefect", error="invalid_token"`)
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		authorization string
		status        int
		code          string
	}{
		"garbage":      {"Bearer abc", 401, "token_malformed"},
		"three dots":   {"Bearer a.b.c", 401, "token_malformed"},
		"five parts":   {"Bearer a.b.c.d.e", 401, "token_malformed"},
		"basic":        {"Basic YWxpY2U6c2VjcmV0", 401, "token_missing"},
		"empty bearer": {"Bearer ", 400, "credentials_malformed"},
		"two words":    {"Bearer a b", 400, "credentials_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, request{path: "/echo", headers: http.Header{"Authorization": {c.authorization}}})
			requireRefused(t, r, c.status, c.code)
			require.Contains(t, r.header.Get("WWW-Authenticate"), "Bearer ")
		})
	}
}

func TestIDTokenIsNoAccessToken(t *testing.T) {
	t.Parallel()
	token, err := s.Provider.PersonToken(t.Context(), "alice")
	require.NoError(t, err)
	idToken, ok := token.Extra("id_token").(string)
	require.True(t, ok)
	requireInvalidToken(t, send(t, request{path: "/echo", token: idToken}), "token_type_not_allowed")
}

func TestUpstreamLearnsAService(t *testing.T) {
	t.Parallel()
	e := requireEcho(t, send(t, request{path: "/echo", token: serviceToken(t, "svc-nightly")}))
	require.Equal(t, map[string]string{
		"X-Caller-Subject": "svc-nightly",
		"X-Caller-Issuer":  s.Provider.Issuer(),
		"X-Caller-Kind":    "service",
		"X-Caller-Client":  "svc-nightly",
		"X-Caller-Roles":   "runner",
	}, callerHeaders(e))
}

func TestUpstreamLearnsAPerson(t *testing.T) {
	t.Parallel()
	e := requireEcho(t, send(t, request{path: "/echo", token: personToken(t, "alice")}))
	require.Equal(t, map[string]string{
		"X-Caller-Subject": "5d1a7c1e-alice",
		"X-Caller-Issuer":  s.Provider.Issuer(),
		"X-Caller-Kind":    "user",
		"X-Caller-Name":    "Alice %C3%84",
		"X-Caller-Email":   "alice@example.com",
		"X-Caller-Client":  provider.PeopleClient,
		"X-Caller-Groups":  "data-team,sales%2C EMEA",
		"X-Caller-Scopes":  "openid,profile,email",
		"X-Caller-Roles":   "viewer",
	}, callerHeaders(e))
}

func TestUpstreamLearnsAnAgent(t *testing.T) {
	t.Parallel()
	e := requireEcho(t, send(t, request{path: "/echo", token: serviceToken(t, "agent-planner")}))
	require.Equal(t, "agent", e.Header.Get("X-Caller-Kind"))
}

func TestStrangerIsKnownButHasNoRole(t *testing.T) {
	t.Parallel()
	e := requireEcho(t, send(t, request{path: "/echo", token: serviceToken(t, "svc-stranger")}))
	require.Equal(t, "svc-stranger", e.Header.Get("X-Caller-Subject"))
	require.NotContains(t, e.Header, "X-Caller-Roles")
}

// A new key is taken without a restart: its unknown kid makes the gateway ask the provider again.
func TestKeyRotation(t *testing.T) {
	before := serviceToken(t, "svc-nightly")
	requireEcho(t, send(t, request{path: "/echo", token: before}))
	require.NoError(t, s.Provider.RotateKey(true))
	after := serviceToken(t, "svc-nightly")
	require.Eventually(t, func() bool { // the cool-down after the last unknown kid may have to pass
		return send(t, request{path: "/echo", token: after}).status == http.StatusOK
	}, 30*time.Second, 200*time.Millisecond)
	requireEcho(t, send(t, request{path: "/echo", token: before}))
}

// While the provider is away, tokens signed by keys that are known are still verified.
func TestProviderAway(t *testing.T) {
	token, stranger := serviceToken(t, "svc-nightly"), serviceToken(t, "svc-stranger")
	requireEcho(t, send(t, request{path: "/echo", token: token}))
	s.Provider.Stop()
	defer func() { require.NoError(t, s.Provider.Resume(t.Context())) }()
	requireEcho(t, send(t, request{path: "/echo", token: stranger}))
}
