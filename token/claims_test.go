package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// rawClaims signs a good token in which one claim is replaced by raw JSON.
func rawClaims(t testing.TB, s *setup, name, raw string) string {
	t.Helper()
	payload := string(mustJSON(t, s.issuer.Claims(map[string]any{name: tokentest.Absent})))
	payload = strings.TrimSuffix(payload, "}") + fmt.Sprintf(",%q:%s}", name, raw)
	return s.issuer.Key().SignRaw(t, mustJSON(t, map[string]any{"alg": "ES256", "kid": s.issuer.Key().ID}), []byte(payload))
}

func TestDatesOfEveryType(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for _, name := range []string{"exp", "nbf", "iat"} {
		for kind, raw := range map[string]string{
			"string": `"1800000060"`, "negative": "-1", "1e400": "1e400", "bool": "true", "null": "null", "list": "[1800000060]",
			"object": "{}", "year 10000": "253402300800", "beyond int64": "9223372036854775808",
		} {
			t.Run(name+" as "+kind, func(t *testing.T) {
				s.refuses(t, token.ReasonClaims, rawClaims(t, s, name, raw))
			})
		}
	}
	for name, c := range map[string]struct{ claim, raw, reason string }{
		"exp as float":                 {"exp", "1800000060.9", ""},
		"exp with exponent":            {"exp", "1.80000006e9", ""},
		"nbf as float":                 {"nbf", "1799999990.5", ""},
		"iat as float":                 {"iat", "1799999990.5", ""},
		"exp as float is rounded down": {"exp", "1799999970.9", token.ReasonExpired},
		"nbf as float is rounded up":   {"nbf", "1800000030.1", token.ReasonNotYetValid},
		"exp zero":                     {"exp", "0", token.ReasonExpired},
		"NaN":                          {"exp", "NaN", token.ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			compact := rawClaims(t, s, c.claim, c.raw)
			if c.reason == "" {
				s.accepts(t, compact)
				return
			}
			s.refuses(t, c.reason, compact)
		})
	}
}

func TestTimesAndLeeway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leeway time.Duration
		change map[string]int64 // seconds from now
		reason string
	}{
		"exp equal to now, no leeway":   {-1, map[string]int64{"exp": 0}, token.ReasonExpired},
		"exp one second on, no leeway":  {-1, map[string]int64{"exp": 1}, ""},
		"exp at the leeway's edge":      {0, map[string]int64{"exp": -30}, token.ReasonExpired},
		"exp within the leeway":         {0, map[string]int64{"exp": -29}, ""},
		"nbf at the leeway's edge":      {0, map[string]int64{"nbf": 30}, ""},
		"nbf beyond the leeway":         {0, map[string]int64{"nbf": 31}, token.ReasonNotYetValid},
		"nbf equal to now, no leeway":   {-1, map[string]int64{"nbf": 0}, ""},
		"nbf one second on, no leeway":  {-1, map[string]int64{"nbf": 1}, token.ReasonNotYetValid},
		"iat in the future":             {0, map[string]int64{"iat": 31, "exp": 100}, token.ReasonNotYetValid},
		"iat within the leeway":         {0, map[string]int64{"iat": 30, "exp": 100}, ""},
		"lifetime at the cap":           {0, map[string]int64{"iat": 0, "exp": 86400}, ""},
		"lifetime above the cap":        {0, map[string]int64{"iat": 0, "exp": 86401}, token.ReasonLifetime},
		"old token, lifetime above cap": {0, map[string]int64{"iat": -86400, "exp": 10}, token.ReasonLifetime},
		"own leeway":                    {2 * time.Minute, map[string]int64{"exp": -119}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.Leeway = c.leeway })
			claims := map[string]any{}
			for name, offset := range c.change {
				claims[name] = s.clock.Now().Unix() + offset
			}
			compact := s.issuer.Mint(t, claims)
			if c.reason == "" {
				s.accepts(t, compact)
				return
			}
			s.refuses(t, c.reason, compact)
		})
	}
}

func TestLifetimeWithoutIssuedAt(t *testing.T) {
	t.Parallel()
	change := map[string]any{"iat": tokentest.Absent, "exp": time.Unix(1_800_000_000, 0).Add(48 * time.Hour).Unix()}
	s := newSetup(t)
	s.refuses(t, token.ReasonLifetime, s.issuer.Mint(t, change))
	s = newSetup(t, func(i *token.Issuer, _ *token.Options) { i.InsecureUnlimitedLifetime = true })
	s.accepts(t, s.issuer.Mint(t, change))
}

func TestNoExpiry(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.refuses(t, token.ReasonClaims, s.issuer.Mint(t, map[string]any{"exp": tokentest.Absent}))
	s.refuses(t, token.ReasonClaims, s.issuer.Mint(t, map[string]any{"exp": tokentest.Absent, "EXP": 9999999999, "Exp": 9999999999}))
}

func TestAudience(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for name, c := range map[string]struct {
		aud    any
		reason string
	}{
		"string":           {"kong-prefect", ""},
		"list":             {[]string{"account", "kong-prefect"}, ""},
		"another":          {"account", token.ReasonAudience},
		"other list":       {[]string{"account", "kong"}, token.ReasonAudience},
		"prefix":           {"kong-prefect-dev", token.ReasonAudience},
		"case":             {"Kong-Prefect", token.ReasonAudience},
		"comma":            {"a,kong-prefect", token.ReasonAudience},
		"space":            {"a kong-prefect", token.ReasonAudience},
		"wildcard":         {"*", token.ReasonAudience},
		"empty":            {"", token.ReasonAudience},
		"empty list":       {[]string{}, token.ReasonAudience},
		"absent":           {tokentest.Absent, token.ReasonAudience},
		"null":             {nil, token.ReasonAudience},
		"nested":           {[]any{[]string{"kong-prefect"}}, token.ReasonClaims},
		"mixed":            {[]any{"kong-prefect", 1}, token.ReasonClaims},
		"object":           {map[string]any{"kong-prefect": true}, token.ReasonClaims},
		"number":           {1, token.ReasonClaims},
		"bool":             {true, token.ReasonClaims},
		"null in the list": {[]any{nil, "kong-prefect"}, token.ReasonClaims},
	} {
		t.Run(name, func(t *testing.T) {
			compact := s.issuer.Mint(t, map[string]any{"aud": c.aud})
			if c.reason == "" {
				s.accepts(t, compact)
				return
			}
			s.refuses(t, c.reason, compact)
		})
	}
}

func TestAudienceFromClientID(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.AudienceClaim = "client_id" })
	s.accepts(t, s.issuer.Mint(t, map[string]any{"aud": tokentest.Absent, "client_id": "kong-prefect", "token_use": "access"}))
	s.refuses(t, token.ReasonAudience, s.issuer.Mint(t, map[string]any{"aud": "kong-prefect", "client_id": "other"}))
}

func TestAuthorizedParty(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.AuthorizedParties = []string{"cli", "web"} })
	s.accepts(t, s.issuer.Mint(t, nil))
	s.accepts(t, s.issuer.Mint(t, map[string]any{"client_id": tokentest.Absent, "azp": "web"}))
	s.refuses(t, token.ReasonParty, s.issuer.Mint(t, map[string]any{"client_id": "evil"}))
	s.refuses(t, token.ReasonParty, s.issuer.Mint(t, map[string]any{"client_id": tokentest.Absent}))
	s.accepts(t, s.issuer.Mint(t, map[string]any{"client_id": "cli", "azp": "web"}))
	s.refuses(t, token.ReasonParty, s.issuer.Mint(t, map[string]any{"client_id": "cli", "azp": "evil"}))
	s.refuses(t, token.ReasonParty, s.issuer.Mint(t, map[string]any{"client_id": "cli", "appid": "evil"}))
	s.refuses(t, token.ReasonClaims, s.issuer.Mint(t, map[string]any{"cid": []string{"web"}}))
	s.refuses(t, token.ReasonClaims, s.issuer.Mint(t, map[string]any{"client_id": tokentest.Absent, "azp": []string{"web"}}))
}

func TestIssuerIsComparedExactly(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	url := s.issuer.URL
	for name, c := range map[string]struct {
		iss    any
		reason string
	}{
		"trailing slash": {url + "/", token.ReasonIssuer},
		"case":           {strings.ToUpper(url), token.ReasonIssuer},
		"https for http": {strings.Replace(url, "http:", "https:", 1), token.ReasonIssuer},
		"homoglyph":      {strings.Replace(url, "1", "\u0661", 1), token.ReasonIssuer},
		"userinfo":       {strings.Replace(url, "http://", "http://a@", 1), token.ReasonIssuer},
		"at the end":     {url + "@evil.example", token.ReasonIssuer},
		"query":          {url + "?x", token.ReasonIssuer},
		"space":          {url + " ", token.ReasonIssuer},
		"empty":          {"", token.ReasonIssuer},
		"absent":         {tokentest.Absent, token.ReasonClaims},
		"list":           {[]string{url}, token.ReasonClaims},
		"null":           {nil, token.ReasonClaims},
	} {
		t.Run(name, func(t *testing.T) {
			s.refuses(t, c.reason, s.issuer.Mint(t, map[string]any{"iss": c.iss}))
		})
	}
	e := s.refuses(t, token.ReasonIssuer, s.issuer.Mint(t, map[string]any{"iss": url + "/"}))
	require.Contains(t, e.Detail, url, "a near miss names the configured issuer")
}

func TestNamesTwiceOrInAnotherCase(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	header := mustJSON(t, map[string]any{"alg": "ES256", "kid": "key-1"})
	good := strings.TrimSuffix(string(mustJSON(t, s.issuer.Claims(nil))), "}")
	for name, more := range map[string]string{
		"iss twice":           `,"iss":"https://evil.example"`,
		"iss twice, escaped":  `,"\u0069ss":"https://evil.example"`,
		"sub twice":           `,"sub":"root"`,
		"twice in an object":  `,"realm_access":{"roles":["a"],"roles":["admin"]}`,
		"twice within a list": `,"x":[{"a":1,"a":2}]`,
	} {
		t.Run(name, func(t *testing.T) {
			s.refuses(t, token.ReasonMalformed, s.issuer.Key().SignRaw(t, header, []byte(good+more+"}")))
		})
	}
	t.Run("another case is another name", func(t *testing.T) {
		v := s.accepts(t, s.issuer.Key().SignRaw(t, header, []byte(good+`,"ISS":"evil","Sub":"root","AUD":"x"}`)))
		require.Equal(t, "f:alice", v.Subject())
	})
	t.Run("invalid utf-8", func(t *testing.T) {
		s.refuses(t, token.ReasonMalformed, s.issuer.Key().SignRaw(t, header, []byte(good+",\"x\":\"\xff\"}")))
	})
	t.Run("lone surrogate", func(t *testing.T) {
		s.refuses(t, token.ReasonMalformed, s.issuer.Key().SignRaw(t, header, []byte(good+`,"x":"\ud800"}`)))
	})
	t.Run("too deep", func(t *testing.T) {
		s.refuses(t, token.ReasonMalformed, s.issuer.Key().SignRaw(t, header, []byte(good+`,"x":`+strings.Repeat("[", 17)+strings.Repeat("]", 17)+"}")))
	})
}

func TestManyGroupsAreBounded(t *testing.T) {
	t.Parallel()
	groups := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("g%d", i)
		}
		return list
	}
	s := newSetup(t)
	s.accepts(t, s.issuer.Mint(t, map[string]any{"groups": groups(1000)}))
	s.refuses(t, token.ReasonTooLarge, s.issuer.Mint(t, map[string]any{"groups": groups(10_000)}))
	s = newSetup(t, func(_ *token.Issuer, o *token.Options) { o.MaxTokenBytes = 1 << 20 })
	s.refuses(t, token.ReasonMalformed, s.issuer.Mint(t, map[string]any{"groups": groups(10_000)}))
}

func TestSubject(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for name, sub := range map[string]any{
		"absent": tokentest.Absent, "empty": "", "number": 1, "null": nil, "list": []string{"a"},
		"newline": "alice\nX-Role: admin", "carriage return": "alice\r", "nul": "a\x00", "delete": "a\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			s.refuses(t, token.ReasonClaims, s.issuer.Mint(t, map[string]any{"sub": sub}))
		})
	}
	v := s.accepts(t, s.issuer.Mint(t, map[string]any{"sub": "Alice Ä ✓"}))
	require.Equal(t, "Alice Ä ✓", v.Subject())
}

func TestOtherTokensOfferedAsAccessTokens(t *testing.T) {
	t.Parallel()
	keycloak := map[string]any{"typ": "Bearer", "azp": "cli", "client_id": tokentest.Absent, "sid": "s"}
	idToken := map[string]any{"azp": tokentest.Audience, "client_id": tokentest.Absent, "scope": tokentest.Absent}
	with := func(base map[string]any, name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range base {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		typ    any
		claims map[string]any
		good   bool
	}{
		"access token, at+jwt":                {"at+jwt", nil, true},
		"access token, application/AT+JWT":    {"application/AT+JWT", nil, true},
		"access token, JWT":                   {"JWT", nil, true},
		"access token, no typ":                {tokentest.Absent, nil, true},
		"keycloak access token":               {"JWT", keycloak, true},
		"keycloak id token":                   {"JWT", with(keycloak, "typ", "ID"), false},
		"keycloak refresh token":              {"JWT", with(keycloak, "typ", "Refresh"), false},
		"keycloak offline token":              {"JWT", with(keycloak, "typ", "Offline"), false},
		"keycloak logout token":               {"JWT", with(keycloak, "typ", "Logout"), false},
		"typ claim of another type":           {"JWT", with(keycloak, "typ", []string{"Bearer"}), false},
		"cognito id token":                    {tokentest.Absent, map[string]any{"token_use": "id"}, false},
		"id token with nonce":                 {"JWT", map[string]any{"nonce": "n"}, false},
		"id token with at_hash":               {"JWT", map[string]any{"at_hash": "h"}, false},
		"id token with c_hash":                {"JWT", map[string]any{"c_hash": "h"}, false},
		"id token with s_hash":                {"JWT", map[string]any{"s_hash": "h"}, false},
		"id token with its client alone":      {"JWT", idToken, false},
		"access token for its client, scope":  {"JWT", with(idToken, "scope", "a"), true},
		"logout token by header":              {"logout+jwt", nil, false},
		"logout token by events":              {"JWT", map[string]any{"events": map[string]any{}}, false},
		"logout token calling itself at+jwt":  {"at+jwt", map[string]any{"events": map[string]any{}}, false},
		"security event token":                {"secevent+jwt", nil, false},
		"dpop proof by header":                {"dpop+jwt", nil, false},
		"dpop proof by claims":                {"JWT", map[string]any{"htm": "GET", "htu": "https://x"}, false},
		"dpop proof by htu alone":             {"JWT", map[string]any{"htu": "https://x"}, false},
		"client assertion":                    {"JWT", map[string]any{"sub": "ISSUER"}, false},
		"client assertion by header":          {"client-authentication+jwt", nil, false},
		"id token calling itself by header":   {"id+jwt", nil, false},
		"refresh token by typ claim, at+jwt?": {"at+jwt", map[string]any{"typ": "Refresh"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			claims := with(c.claims, "_", 0)
			if claims["sub"] == "ISSUER" {
				claims["sub"] = s.issuer.URL
			}
			compact := s.issuer.MintWith(t, map[string]any{"typ": c.typ}, claims)
			if c.good {
				s.accepts(t, compact)
				return
			}
			s.refuses(t, token.ReasonType, compact)
		})
	}
	t.Run("required at+jwt", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.RequireAccessTokenType = true })
		s.accepts(t, s.issuer.Mint(t, nil))
		s.refuses(t, token.ReasonType, s.issuer.MintWith(t, map[string]any{"typ": "JWT"}, nil))
	})
	t.Run("the long switch", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.InsecureAcceptAnyTokenType = true })
		s.accepts(t, s.issuer.MintWith(t, map[string]any{"typ": "JWT"}, map[string]any{"nonce": "n"}))
	})
}
