package devgateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRateLimitingByConsumerIPAndHeader(t *testing.T) {
	t.Parallel()
	b := newBench(t, `
_format_version: "3.0"
services:
- name: s
  url: http://127.0.0.1:SVC
  routes:
  - {name: h, paths: [/h], plugins: [{name: rate-limiting, config: {minute: 1, limit_by: header, header_name: X-Who}}]}
  - {name: i, paths: [/i], plugins: [{name: rate-limiting, config: {second: 2, hour: 2, limit_by: ip, hide_client_headers: true}}]}
`, nil)
	at := time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)
	b.gw.clock = func() time.Time { return at }
	who := func(name string) rawResponse {
		return b.send(rawRequest{path: "/h", headers: headers{{"X-Who", name}}})
	}
	first := who("a")
	require.Equal(t, 200, first.status)
	require.Equal(t, []string{"0"}, first.headers.values("RateLimit-Remaining"))
	second := who("a")
	require.Equal(t, 429, second.status)
	require.Equal(t, []string{"30"}, second.headers.values("Retry-After"))
	require.Contains(t, string(second.body), "API rate limit exceeded")
	require.Equal(t, 200, who("b").status, "another value has its own count")
	at = at.Add(31 * time.Second)
	require.Equal(t, 200, who("a").status, "a new minute")
	for _, want := range []int{200, 200, 429} {
		res := b.send(rawRequest{path: "/i"})
		require.Equal(t, want, res.status)
		require.False(t, res.headers.has("RateLimit-Limit"))
	}
	at = at.Add(2 * time.Second)
	require.Equal(t, 429, b.send(rawRequest{path: "/i"}).status, "the hour's limit still holds")
}

func TestRateLimitingOnEach(t *testing.T) {
	t.Parallel()
	onEach(t, `
_format_version: "3.0"
consumers:
- {username: alice, keyauth_credentials: [{key: ka}]}
- {username: bob, keyauth_credentials: [{key: kb}]}
services:
- name: s
  url: http://127.0.0.1:SVC
  routes:
  - {name: h, paths: [/h], plugins: [{name: rate-limiting, config: {hour: 1, limit_by: header, header_name: X-Who, policy: local}}]}
  - {name: c, paths: [/c], plugins: [{name: key-auth}, {name: rate-limiting, config: {hour: 1, day: 5, limit_by: consumer, policy: local}}]}
  - {name: i, paths: [/i], plugins: [{name: rate-limiting, config: {hour: 1, limit_by: ip, hide_client_headers: true, policy: local}}]}
`, func(t *testing.T, b *bench) {
		b = b.on(t)
		who := func(name string) rawResponse {
			return b.send(rawRequest{path: "/h", headers: headers{{"X-Who", name}}})
		}
		require.Equal(t, 200, who("a").status)
		limited := requireLimited(t, func() rawResponse { return who("a") })
		require.Contains(t, string(limited.body), "API rate limit exceeded")
		require.Equal(t, []string{"1"}, limited.headers.values("RateLimit-Limit"))
		require.Equal(t, []string{"0"}, limited.headers.values("X-RateLimit-Remaining-Hour"))
		require.Equal(t, limited.headers.values("RateLimit-Reset"), limited.headers.values("Retry-After"))
		require.Equal(t, 200, who("b").status, "another value has its own count")
		caller := func(key string) rawResponse {
			return b.send(rawRequest{path: "/c", headers: headers{{"apikey", key}}})
		}
		first := caller("ka")
		require.Equal(t, 200, first.status)
		require.Equal(t, []string{"4"}, first.headers.values("X-RateLimit-Remaining-Day"))
		require.Equal(t, []string{"0"}, first.headers.values("RateLimit-Remaining"))
		requireLimited(t, func() rawResponse { return caller("ka") })
		require.Equal(t, 200, caller("kb").status, "another caller has its own count")
		require.Equal(t, 401, caller("none").status)
		hidden := b.send(rawRequest{path: "/i"})
		require.Equal(t, 200, hidden.status)
		require.False(t, hidden.headers.has("RateLimit-Limit"))
		requireLimited(t, func() rawResponse { return b.send(rawRequest{path: "/i"}) })
	})
}

// requireLimited asks until there is a 429: Kong counts a request a moment
// after it has let it through.
func requireLimited(t *testing.T, ask func() rawResponse) (limited rawResponse) {
	t.Helper()
	require.Eventually(t, func() bool {
		limited = ask()
		return limited.status == 429
	}, 5*time.Second, 10*time.Millisecond)
	return limited
}

func TestKeyAuthACLAndTermination(t *testing.T) {
	t.Parallel()
	onEach(t, `
_format_version: "3.0"
consumers:
- username: alice
  custom_id: c-a
  keyauth_credentials: [{key: ka}]
  acls: [{group: admins}]
- username: bob
  keyauth_credentials: [{key: kb}]
- username: nobody
plugins:
- {name: correlation-id, config: {header_name: X-Corr, generator: uuid, echo_downstream: true}}
services:
- name: s
  url: http://127.0.0.1:SVC
  plugins: [{name: key-auth, config: {realm: here, hide_credentials: true}}]
  routes:
  - {name: a, paths: [/a], plugins: [{name: acl, config: {allow: [admins]}}]}
  - {name: d, paths: [/d], plugins: [{name: acl, config: {deny: [admins]}}]}
  - {name: o, paths: [/o], plugins: [{name: key-auth, config: {anonymous: nobody}}]}
  - {name: t, paths: [/t], plugins: [{name: request-termination, config: {status_code: 418, message: tea}}]}
`, keysAndGroups)
}

func keysAndGroups(t *testing.T, b *bench) {
	b = b.on(t)
	get := func(path, key string) rawResponse {
		q := rawRequest{path: path}
		if key != "" {
			q.headers.add("apikey", key)
		}
		return b.send(q)
	}
	none := get("/a", "")
	require.Equal(t, 401, none.status)
	require.Equal(t, []string{`Key realm="here"`}, none.headers.values("WWW-Authenticate"))
	require.Equal(t, 401, get("/a", "wrong").status)
	require.Equal(t, 200, get("/a", "ka").status)
	seen := b.up.take()[0].headers
	for name, want := range map[string]string{"X-Consumer-Username": "alice", "X-Consumer-Custom-ID": "c-a", "X-Consumer-Groups": "admins"} {
		require.Equal(t, []string{want}, seen.values(name), name)
	}
	require.False(t, seen.has("apikey"), "hidden")
	require.True(t, seen.has("X-Corr"))
	require.Equal(t, 403, get("/a", "kb").status, "a consumer without a group")
	require.Equal(t, 403, get("/d", "ka").status)
	require.Equal(t, 200, get("/d", "kb").status)
	require.Equal(t, 200, get("/o", "").status)
	require.Equal(t, []string{"true"}, b.up.take()[1].headers.values("X-Anonymous-Consumer"))
	tea := get("/t", "ka")
	require.Equal(t, 418, tea.status)
	require.JSONEq(t, `{"message":"tea"}`, string(tea.body))
	require.True(t, tea.headers.has("X-Corr"))
}
