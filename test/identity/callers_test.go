package identity

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A service account, a person, an agent, and an agent that acts for a person by token exchange at the real provider.
func TestCallers(t *testing.T) {
	t.Parallel()
	alice := personToken(t, s.idp, "alice")
	delegated, err := s.idp.DelegatedToken(t.Context(), "agent-planner", alice, "reports")
	require.NoError(t, err)
	further, err := s.idp.DelegatedToken(t.Context(), "svc-second", delegated)
	require.NoError(t, err)
	person := map[string]string{
		"X-Caller-Subject": "5d1a7c1e-alice", "X-Caller-Issuer": s.idp.Issuer(), "X-Caller-Kind": "user", "X-Caller-Name": "Alice %C3%84",
		"X-Caller-Email": "alice@example.com", "X-Caller-Groups": "data-team,sales%2C EMEA", "X-Caller-Roles": "viewer",
	}
	for name, c := range map[string]struct {
		token string
		want  map[string]string
	}{
		"service account": {serviceToken(t, s.idp, "svc-nightly"), map[string]string{
			"X-Caller-Subject": "svc-nightly", "X-Caller-Issuer": s.idp.Issuer(), "X-Caller-Kind": "service",
			"X-Caller-Client": "svc-nightly", "X-Caller-Roles": "runner"}},
		"agent": {serviceToken(t, s.idp, "agent-planner"), map[string]string{
			"X-Caller-Subject": "agent-planner", "X-Caller-Issuer": s.idp.Issuer(), "X-Caller-Kind": "agent", "X-Caller-Client": "agent-planner"}},
		"person": {alice, with(person, map[string]string{"X-Caller-Client": "command-line", "X-Caller-Scopes": "openid,profile,email"})},
		"agent for a person": {delegated, with(person, map[string]string{
			"X-Caller-Client": "agent-planner", "X-Caller-Scopes": "reports", "X-Caller-Actors": "agent-planner", "X-Caller-Roles": "viewer,delegate"})},
		"a service for the agent for the person": {further, with(person, map[string]string{
			"X-Caller-Client": "svc-second", "X-Caller-Actors": "svc-second,agent-planner", "X-Caller-Roles": "viewer,delegate"})},
		"the second provider's": {serviceToken(t, s.second, "svc-nightly"), map[string]string{
			"X-Caller-Subject": "svc-nightly", "X-Caller-Issuer": s.second.Issuer(), "X-Caller-Kind": "service",
			"X-Caller-Client": "svc-nightly", "X-Caller-Roles": "partner"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers := starting(get(t, "/echo", c.token, nil).saw(t), "x-caller-")
			require.NotEmpty(t, headers["X-Caller-Assertion"])
			delete(headers, "X-Caller-Assertion")
			require.Equal(t, c.want, headers)
		})
	}
}

func with(base, more map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{base, more} {
		for name, value := range m {
			all[name] = value
		}
	}
	return all
}

// A key of one provider says nothing in the name of the other.
func TestTwoProvidersAreTwo(t *testing.T) {
	t.Parallel()
	forged := forge(t, s.second, map[string]any{"iss": s.idp.Issuer()})
	require.Equal(t, "token_key_unknown", get(t, "/echo", forged, nil).code(t))
}

// Kong's acl plugin decides by caller: by their roles, their groups, or the groups of the consumer that they are.
func TestACLByCaller(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, token string
		status      int
	}{
		"role":                         {"/by-role", serviceToken(t, s.idp, "svc-nightly"), 200},
		"another role":                 {"/by-role", personToken(t, s.idp, "alice"), 403},
		"no role":                      {"/by-role", serviceToken(t, s.idp, "svc-stranger"), 403},
		"the other provider's":         {"/by-role", serviceToken(t, s.second, "svc-nightly"), 403},
		"group":                        {"/by-group", personToken(t, s.idp, "alice"), 200},
		"no group":                     {"/by-group", personToken(t, s.idp, "bob"), 403},
		"the consumer's group":         {"/by-consumer", serviceToken(t, s.idp, "svc-nightly"), 200},
		"another group":                {"/by-consumer", serviceToken(t, s.idp, "svc-second"), 403},
		"a consumer Kong doesn't know": {"/by-consumer", serviceToken(t, s.idp, "svc-stranger"), 403},
		"nobody":                       {"/by-role", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := get(t, c.path, c.token, http.Header{"X-Authenticated-Groups": {"runner, data-team"}, "X-Consumer-Groups": {"gold"}})
			require.Equal(t, c.status, a.status, "%s", a.body)
		})
	}
}

// Kong's rate-limiting counts by caller, whether or not Kong knows them: two each, whatever the others do.
func TestRateLimitingByCaller(t *testing.T) {
	t.Parallel()
	for path, callers := range map[string][]string{"/limited": {"svc-stranger", "svc-nightly"}, "/limited-consumer": {"svc-nightly", "svc-second"}} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			for _, caller := range callers {
				token := serviceToken(t, s.idp, caller)
				// What the client says of itself counts nothing.
				spoof := http.Header{"X-Consumer-Id": {caller}, "X-Forwarded-For": {"203.0.113.7"}}
				require.Equal(t, 200, get(t, path, token, spoof).status, caller)
				require.Equal(t, 200, get(t, path, serviceToken(t, s.idp, caller), nil).status, "a new token is the same caller")
				require.Equal(t, 429, get(t, path, token, nil).status, caller)
			}
		})
	}
	// The same client id at another provider is somebody else.
	require.Equal(t, 200, get(t, "/limited", serviceToken(t, s.second, "svc-second"), nil).status)
	require.Equal(t, 200, get(t, "/limited", serviceToken(t, s.idp, "svc-second"), nil).status)
	require.Equal(t, 200, get(t, "/limited", serviceToken(t, s.idp, "svc-second"), nil).status)
}

func TestConsumerHeaders(t *testing.T) {
	t.Parallel()
	saw := get(t, "/consumer", serviceToken(t, s.idp, "svc-nightly"), http.Header{"x_consumer_username": {"root"}, "X-Anonymous-Consumer": {"true"}}).saw(t)
	require.Equal(t, "svc-nightly", saw.Get("X-Consumer-Username"))
	require.Equal(t, "4711", saw.Get("X-Consumer-Custom-Id"))
	require.Equal(t, "svc-nightly", saw.Get("X-Credential-Identifier"))
	require.NotEmpty(t, saw.Get("X-Consumer-Id"))
	require.Len(t, starting(saw, "x-consumer-", "x-anonymous"), 3)
	require.Equal(t, "consumer_unknown", get(t, "/consumer", serviceToken(t, s.idp, "svc-stranger"), nil).code(t))
}

// Kong's plugins can't look for custom_id; its Admin API can.
func TestConsumerByCustomID(t *testing.T) {
	t.Parallel()
	saw := get(t, "/custom-id", forge(t, s.idp, map[string]any{"number": "4711"}), http.Header{"X-Consumer-Custom-Id": {"1"}}).saw(t)
	require.Equal(t, "svc-nightly", saw.Get("X-Consumer-Username"))
	require.Equal(t, "4711", saw.Get("X-Consumer-Custom-Id"))
	require.Equal(t, "consumer_unknown", get(t, "/custom-id", forge(t, s.idp, map[string]any{"number": "471"}), nil).code(t))
	require.Equal(t, "consumer_unknown", get(t, "/custom-id", serviceToken(t, s.idp, "svc-nightly"), nil).code(t), "without the claim")
}

// The anonymous consumer is for requests without any token.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	saw := get(t, "/anonymous", "", http.Header{"X-Caller-Subject": {"root"}, "X_Consumer_Id": {"1"}}).saw(t)
	require.Equal(t, "guest", saw.Get("X-Consumer-Username"))
	require.Equal(t, "true", saw.Get("X-Anonymous-Consumer"))
	require.Empty(t, starting(saw, "x-caller-"))

	known := get(t, "/anonymous", serviceToken(t, s.idp, "svc-nightly"), nil).saw(t)
	require.Equal(t, "svc-nightly", known.Get("X-Caller-Subject"))
	require.Empty(t, known.Get("X-Anonymous-Consumer"))

	for name, token := range map[string]string{
		"garbage": "abc", "expired": forge(t, s.idp, map[string]any{"exp": 1700000000, "iat": 1699999000, "nbf": nil}),
		"for another": forge(t, s.idp, map[string]any{"aud": "somebody-else"}), "of another": serviceToken(t, s.second, "svc-nightly"),
	} {
		require.Equal(t, 401, get(t, "/anonymous", token, nil).status, name)
	}
	a := get(t, "/anonymous-run", "", nil)
	require.Equal(t, "token_missing", a.code(t), "a route that starts runs wants a caller")
	require.Equal(t, 401, a.status)
}

func TestConfiguredHeaders(t *testing.T) {
	t.Parallel()
	spoof := http.Header{"X-Remote-User": {"root"}, "x_remote_user": {"root"}, "X-TEAM": {"root"}, "X_Remote-Groups": {"admins"}}
	saw := get(t, "/renamed", serviceToken(t, s.idp, "svc-nightly"), spoof).saw(t)
	require.Equal(t, map[string]string{"X-Remote-User": "svc-nightly", "X-Team": "data%2C EMEA"}, starting(saw, "x-remote-", "x-team", "x-caller-"))
	require.NotContains(t, saw, "Authorization")

	person := get(t, "/renamed", personToken(t, s.idp, "alice"), spoof).saw(t)
	require.Equal(t, map[string]string{"X-Remote-User": "alice", "X-Remote-Groups": "data-team,sales%2C EMEA"}, starting(person, "x-remote-", "x-team"),
		"a claim that is missing leaves no header, and none of the client's")
	require.Equal(t, "connection_header_forbidden", get(t, "/renamed", serviceToken(t, s.idp, "svc-nightly"), http.Header{"Connection": {"x-remote-user"}}).code(t))
}
