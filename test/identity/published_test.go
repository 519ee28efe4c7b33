package identity

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/stretchr/testify/require"
)

const keySetPath = "/.well-known/kong-prefect/jwks.json"

// An upstream that trusts nobody: it fetches the key set through the gateway and verifies the assertion with a JOSE
// library of its own choice.
func TestUpstreamVerifiesTheAssertion(t *testing.T) {
	t.Parallel()
	delegated, err := s.idp.DelegatedToken(t.Context(), "agent-planner", personToken(t, s.idp, "alice"), "reports")
	require.NoError(t, err)
	spoof := http.Header{"X-Caller-Assertion": {"eyJhbGciOiJub25lIn0.e30."}, "x_caller_assertion": {"a.b.c"}}
	saw := get(t, "/echo", delegated, spoof).saw(t)
	require.Len(t, starting(saw, "x-caller-assertion"), 1)
	assertion := saw.Get("X-Caller-Assertion")

	set, err := jwk.Fetch(t.Context(), s.gateway.URL()+keySetPath)
	require.NoError(t, err)
	verify := func(audience string) (jwt.Token, error) {
		return jwt.Parse([]byte(assertion), jwt.WithKeySet(set), jwt.WithIssuer("https://gateway.example.com"), jwt.WithAudience(audience), jwt.WithValidate(true))
	}
	token, err := verify("https://upstream.example.com")
	require.NoError(t, err)
	_, err = verify("https://another.example.com")
	require.Error(t, err)

	message, err := jws.Parse([]byte(assertion))
	require.NoError(t, err)
	algorithm, _ := message.Signatures()[0].ProtectedHeaders().Algorithm()
	require.Equal(t, jwa.EdDSA(), algorithm)
	typ, _ := message.Signatures()[0].ProtectedHeaders().Type()
	require.Equal(t, "kong-prefect-caller+jwt", typ)

	issued, _ := token.IssuedAt()
	expires, _ := token.Expiration()
	require.LessOrEqual(t, expires.Sub(issued), time.Minute)
	require.Equal(t, "5d1a7c1e-alice", claim[string](t, token, "idp_sub"))
	require.Equal(t, s.idp.Issuer(), claim[string](t, token, "idp"))
	require.Equal(t, "user", claim[string](t, token, "kind"))
	require.Equal(t, "Alice Ä", claim[string](t, token, "name"))
	require.Equal(t, []any{"data-team", "sales, EMEA"}, claim[[]any](t, token, "groups"))
	require.Equal(t, []any{"viewer", "delegate"}, claim[[]any](t, token, "roles"))
	require.Equal(t, map[string]any{"sub": "agent-planner"}, claim[map[string]any](t, token, "act"))

	// The same caller has the same sub at all times, and every request its own statement.
	again := get(t, "/echo", personToken(t, s.idp, "alice"), nil).saw(t).Get("X-Caller-Assertion")
	other, err := jwt.Parse([]byte(again), jwt.WithKeySet(set))
	require.NoError(t, err)
	subject, _ := token.Subject()
	same, _ := other.Subject()
	require.Equal(t, subject, same)
	id, _ := token.JwtID()
	otherID, _ := other.JwtID()
	require.NotEqual(t, id, otherID)
}

func claim[T any](t *testing.T, token jwt.Token, name string) (v T) {
	t.Helper()
	require.NoError(t, token.Get(name, &v))
	return v
}

// RFC 9728: what a client finds when it has no token, from the challenge to the metadata.
func TestClientFindsTheProvider(t *testing.T) {
	t.Parallel()
	const metadata = "https://gateway.example.com/.well-known/oauth-protected-resource/echo"
	refused := get(t, "/echo", "", http.Header{"X-Forwarded-Host": {"evil.example.com"}, "X-Forwarded-Proto": {"gopher"}})
	require.Equal(t, 401, refused.status)
	require.Equal(t, `Bearer realm="kong-prefect", resource_metadata="`+metadata+`"`, refused.header.Get("WWW-Authenticate"))

	a := get(t, "/.well-known/oauth-protected-resource/echo", "", nil)
	require.Equal(t, 200, a.status)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	var document struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
		JWKS     string   `json:"jwks_uri"`
	}
	require.NoError(t, json.Unmarshal(a.body, &document))
	require.Equal(t, "https://gateway.example.com/echo", document.Resource)
	require.Equal(t, []string{s.idp.Issuer(), s.second.Issuer()}, document.Servers)
	require.Equal(t, []string{"reports"}, document.Scopes)
	require.Equal(t, "https://gateway.example.com"+keySetPath, document.JWKS)
}

// RFC 6750, section 3.1: what each answer says.
func TestChallenges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, authorization string
		status              int
		code, challenge     string
	}{
		"no token":          {"/echo", "", 401, "token_missing", ""},
		"invalid_token":     {"/echo", "Bearer abc", 401, "token_malformed", `error="invalid_token"`},
		"invalid_request":   {"/two-places", "Bearer " + serviceToken(t, s.idp, "svc-nightly"), 400, "token_duplicate", `error="invalid_request"`},
		"not a consumer":    {"/consumer", "Bearer " + serviceToken(t, s.idp, "svc-stranger"), 403, "consumer_unknown", `error="insufficient_scope"`},
		"another's service": {"/echo", "Bearer " + forge(t, s.idp, map[string]any{"aud": "x"}), 401, "token_audience_mismatch", `error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers := http.Header{"X-Assertion": {"abc"}}
			if c.authorization != "" {
				headers.Set("Authorization", c.authorization)
			}
			a := get(t, c.path, "", headers)
			require.Equal(t, c.code, a.code(t))
			require.Equal(t, c.status, a.status)
			challenge := a.header.Get("WWW-Authenticate")
			require.Contains(t, challenge, `Bearer realm="kong-prefect"`)
			require.Contains(t, challenge, c.challenge)
			if c.challenge != "" {
				require.Contains(t, challenge, "error_description=")
			}
		})
	}
}

// Keys that can't be had, with none of before to serve: the token may be good, so it is neither refused as bad nor taken.
func TestKeysThatCannotBeHad(t *testing.T) {
	t.Parallel()
	a := get(t, "/unreachable", forge(t, s.idp, map[string]any{"iss": "http://127.0.0.1:1"}), nil)
	require.Equal(t, "keys_unavailable", a.code(t))
	require.Equal(t, 503, a.status)
	require.Equal(t, "5", a.header.Get("Retry-After"))
	require.Empty(t, a.header.Get("WWW-Authenticate"))
	require.NotContains(t, string(a.body), "127.0.0.1", "where the keys are is the operator's")
}
