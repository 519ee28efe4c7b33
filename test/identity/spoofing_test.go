package identity

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// forge makes a token of the service account svc-nightly that is true but for the changes.
func forge(t *testing.T, p *provider.Provider, claims map[string]any) string {
	t.Helper()
	token, err := p.Forge(provider.Forgery{Service: "svc-nightly", Claims: claims})
	require.NoError(t, err)
	return token
}

func TestTwoAuthorizationHeaders(t *testing.T) {
	t.Parallel()
	good := "Authorization: Bearer " + serviceToken(t, s.idp, "svc-nightly")
	for name, lines := range map[string][]string{
		"two good":        {good, good},
		"a bad one last":  {good, "Authorization: Bearer abc"},
		"a bad one first": {"Authorization: Bearer abc", good},
		"of two schemes":  {"Authorization: Basic YTpi", good},
		"another case":    {good, "AUTHORIZATION: Bearer abc"},
	} {
		a := raw(t, "/echo", append(lines, "Connection: close")...)
		require.Equal(t, 400, a.status, name)
		require.Empty(t, a.header.Get("X-Upstream"), name)
	}
	// With an underscore it is another header, which nobody here reads.
	require.Equal(t, 401, raw(t, "/echo", "Authorization_: Bearer x", "Connection: close").status)
}

func TestTokensInTwoPlaces(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, s.idp, "svc-nightly")
	places := map[string]string{"Authorization": "Bearer " + token, "X-Assertion": token, "Cookie": "session=" + token}
	for name, value := range places {
		require.Equal(t, 200, get(t, "/two-places", "", http.Header{name: {value}}).status, name)
		for other, another := range places {
			if other != name {
				require.Equal(t, "token_duplicate", get(t, "/two-places", "", http.Header{name: {value}, other: {another}}).code(t), "%s and %s", name, other)
			}
		}
	}
}

func TestSpellingsOfBearer(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, s.idp, "svc-nightly")
	for value, code := range map[string]string{
		"bearer " + token: "", "BEARER " + token: "", "Bearer " + token: "",
		"Bearer  " + token: "credentials_malformed", "Bearer\t" + token: "credentials_malformed", "Bearer " + token + " x": "credentials_malformed",
		"Bearer " + token + "," + token: "credentials_malformed", "Bearer," + token: "credentials_malformed", "Bearer " + token + ", Bearer " + token: "credentials_malformed",
		"Bearer \"" + token + "\"": "credentials_malformed", "Bearer": "credentials_malformed", "Basic " + token: "token_missing", token: "token_missing",
		"Token " + token: "token_missing",
	} {
		a := raw(t, "/echo", "Authorization: "+value, "Connection: close")
		if code == "" {
			require.Equal(t, 200, a.status, value)
			continue
		}
		require.Equal(t, code, a.code(t), value)
		require.Equal(t, map[string]int{"credentials_malformed": 400, "token_missing": 401}[code], a.status, value)
	}
}

// spoofs are all that a client could send to be taken for somebody.
var spoofs = []string{
	"X-Caller-Subject", "X-Caller-Roles", "X-Caller-Kind", "X-Caller-Name", "X-Caller-Email", "X-Caller-Actors", "X-Caller-Groups", "X-Caller-Assertion",
	"X-Caller-Whatever", "X-Consumer-ID", "X-Consumer-Username", "X-Consumer-Custom-ID", "X-Consumer-Groups", "X-Credential-Identifier",
	"X-Credential-Username", "X-Anonymous-Consumer", "X-Authenticated-Groups", "X-Authenticated-Scope", "X-Authenticated-UserId",
	"Prefect-Automation-Id", "Prefect-Automation-Name",
}

func TestSpoofedHeaders(t *testing.T) {
	t.Parallel()
	spellings := map[string]func(string) string{
		"as written":  func(s string) string { return s },
		"underscores": func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		"mixed": func(s string) string {
			return strings.Replace(strings.ToLower(s), "-", "_", 1)
		},
		"upper case": strings.ToUpper,
		"lower case": strings.ToLower,
	}
	prefixes := []string{"x-caller-", "x-consumer-", "x-credential-", "x-anonymous-", "x-authenticated-", "prefect-automation-"}
	for _, path := range []string{"/echo", "/consumer", "/renamed"} {
		token := serviceToken(t, s.idp, "svc-second")
		want := starting(get(t, path, token, nil).saw(t), prefixes...)
		delete(want, "X-Caller-Assertion") // each has its own
		for name, spell := range spellings {
			for _, behind := range []int{0, 150, 800} {
				t.Run(fmt.Sprintf("%s %s behind %d", path, name, behind), func(t *testing.T) {
					t.Parallel()
					lines := []string{"Authorization: Bearer " + token, "Connection: close"}
					for i := range behind {
						lines = append(lines, fmt.Sprintf("F%d: 1", i))
					}
					for _, spoof := range spoofs {
						lines = append(lines, spell(spoof)+": root")
					}
					saw := starting(raw(t, path, lines...).saw(t), prefixes...)
					delete(saw, "X-Caller-Assertion")
					require.Equal(t, want, saw)
				})
			}
		}
	}
}

func TestSpoofedHeadersBehindMoreThanAThousand(t *testing.T) {
	t.Parallel()
	lines := []string{"Authorization: Bearer " + serviceToken(t, s.idp, "svc-second"), "Connection: close"}
	for i := range 1100 {
		lines = append(lines, fmt.Sprintf("F%d: 1", i))
	}
	a := raw(t, "/echo", append(lines, "X-Caller-Subject: root")...)
	require.GreaterOrEqual(t, a.status, 400)
	require.Empty(t, a.header.Get("X-Upstream"))
}

// What a Connection header names is dropped after the plugins ran: it may name nothing that we set.
func TestConnectionTakesNothingAway(t *testing.T) {
	t.Parallel()
	token := "Authorization: Bearer " + serviceToken(t, s.idp, "svc-nightly")
	for _, name := range append([]string{"Authorization"}, spoofs...) {
		for _, connection := range []string{name, "close, " + strings.ToLower(name), "close," + strings.ReplaceAll(name, "-", "_") + ",te"} {
			a := raw(t, "/echo", token, "Connection: "+connection)
			require.Equal(t, "connection_header_forbidden", a.code(t), connection)
		}
	}
	require.Equal(t, "connection_header_forbidden", raw(t, "/echo", token, "Connection: close", "Connection: x-caller-subject").code(t), "on a second line")
}

// However a path is written: without a token nothing is reached, and nothing published but at its own path.
func TestSpellingsOfPaths(t *testing.T) {
	t.Parallel()
	token := "Authorization: Bearer " + serviceToken(t, s.idp, "svc-nightly")
	for _, path := range []string{
		"/echo", "//echo", "/echo/", "/echo//x", "/%65cho", "/echo%2fx", "/echo/..;/x", "/echo/;x", "/echo;x", "/echo/%00", "/ECHO", "/echo.", "/echo/.",
		"/echo/../echo", "/x/../echo", "/echo/%2e%2e/echo", "/echo?x=/.well-known/oauth-protected-resource/echo", "/echo/.well-known/kong-prefect/jwks.json",
		"/.well-known/oauth-protected-resource/echo/../../../echo", "/.well-known/oauth-protected-resource/echo/x", "/.well-known/kong-prefect/jwks.json/..;/x",
		"/.well-known/kong-prefect/jwks.json%2f..%2f..%2f..%2fecho", "/.well-known/oauth-protected-resource/echo;x", "http://gateway.example.com/echo",
	} {
		a := raw(t, path, "Connection: close")
		require.Contains(t, []int{400, 401, 404}, a.status, path)
		require.Empty(t, a.header.Get("X-Upstream"), path)
		if known := raw(t, path, token, "Connection: close"); known.status == 200 {
			require.Equal(t, "svc-nightly", known.saw(t).Get("X-Caller-Subject"), path)
		}
	}
}

// What a client says of method, path and origin decides nothing.
func TestOverridesDecideNothing(t *testing.T) {
	t.Parallel()
	const free = "/.well-known/oauth-protected-resource/echo"
	for _, line := range []string{
		"X-HTTP-Method-Override: OPTIONS", "X-HTTP-Method: OPTIONS", "X-Method-Override: OPTIONS", "X-Original-URL: " + free, "X-Original-URI: " + free,
		"X-Original-Method: OPTIONS", "X-Rewrite-URL: " + free, "X-Forwarded-Uri: " + free, "X-Forwarded-Path: " + free, "X-Forwarded-Prefix: " + free,
		"X-Forwarded-Host: 127.0.0.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-User: root", "X-Forwarded-Email: root@example.com",
		"X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=localhost", "X-Kong-Request-Id: 1", "X-Remote-User: root", "Remote-User: root",
	} {
		a := raw(t, "/echo", line, "Connection: close")
		require.Equal(t, "token_missing", a.code(t), line)
		require.Contains(t, a.header.Get("WWW-Authenticate"), "https://gateway.example.com/", line)
	}
}

// A claim can't break a header or add one; the control characters that name somebody are refused with the token.
func TestClaimsThatBecomeHeaders(t *testing.T) {
	t.Parallel()
	evil := "a\r\nX-Injected: 1\r\n\r\nGET / HTTP/1.1 ä 世界 %0d%0a,b"
	const encoded = "a%0D%0AX-Injected: 1%0D%0A%0D%0AGET / HTTP/1.1 %C3%A4 %E4%B8%96%E7%95%8C %250d%250a%2Cb"
	saw := get(t, "/echo", forge(t, s.idp, map[string]any{"name": evil, "email": evil, "groups": []string{evil, "b\x00"}}), nil).saw(t)
	require.Equal(t, encoded, saw.Get("X-Caller-Name"))
	require.Equal(t, encoded, saw.Get("X-Caller-Email"))
	require.Equal(t, encoded+",b%00", saw.Get("X-Caller-Groups"))
	require.NotContains(t, saw, "X-Injected")
	for name, claims := range map[string]map[string]any{
		"subject": {"sub": "a\r\nX-Injected: 1"}, "client": {"client_id": "a\nb"},
	} {
		require.Equal(t, "token_claims_invalid", get(t, "/echo", forge(t, s.idp, claims), nil).code(t), name)
	}
	require.Equal(t, "claims_invalid", get(t, "/echo", forge(t, s.idp, map[string]any{"name": "a\x00"}), nil).code(t))
	long := get(t, "/echo", forge(t, s.idp, map[string]any{"sub": "Ä世\u202e"}), nil).saw(t)
	require.Equal(t, "%C3%84%E4%B8%96%E2%80%AE", long.Get("X-Caller-Subject"))
}

func TestWebsocketUpgradeNeedsAToken(t *testing.T) {
	t.Parallel()
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	require.Equal(t, "token_missing", raw(t, "/echo", upgrade...).code(t))
	require.Equal(t, "token_malformed", raw(t, "/echo", append(upgrade, "Authorization: Bearer abc")...).code(t))
	require.Equal(t, "token_missing", raw(t, "/echo?access_token="+serviceToken(t, s.idp, "svc-nightly"), upgrade...).code(t), "a token in the query is none")
	require.Equal(t, "token_missing", raw(t, "/echo", append(upgrade, "Sec-WebSocket-Protocol: bearer, "+serviceToken(t, s.idp, "svc-nightly"))...).code(t))
	a := raw(t, "/echo", append([]string{"Connection: Upgrade, X-Caller-Subject"}, append(upgrade[1:], "Authorization: Bearer "+serviceToken(t, s.idp, "svc-nightly"))...)...)
	require.Equal(t, "connection_header_forbidden", a.code(t))
}
