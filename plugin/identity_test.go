package plugin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/stamp"
	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// rig is prefect-identity with a configuration, between an issuer and a Kong.
type rig struct {
	*kongSide
	issuer *tokentest.Issuer
}

// newRig starts one. In the configuration ISSUER stands for the issuer's URL;
// it is all that comes after "issuers":[{"issuer":...,"audiences":[...].
func newRig(t *testing.T, configuration string) rig {
	t.Helper()
	issuer := tokentest.New(t, "ES256")
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	var err error
	p.Signing, err = signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	config := `{"issuers":[{"issuer":"ISSUER","audiences":["` + tokentest.Audience + `"]` + configuration + `}`
	return rig{kongWith(t, p, IdentityName, strings.ReplaceAll(config, "ISSUER", issuer.URL)), issuer}
}

func (r rig) bearer(change map[string]any) map[string][]string {
	return map[string][]string{"authorization": {"Bearer " + r.issuer.Mint(r.t, change)}}
}

// everything is a configuration that injects all there is to inject.
const everything = `,"consumer":{"mode":"kong"},"claims":{"attributes":[{"name":"team","claim":"/org/team"}]}}],
	"roles":[{"role":"runner","clients":["svc-nightly"]}],"hide_credentials":true,
	"headers":[{"name":"X-User","from":"account"},{"name":"X-Team","from":"attributes.team"},{"name":"X-Id","from":"id"}],
	"assertion":{"audience":"https://upstream","issuer":"https://gateway.example.com"},
	"resource":{"url":"https://gateway.example.com/runs","scopes":["runs:start"]}`

var nightly = map[string]any{"sub": "svc-nightly", "client_id": "svc-nightly", "org": map[string]any{"team": "data, EMEA"}}

// Whatever is injected, Kong waits for the plugin twice at most: once for what
// it reads, once for all that it sets. A caller that the process doesn't know
// yet costs one more.
func TestAtMostTwoFlights(t *testing.T) {
	t.Parallel()
	r := newRig(t, everything)
	r.consumers = []*kong_plugin_protocol.Consumer{{Id: "0f0d1d2b-0f4f-4f4b-8d5c-1d2e3f4a5b6c", Username: "svc-nightly", CustomId: "42"}}
	request := kongRequest{headers: r.bearer(nightly)}
	for name := range map[string]bool{"x-user": true, "x_user": true, "x-consumer-id": true, "x-caller-subject": true} {
		request.headers[name] = []string{"root"}
	}
	first := r.access(request)
	require.Equal(t, 3, first.flights)
	require.Contains(t, first.methods, "kong.client.load_consumer")
	for range 3 {
		saw := r.access(request)
		require.Equal(t, 2, saw.flights)
		require.NotContains(t, saw.methods, "kong.client.load_consumer", "lookups are cached for the process")
		require.Equal(t, first.set["X-Consumer-ID"], saw.set["X-Consumer-ID"])
	}

	require.Equal(t, "svc-nightly", first.set["X-User"])
	require.Equal(t, "data%2C EMEA", first.set["X-Team"])
	require.Equal(t, "svc-nightly", first.set["X-Consumer-Username"])
	require.Equal(t, "42", first.set["X-Consumer-Custom-ID"])
	require.Equal(t, "svc-nightly", first.set["X-Credential-Identifier"])
	require.NotContains(t, first.set, "X-Caller-Subject", "only the configured headers")
	require.ElementsMatch(t, []string{"x-user", "x_user", "x-consumer-id", "x-caller-subject", "authorization"}, first.cleared)
	require.Equal(t, []any{"runner"}, first.shared[sharedGroups])
	require.Equal(t, "0f0d1d2b-0f4f-4f4b-8d5c-1d2e3f4a5b6c", first.consumer.Consumer.Id)
	require.Equal(t, first.set["X-Id"], first.consumer.Credential.Id)
}

func TestEachCallerIsAConsumerByDefault(t *testing.T) {
	t.Parallel()
	r := newRig(t, `}],"authenticated_groups":"groups"`)
	saw := r.access(kongRequest{headers: r.bearer(map[string]any{"sub": "alice", "groups": []any{"data-team"}})})
	require.Equal(t, 2, saw.flights)
	require.Equal(t, stamp.CallerID(claims.Identity{Issuer: r.issuer.URL, Subject: "alice"}).String(), saw.consumer.Consumer.Id)
	require.Nil(t, saw.consumer.Credential, "with one acl would ignore the groups")
	require.Equal(t, []any{"data-team"}, saw.shared[sharedGroups])
	require.NotContains(t, saw.set, "X-Consumer-ID")
}

func TestConsumersOfKong(t *testing.T) {
	t.Parallel()
	known := []*kong_plugin_protocol.Consumer{{Id: "0f0d1d2b-0f4f-4f4b-8d5c-1d2e3f4a5b6c", Username: "alice"}}
	for name, c := range map[string]struct {
		consumer string
		claims   map[string]any
		code     string
		id       string
	}{
		"by user name":       {`{"mode":"kong"}`, map[string]any{"preferred_username": "alice"}, "", known[0].Id},
		"unknown":            {`{"mode":"kong"}`, map[string]any{"preferred_username": "bob"}, CodeConsumerUnknown, ""},
		"unknown, optional":  {`{"mode":"kong","optional":true}`, map[string]any{"preferred_username": "bob"}, "", ""},
		"by id":              {`{"mode":"kong","by":"id","from":["email"]}`, map[string]any{"email": known[0].Id}, "", known[0].Id},
		"by id that is none": {`{"mode":"kong","by":"id","from":["email"]}`, map[string]any{"email": "alice"}, CodeConsumerUnknown, ""},
		"an id as user name": {`{"mode":"kong"}`, map[string]any{"preferred_username": known[0].Id}, CodeConsumerUnknown, ""},
		"nothing to look by": {`{"mode":"kong","from":["email"]}`, nil, CodeConsumerUnknown, ""},
		"none wanted":        {`{"mode":"none"}`, map[string]any{"preferred_username": "alice"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, `,"consumer":`+c.consumer+`}]`)
			r.consumers = known
			saw := r.access(kongRequest{headers: r.bearer(c.claims)})
			if c.code != "" {
				require.Equal(t, c.code, saw.code(t))
				require.Empty(t, saw.set)
				return
			}
			require.Nil(t, saw.exit)
			require.Equal(t, c.id, saw.consumer.GetConsumer().GetId())
			require.Equal(t, c.id, saw.set["X-Consumer-ID"])
		})
	}
}

func TestConsumersByCustomID(t *testing.T) {
	t.Parallel()
	asked := 0
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked++
		if q.URL.Path != "/consumers" || q.URL.Query().Get("custom_id") != "f:alice&x=1" {
			_, _ = w.Write([]byte(`{"data":[{"id":"wrong","custom_id":"other"}]}`)) // one that can't filter
			return
		}
		_, _ = w.Write([]byte(`{"data":[{"id":"c-1","username":"alice","custom_id":"f:alice&x=1"}]}`))
	}))
	t.Cleanup(admin.Close)
	r := newRig(t, `,"consumer":{"mode":"kong","by":"custom_id","from":["subject"]}}],"consumers_admin_url":"`+admin.URL+`"`)
	request := kongRequest{headers: r.bearer(map[string]any{"sub": "f:alice&x=1"})}
	for range 3 {
		saw := r.access(request)
		require.Equal(t, 2, saw.flights)
		require.Equal(t, "c-1", saw.set["X-Consumer-ID"])
		require.Equal(t, "alice", saw.set["X-Consumer-Username"])
	}
	require.Equal(t, 1, asked)
	require.Equal(t, CodeConsumerUnknown, r.access(kongRequest{headers: r.bearer(map[string]any{"sub": "bob"})}).code(t))

	down := newRig(t, `,"consumer":{"mode":"kong","by":"custom_id"}}],"consumers_admin_url":"http://127.0.0.1:1"`)
	saw := down.access(kongRequest{headers: down.bearer(nil)})
	require.Equal(t, CodeConsumersUnavailable, saw.code(t))
	require.EqualValues(t, 503, saw.exit.Status)
}

// The consumer for requests without a token is for these alone.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	const config = `}],"anonymous":"guest"`
	guest := []*kong_plugin_protocol.Consumer{{Id: "0f0d1d2b-0f4f-4f4b-8d5c-1d2e3f4a5b6c", Username: "guest"}}
	r := newRig(t, config)
	r.consumers = guest
	saw := r.access(kongRequest{headers: map[string][]string{"x-caller-subject": {"root"}, "x_anonymous_consumer": {"no"}}})
	require.Nil(t, saw.exit)
	require.Equal(t, map[string]string{"X-Consumer-ID": guest[0].Id, "X-Consumer-Username": "guest", "X-Anonymous-Consumer": "true"}, saw.set)
	require.ElementsMatch(t, []string{"x-caller-subject", "x_anonymous_consumer"}, saw.cleared)
	require.Nil(t, saw.consumer.Credential)
	require.JSONEq(t, `{"identity":{"subject":"","issuer":"","kind":""},"anonymous":true}`, saw.shared[SharedIdentity].(string))

	for name, headers := range map[string]map[string][]string{
		"a bad token":     {"authorization": {"Bearer abc"}},
		"an expired one":  r.bearer(map[string]any{"exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix()}),
		"a mangled one":   {"authorization": {"Bearer,abc"}},
		"an empty one":    {"authorization": {"Bearer "}},
		"two":             {"authorization": {"Bearer a", "Bearer b"}},
		"taken by a hop":  {"connection": {"x-consumer-id"}},
		"someone else's":  {"authorization": {"Bearer " + tokentest.New(t, "ES256").Mint(t, nil)}},
		"without subject": r.bearer(map[string]any{"sub": tokentest.Absent}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := newRig(t, config)
			mine.consumers = guest
			require.NotNil(t, mine.access(kongRequest{headers: headers}).exit)
		})
	}
	missing := newRig(t, config)
	require.Equal(t, CodeConfigInvalid, missing.access(kongRequest{}).code(t), "an anonymous consumer that Kong doesn't have opens nothing")
}

func TestAnonymousIsNoCaller(t *testing.T) {
	t.Parallel()
	// What the trigger finds of an anonymous request.
	var c Caller
	require.NoError(t, json.Unmarshal([]byte(`{"identity":{"subject":"","issuer":"","kind":""},"anonymous":true}`), &c))
	require.True(t, c.Anonymous)
	require.Empty(t, c.Identity.Subject)
}

func TestHideCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers func(token string) map[string][]string
		cleared []string
		cookie  string
	}{
		"authorization": {func(s string) map[string][]string { return map[string][]string{"authorization": {"Bearer " + s}} }, []string{"authorization"}, ""},
		"and its proof": {func(s string) map[string][]string {
			return map[string][]string{"authorization": {"Bearer " + s}, "dpop": {"proof"}}
		}, []string{"dpop", "authorization"}, ""},
		"a header": {func(s string) map[string][]string { return map[string][]string{"x-assertion": {s}} }, []string{"x-assertion"}, ""},
		"a cookie": {func(s string) map[string][]string { return map[string][]string{"cookie": {"session=" + s}} }, []string{"cookie"}, ""},
		"among cookies": {func(s string) map[string][]string {
			return map[string][]string{"cookie": {"a=1; session=" + s + "; session2=b", "c=2"}}
		}, nil, "a=1; session2=b; c=2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, `}],"hide_credentials":true,"token_header":"X-Assertion","token_cookie":"session"`)
			saw := r.access(kongRequest{headers: c.headers(r.issuer.Mint(t, nil))})
			require.Nil(t, saw.exit)
			require.Equal(t, c.cleared, saw.cleared)
			require.Equal(t, c.cookie, saw.set["Cookie"])
		})
	}
}

// Where no issuer takes a token that isn't bound by DPoP, the challenge says so.
func TestChallengeWhereTokensMustBeBoundByDPoP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ binding, scheme string }{{"dpop", "DPoP "}, {"any", "Bearer "}, {"none", "Bearer "}} {
		r := newRig(t, `,"require_binding":"`+c.binding+`"}]`)
		saw := r.access(kongRequest{})
		require.Equal(t, token.ReasonMissing, saw.code(t))
		require.True(t, strings.HasPrefix(saw.answerHeader("WWW-Authenticate"), c.scheme+`realm=`), c.binding)
		require.Equal(t, c.binding == "dpop", strings.Contains(string(saw.exit.Body), "Authorization: DPoP TOKEN"))
	}
}

// Many servers read underscores as dashes: what a client sends beside the token, under another spelling of its header,
// must not reach the upstream in its place.
func TestOtherSpellingsOfTheTokensHeaderDoNotPass(t *testing.T) {
	t.Parallel()
	for _, hide := range []string{"true", "false"} {
		r := newRig(t, `}],"hide_credentials":`+hide+`,"token_header":"X-Proxy-Assertion"`)
		saw := r.access(kongRequest{headers: map[string][]string{
			"x-proxy-assertion": {r.issuer.Mint(t, nil)}, "x_proxy_assertion": {"forged"}, "x_proxy-assertion": {"forged"}, "x-proxy": {"stays"},
		}})
		require.Nil(t, saw.exit)
		want := []string{"x_proxy_assertion", "x_proxy-assertion"}
		if hide == "true" {
			want = append(want, "x-proxy-assertion")
		}
		require.ElementsMatch(t, want, saw.cleared)
	}
}

// An upstream verifies the assertion with an ordinary library and the keys
// that the plugin publishes.
func TestAssertion(t *testing.T) {
	t.Parallel()
	r := newRig(t, everything)
	r.consumers = []*kong_plugin_protocol.Consumer{{Id: "0f0d1d2b-0f4f-4f4b-8d5c-1d2e3f4a5b6c", Username: "f:alice"}}
	saw := r.access(kongRequest{headers: r.bearer(map[string]any{
		"sub": "f:alice", "act": map[string]any{"sub": "planner", "act": map[string]any{"client_id": "portal"}}, "org": map[string]any{"team": "data"},
	})})
	require.Nil(t, saw.exit)
	answer := r.access(kongRequest{path: KeySetPath})
	require.EqualValues(t, 200, answer.exit.Status)
	require.Equal(t, signing.MediaType, answer.answerHeader("Content-Type"))
	var keys jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(answer.exit.Body, &keys))

	parsed, err := josejwt.ParseSigned(saw.set["X-Caller-Assertion"], []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	var standard josejwt.Claims
	var rest map[string]any
	require.NoError(t, parsed.Claims(keys, &standard, &rest))
	require.NoError(t, standard.Validate(josejwt.Expected{Issuer: "https://gateway.example.com", AnyAudience: josejwt.Audience{"https://upstream"}, Time: time.Now()}))
	require.LessOrEqual(t, standard.Expiry.Time().Sub(standard.IssuedAt.Time()), time.Minute)
	require.Equal(t, stamp.CallerID(claims.Identity{Issuer: r.issuer.URL, Subject: "f:alice"}).String(), standard.Subject)
	require.NotEmpty(t, standard.ID)
	require.Equal(t, AssertionType, parsed.Headers[0].ExtraHeaders["typ"])
	require.Equal(t, "f:alice", rest["idp_sub"])
	require.Equal(t, r.issuer.URL, rest["idp"])
	require.Equal(t, map[string]any{"sub": "planner", "act": map[string]any{"client_id": "portal"}}, rest["act"])
	require.Equal(t, map[string]any{"team": "data"}, rest["attributes"])
}

func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	const metadata = "https://gateway.example.com/.well-known/oauth-protected-resource/runs"
	r := newRig(t, everything)
	saw := r.access(kongRequest{path: "/.well-known/oauth-protected-resource/runs"})
	require.EqualValues(t, 200, saw.exit.Status)
	require.LessOrEqual(t, saw.flights, 3)
	var document map[string]any
	require.NoError(t, json.Unmarshal(saw.exit.Body, &document))
	require.Equal(t, map[string]any{
		"resource": "https://gateway.example.com/runs", "authorization_servers": []any{r.issuer.URL}, "bearer_methods_supported": []any{"header"},
		"scopes_supported": []any{"runs:start"}, "jwks_uri": "https://gateway.example.com" + KeySetPath,
	}, document)

	for name, c := range map[string]struct {
		request kongRequest
		want    string
	}{
		"no token": {kongRequest{path: "/runs", headers: map[string][]string{"host": {"evil.example.com"}, "x-forwarded-host": {"evil.example.com"}}},
			`Bearer realm="kong-prefect", resource_metadata="` + metadata + `"`},
		"bad token": {kongRequest{path: "/.well-known/oauth-protected-resource/runs", headers: map[string][]string{"authorization": {"Bearer x"}}},
			`Bearer realm="kong-prefect", error="invalid_token", error_description="The token can't be read.", resource_metadata="` + metadata + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			saw := newRig(t, everything).access(c.request)
			require.EqualValues(t, 401, saw.exit.Status)
			require.Equal(t, c.want, saw.answerHeader("WWW-Authenticate"))
		})
	}
}

func TestMetadataOfAPathThatIsEncoded(t *testing.T) {
	t.Parallel()
	w, err := newWellKnown(ResourceConfig{URL: "https://gateway.example.com/a%20b/"}, nil, false)
	require.NoError(t, err)
	require.Equal(t, "https://gateway.example.com/.well-known/oauth-protected-resource/a%20b", w.metadataURL)
	require.Equal(t, "/.well-known/oauth-protected-resource/a b", w.metadataPath)
}

func TestPreciselyTheConfiguredPath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/runs/x", "/x" + KeySetPath, ""} {
		require.Equal(t, "token_missing", newRig(t, everything).access(kongRequest{path: path}).code(t), path)
	}
}

func TestBrokenGiftsNameTheField(t *testing.T) {
	t.Parallel()
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	for more, field := range map[string]string{
		`"headers":[{"name":"X-A","from":"sub"}]`:                                                                   `headers[1].from: "sub" is none of`,
		`"headers":[{"name":"X-A","from":"subject"},{"name":"x-a","from":"name"}]`:                                  "headers[2].name: \"x-a\" is set twice",
		`"headers":[{"name":"Authorization","from":"subject"}]`:                                                     "set by Kong itself",
		`"headers":[{"name":"X-Forwarded-User","from":"subject"}]`:                                                  "set by Kong itself",
		`"headers":[{"name":"X-Consumer-Username","from":"username"}]`:                                              "means something else",
		`"headers":[{"name":"X A","from":"subject"}]`:                                                               "headers[1].name",
		`"resource":{"url":"http://gateway.example.com"}`:                                                           "resource.url: must be https",
		`"resource":{"url":"https://gateway.example.com/#x"}`:                                                       "resource.url",
		`"assertion":{"audience":"a","issuer":"b"}`:                                                                 "no signing keys",
		`"assertion":{"audience":"a","issuer":"b","header":"X-Caller-Subject"}`:                                     "set twice",
		`"assertion":{"audience":"a","issuer":"b","lifetime_seconds":3600}`:                                         "assertion.lifetime_seconds",
		`"authenticated_groups":"everything"`:                                                                       "authenticated_groups",
		`"roles":[{"role":"r","claims":[{"claim":"a","values":[]}]}]`:                                               "values",
		`"issuers":[{"issuer":"https://a","audiences":["a"],"consumer":{"mode":"x"}}]`:                              "consumer.mode",
		`"issuers":[{"issuer":"https://a","audiences":["a"],"consumer":{"mode":"kong","by":"custom_id"}}]`:          "consumers_admin_url",
		`"issuers":[{"issuer":"https://a","audiences":["a"],"consumer":{"mode":"kong","from":["nickname"]}}]`:       "nickname",
		`"issuers":[{"issuer":"https://a","audiences":["a"],"claims":{"attributes":[{"name":"A B","claim":"x"}]}}]`: "attributes[1].name",
	} {
		config := `{"issuers":[{"issuer":"https://a","audiences":["a"]}],` + more + `}`
		if strings.HasPrefix(more, `"issuers"`) {
			config = "{" + more + "}"
		}
		_, err := compileIdentity(p, []byte(config))
		require.ErrorIs(t, err, ErrConfig, more)
		require.ErrorContains(t, err, field, more)
	}
}

// Roles for people work, and the log says what is better.
func TestRolesForPeopleAreAdvisedAgainst(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	p := NewProcess(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(p.Close)
	_, err := compileIdentity(p, []byte(`{"issuers":[{"issuer":"https://a","audiences":["a"]}],"roles":[{"role":"runner","subjects":["5d1a"]},{"role":"viewer","groups":["g"]}]}`))
	require.NoError(t, err)
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "roles[1]")
	require.NotContains(t, log.String(), "roles[2]")
}

// A new key is published before it signs, and an old one after it did: whoever
// fetched the set at any time in between can verify all that is on its way.
func TestAssertionKeysRotateWithOverlap(t *testing.T) {
	t.Parallel()
	now := time.Now()
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json"), Now: func() time.Time { return now }})
	require.NoError(t, err)
	a, err := newAsserter(&AssertionConfig{Audience: "https://upstream", Issuer: "https://gateway", Header: "X-A", LifetimeSeconds: 60}, keys)
	require.NoError(t, err)
	sign := func() *josejwt.JSONWebToken {
		h, err := a.header(Caller{Identity: claims.Identity{Subject: "s", Issuer: "i"}})
		require.NoError(t, err)
		parsed, err := josejwt.ParseSigned(h.Values[0], []jose.SignatureAlgorithm{jose.EdDSA})
		require.NoError(t, err)
		return parsed
	}
	published := func() (set jose.JSONWebKeySet) {
		require.NoError(t, json.Unmarshal(keySet(a.keys).Body, &set))
		return set
	}
	before, old := sign(), published()
	require.NoError(t, keys.Rotate())
	now = now.Add(signing.PublishLead / 2)
	between, both := sign(), published()
	require.Len(t, both.Keys, 2)
	require.Equal(t, before.Headers[0].KeyID, between.Headers[0].KeyID, "the new key doesn't sign yet")
	now = now.Add(signing.PublishLead)
	after := sign()
	require.NotEqual(t, before.Headers[0].KeyID, after.Headers[0].KeyID)
	var c map[string]any
	require.NoError(t, between.Claims(old, &c))
	require.NoError(t, after.Claims(both, &c), "whoever fetched the set in the meantime has the key")
	require.NoError(t, before.Claims(published(), &c))
}

// FuzzHeaderValue: whatever a claim holds, no header breaks, no list gains an
// item, and the exact value comes back.
func FuzzHeaderValue(f *testing.F) {
	f.Add("Alice Ä", "a,b")
	f.Add("a\r\nX-Injected: 1", "%2c\x00")
	f.Add(" ", "\xff")
	f.Fuzz(func(t *testing.T, a, b string) {
		h, err := newCallerHeaders([]HeaderConfig{{"X-Groups", "groups"}})
		require.NoError(t, err)
		var want []string
		for _, s := range []string{a, b} {
			if s != "" {
				want = append(want, s)
			}
		}
		headers := h.of(Caller{Identity: claims.Identity{Groups: []string{a, b}}})
		if len(want) == 0 {
			require.Empty(t, headers)
			return
		}
		line := headers[0].Values[0]
		require.Regexp(t, `^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$`, line)
		var have []string
		for item := range strings.SplitSeq(line, ",") {
			decoded, err := url.PathUnescape(item)
			require.NoError(t, err)
			have = append(have, decoded)
		}
		require.Equal(t, want, have)
	})
}
