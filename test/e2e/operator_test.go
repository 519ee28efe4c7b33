package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

// What is the operator's to mend: the caller learns that much and no more, the log says what.
func TestOperatorsFaults(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	for name, c := range map[string]struct {
		path       string
		status     int
		code       string
		retryAfter bool
		logged     []string // on the line with the code
		withheld   []string // from the caller
	}{
		"unknown deployment": {path: "/run/unknown-deployment", status: 502, code: "deployment_unknown",
			logged: []string{"nightly-report/staging"}, withheld: []string{"staging"}},
		"Prefect refuses our credential": {path: "/run/wrong-credential", status: 502, code: "prefect_unauthorized",
			logged: []string{"401"}, withheld: []string{"401", "password", "credential", "uthoriz"}},
		"Prefect is not there": {path: "/run/prefect-unreachable", status: 503, code: "prefect_unavailable", retryAfter: true,
			logged: []string{"refused"}, withheld: []string{"refused", "127.0.0.1"}},
		"Prefect answers 5xx": {path: "/run/prefect-failing", status: 503, code: "prefect_unavailable", retryAfter: true,
			logged: []string{"502"}, withheld: []string{"502", "127.0.0.1"}},
		"broken configuration": {path: "/run/broken-config", status: 500, code: "config_invalid",
			logged: []string{"deployment"}, withheld: []string{"neither-a-name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, request{path: c.path, body: emea, token: token})
			p := requireRefused(t, r, c.status, c.code)
			require.Equal(t, c.retryAfter, r.header.Get("Retry-After") != "")
			for _, secret := range c.withheld {
				require.NotContains(t, p.Detail, secret)
			}
			requireLogged(t, s.gateway, append(c.logged, c.code)...)
		})
	}
}

// requireLogged waits for a line of the gateway's log that holds all of this.
func requireLogged(t *testing.T, gateway *stack.Gateway, parts ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for line := range strings.Lines(gateway.Logs()) {
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, part)
			}
			if found {
				return true
			}
		}
		return false
	}, 10*time.Second, 50*time.Millisecond, "no line of the log holds all of %q", parts)
}

// What is wrong in a kong.yml Kong itself says, by the schemas that the binary gives it: the field, and what it may be.
func TestKongRefusesAWrongConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ plugin, config, want string }{
		"a misspelt field":          {"prefect-identity", `{issuers: [{issuer: "https://a", audience: [x]}]}`, `{"issuers": [{"audience": "unknown field", "audiences": "required field missing"}]}`},
		"an algorithm it never is":  {"prefect-identity", `{issuers: [{issuer: "https://a", audiences: [x], algorithms: [HS256]}]}`, `{"issuers": [{"algorithms": ["expected one of: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519"]}]}`},
		"out of range":              {"prefect-identity", `{issuers: [{issuer: "https://a", audiences: [x], leeway_seconds: 301}]}`, `{"issuers": [{"leeway_seconds": "value should be between 0 and 300"}]}`},
		"no audience":               {"prefect-identity", `{issuers: [{issuer: "https://a", audiences: []}]}`, `{"issuers": [{"audiences": "length must be at least 1"}]}`},
		"of another type":           {"prefect-trigger", `{prefect: {api_url: "http://a"}, deployment: a/b, allow_roles: runner}`, `{"allow_roles": "expected an array"}`},
		"a list for a record":       {"prefect-guard", `{prefect: [1]}`, `{"prefect": {"1": "unknown field", "api_url": "required field missing"}}`},
		"a field of another plugin": {"prefect-guard", `{prefect: {api_url: "http://a"}, deployment: a/b}`, `{"deployment": "unknown field"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp, err := http.Post(s.gateway.AdminURL()+"/config", "text/yaml",
				strings.NewReader(`{_format_version: "3.0", plugins: [{name: `+c.plugin+`, config: `+c.config+`}]}`))
			require.NoError(t, err)
			defer resp.Body.Close() //nolint:errcheck // read-only
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			var answer struct {
				Fields struct {
					Plugins []struct{ Config json.RawMessage }
				}
			}
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
			require.Len(t, answer.Fields.Plugins, 1)
			require.JSONEq(t, c.want, string(answer.Fields.Plugins[0].Config))
		})
	}
}

// One broken route leaves the others alone.
func TestOtherRoutesWorkBesideABrokenOne(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	requireRefused(t, send(t, request{path: "/run/broken-config", body: emea, token: token}), http.StatusInternalServerError, "config_invalid")
	requireRun(t, send(t, request{path: idleRoute, body: customer, token: token}), http.StatusCreated)
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	send(t, request{path: "/run/wrong-credential", body: emea, token: token})
	send(t, request{path: reportRoute, body: `{`, token: token})
	requireLogged(t, s.gateway, "prefect_unauthorized")
	logs := s.gateway.Logs()
	for _, secret := range []string{"not-the-password", s.Prefect.AuthString(), token[strings.LastIndex(token, ".")+1:]} {
		require.NotContains(t, logs, secret)
	}
}

// Without prefect-identity nobody has established who calls, and no header can.
func TestTriggerWithoutIdentityRefuses(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "kong.yml")
	require.NoError(t, os.WriteFile(config, []byte(`_format_version: "3.0"
services:
- name: runs
  host: prefect.invalid
  routes:
  - name: nightly-report
    paths: [/run/nightly-report]
    plugins:
    - name: prefect-trigger
      config:
        prefect: {api_url: "{vault://env/prefect-api-url}", auth_string: "{vault://env/prefect-api-auth-string}"}
        deployment: nightly-report/prod
        allow_roles: [runner]
`), 0o600))
	gateway, err := s.startGateway(t.Context(), config)
	require.NoError(t, err)
	defer gateway.Stop()
	r := sendTo(t, gateway, request{path: reportRoute, body: emea, token: serviceToken(t, "svc-nightly"), headers: http.Header{
		"X-Caller-Subject": {"svc-nightly"}, "X-Caller-Roles": {"runner"}, "X-Authenticated-Groups": {"runner"},
	}})
	requireRefused(t, r, http.StatusInternalServerError, "identity_missing")
}

// The configuration in the repository's root is what the demo and docker-compose load.
func TestShippedConfiguration(t *testing.T) {
	t.Parallel()
	gateway, err := s.startGateway(t.Context(), filepath.Join(repository, "kong.yml"))
	require.NoError(t, err)
	defer gateway.Stop()
	requireRefused(t, sendTo(t, gateway, request{path: reportRoute, body: emea}), http.StatusUnauthorized, "token_missing")
	requireRefused(t, sendTo(t, gateway, request{path: reportRoute, body: emea, token: serviceToken(t, "svc-stranger")}),
		http.StatusForbidden, "role_not_allowed")
	requireRun(t, sendTo(t, gateway, request{path: reportRoute, body: emea, token: serviceToken(t, "svc-nightly")}), http.StatusCreated)
	requireRun(t, sendTo(t, gateway, request{path: customerRoute, body: customer, token: personToken(t, "alice")}), http.StatusCreated)
}
