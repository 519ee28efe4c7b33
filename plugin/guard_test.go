package plugin

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
)

const guardedDeployment = "0f3c1f5a-9d2b-4b1e-8a77-0d4c0b1f2e3d"

// newGuarded is prefect-guard between a Kong and a server that knows one deployment.
func newGuarded(t *testing.T) *kongSide {
	t.Helper()
	prefect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "Basic YWRtaW46c2VjcmV0" || r.URL.Path != "/api/deployments/"+guardedDeployment {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"detail":"Deployment not found"}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"`+guardedDeployment+`","flow_id":"`+guardedDeployment+`","name":"prod","parameters":{}}`)
	}))
	t.Cleanup(prefect.Close)
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	var err error
	p.Signing, err = signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	return kongWith(t, p, GuardName, `{"prefect":{"api_url":"`+prefect.URL+`/api","auth_string":"admin:secret"},"max_body_bytes":1024}`)
}

func guardRequest(t *testing.T, role, method, uri, body string) kongRequest {
	t.Helper()
	caller, err := json.Marshal(Caller{Identity: claims.Identity{Subject: "alice", Issuer: "https://idp", Kind: claims.User, Name: "Alice"}, Roles: []string{role}})
	require.NoError(t, err)
	return kongRequest{
		method: method, body: body, vars: map[string]string{varUpstreamURI: uri},
		shared: map[string]string{SharedIdentity: string(caller)},
		headers: map[string][]string{
			"authorization": {"Bearer the.callers.token"}, "cookie": {"token=the.callers.token"}, "prefect-automation-id": {"x"},
			"prefect_automation_name": {"cm9vdA=="}, "x-caller-subject": {"root"}, "kong-prefect-other": {"y"}, "accept": {"*/*"},
		},
	}
}

// A guarded read waits for Kong once for all that it reads, and once for all
// that it sets, and reads no body; a creation waits once more, for the body.
func TestFlightsOfTheGuard(t *testing.T) {
	t.Parallel()
	k := newGuarded(t)
	for _, uri := range []string{"/api/flow_runs/" + guardedDeployment, "/api/v%65rsion"} {
		saw := k.access(guardRequest(t, "viewer", "GET", uri, ""))
		require.Nil(t, saw.exit)
		require.Equal(t, 2, saw.flights)
		require.NotContains(t, saw.methods, "kong.request.get_raw_body")
	}
	saw := k.access(guardRequest(t, "viewer", "POST", "/api/flow_runs/filter", "{}"))
	require.Equal(t, 2, saw.flights, "most reads are POSTs")
	require.NotContains(t, saw.methods, "kong.request.get_raw_body")

	saw = k.access(guardRequest(t, "runner", "POST", "/api/deployments/"+guardedDeployment+"/create_flow_run", `{"name":"n"}`))
	require.Nil(t, saw.exit)
	require.Equal(t, 3, saw.flights)
	require.Equal(t, "Basic YWRtaW46c2VjcmV0", saw.set["Authorization"])
	require.Equal(t, "application/json", saw.set["Content-Type"])
	require.Equal(t, "QWxpY2U=", saw.set["Prefect-Automation-Name"])
	require.Contains(t, saw.body, `"kong_prefect":{"version":1,"caller":{"subject":"alice"`)
	require.Subset(t, saw.cleared, []string{"authorization", "cookie", "prefect-automation-id", "prefect_automation_name", "x-caller-subject", "kong-prefect-other"})
	require.NotContains(t, strings.Join(append(saw.methods, saw.body), " "), "the.callers.token")
}

// An exit ends the connection, so each refusal has a Kong of its own.
func TestRefusalsOfTheGuard(t *testing.T) {
	t.Parallel()
	start := "/api/deployments/" + guardedDeployment + "/create_flow_run"
	for name, c := range map[string]struct {
		role, method, uri, body, code string
		change                        func(*kongRequest)
	}{
		"no permission":        {"viewer", "POST", start, "{}", "permission_missing", nil},
		"encoded slash":        {"viewer", "GET", "/api/work_pools/a%2Fqueues%2Fb%2Fc", "", "route_unknown", nil},
		"encoded twice":        {"viewer", "GET", "/api/%2576ersion", "", "route_unknown", nil},
		"broken escape":        {"owner", "GET", "/api/version%zz", "", "route_unknown", nil},
		"outside the API":      {"owner", "GET", "/docs", "", "route_unknown", nil},
		"the API's own name":   {"owner", "GET", "/api", "", "route_unknown", nil},
		"a longer name":        {"owner", "GET", "/apiversion", "", "route_unknown", nil},
		"no path at all":       {"owner", "GET", "", "", "route_unknown", nil},
		"too large":            {"runner", "POST", start, `{"name":"` + strings.Repeat("x", 1100) + `"}`, "body_too_large", nil},
		"not JSON":             {"runner", "POST", start, `{`, "body_unreadable", nil},
		"unknown deployment":   {"runner", "POST", "/api/deployments/00000000-9d2b-4b1e-8a77-0d4c0b1f2e3d/create_flow_run", `{}`, "not_found", nil},
		"nobody said who":      {"owner", "GET", "/api/version", "", "identity_missing", func(r *kongRequest) { r.shared = nil }},
		"an empty identity":    {"owner", "GET", "/api/version", "", "identity_missing", func(r *kongRequest) { r.shared = map[string]string{SharedIdentity: "{}"} }},
		"a broken identity":    {"owner", "GET", "/api/version", "", "identity_missing", func(r *kongRequest) { r.shared = map[string]string{SharedIdentity: "{"} }},
		"without a token":      {"owner", "GET", "/api/version", "", "token_missing", func(r *kongRequest) { r.shared = map[string]string{SharedIdentity: `{"anonymous":true}`} }},
		"headers cut short":    {"owner", "GET", "/api/version", "", "headers_too_many", func(r *kongRequest) { r.headers["x-many"] = make([]string, 1000) }},
		"an upgrade elsewhere": {"owner", "GET", "/api/version", "", "route_unknown", func(r *kongRequest) { r.headers["upgrade"] = []string{"h2c, WebSocket"} }},
		"an upgrade by POST":   {"owner", "POST", "/api/events/out", "", "route_unknown", func(r *kongRequest) { r.headers["upgrade"] = []string{"websocket"} }},
		"a forged stamp":       {"runner", "POST", start, `{}`, CodeParentStampInvalid, func(r *kongRequest) { r.headers[parentStampHeader] = []string{"a.b.c"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := guardRequest(t, c.role, c.method, c.uri, c.body)
			if c.change != nil {
				c.change(&request)
			}
			saw := newGuarded(t).access(request)
			require.Equal(t, c.code, saw.code(t))
			require.NotContains(t, string(saw.exit.Body), "the.callers.token")
			if saw.exit.Status == 403 {
				require.Contains(t, saw.answerHeader("WWW-Authenticate"), `error="insufficient_scope"`)
			}
		})
	}
}
