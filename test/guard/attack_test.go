package guard_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/guard"
)

// created makes something as a caller who may, and gives the answer.
func (s *suite) created(t testing.TB, as, method, path, body string, header http.Header) map[string]any {
	t.Helper()
	got := s.send(t, call{as: as, method: method, path: path, body: body, header: header})
	require.Less(t, got.status, 300, got.body)
	var out map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &out), got.body)
	return out
}

// TestTheServersCredentialAndOurHeaders: what the caller sends under the gateway's or Prefect's own names is nothing.
func TestForgedHeaders(t *testing.T) {
	s := parts(t)
	id := s.deploymentID(t, "refresh-customer", "prod")
	evil := base64.StdEncoding.EncodeToString([]byte("root"))
	run := s.created(t, "svc-runner", "POST", "/deployments/"+id+"/create_flow_run", `{}`, http.Header{
		"Prefect-Automation-Id": {uuid.NewString()}, "Prefect-Automation-Name": {evil},
		"prefect_automation_id": {uuid.NewString()}, "prefect_automation_name": {evil},
		"X-Caller-Subject": {"root"}, "X-HTTP-Method-Override": {"DELETE"}, "X-Original-Uri": {"/api/admin/version"},
		"X-Forwarded-Uri": {"/api/admin/version"},
	})
	require.Equal(t, "svc-runner", run["created_by"].(map[string]any)["display_value"])
	stamp := run["context"].(map[string]any)["kong_prefect"].(map[string]any)
	require.Equal(t, "svc-runner", stamp["caller"].(map[string]any)["subject"])
	require.NotEmpty(t, stamp["stamp"], "it is signed")
	require.Equal(t, "svc-runner", run["labels"].(map[string]any)["kong-prefect.subject"])

	for name, header := range map[string]http.Header{
		"no token":              {},
		"the server's own":      {"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(s.locked.AuthString()))}},
		"a token in Basic":      {"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(s.token(t, "svc-owner")))}},
		"no scheme":             {"Authorization": {s.token(t, "svc-owner")}},
		"Connection drops ours": {"Authorization": {"Bearer " + s.token(t, "svc-viewer")}, "Connection": {"close, authorization"}},
	} {
		got := s.send(t, call{method: "POST", path: "/flow_runs/filter", body: `{}`, header: header})
		require.GreaterOrEqual(t, got.status, 400, name)
		require.Less(t, got.status, 500, name)
		if got.status == http.StatusUnauthorized {
			require.NotEmpty(t, got.header.Get("WWW-Authenticate"), name)
		}
	}
}

// TestCrookedPaths: whatever the path looks like, a viewer gets at nothing that a viewer may not.
func TestCrookedPaths(t *testing.T) {
	s := parts(t)
	for _, path := range []string{
		"/variables/filter", "/v%61riables/filter", "/variables%2ffilter", "/variables%2Ffilter", "//variables/filter", "/./variables/filter",
		"/flows/../variables/filter", "/flows/..%2fvariables/filter", "/Variables/filter", "/variables/filter/", "/variables/filter;x", "/variables/filter%00",
		"/variables/filter%0a", "/variables/filter%20", "/%2e%2e/api/variables/filter", "/variables/%66ilter?x=/flows/filter", "/variables/filter.",
		"/flow_runs/filter%2f..%2f..%2fvariables%2ffilter", "/flow_runs/filter/%2e%2e/%2e%2e/variables/filter", "/block_documents%2Ffilter", "/%76%61riables/filter",
	} {
		got := s.send(t, call{as: "svc-viewer", method: "POST", path: path, body: `{}`})
		require.GreaterOrEqual(t, got.status, 400, path)
		require.Less(t, got.status, 500, path)
		require.False(t, got.status >= 300 && got.status < 400, "%s: a redirect", path)
	}
	for _, path := range []string{"/%66low_runs/filter", "/flow_runs/./filter", "//flow_runs/filter", "/x/../flow_runs/filter"} {
		got := s.send(t, call{as: "svc-viewer", method: "POST", path: path, body: `{}`})
		require.Contains(t, []int{200, 403, 404}, got.status, path)
	}
	got := s.send(t, call{as: "svc-viewer", method: "POST", path: "/flow_runs", body: `{}`})
	require.Equal(t, "route_unknown", got.refusedBy(), "where Prefect would redirect the gateway refuses")
}

// TestSideDoors plays every role against everything that facts say an untrusted caller could do.
func TestSideDoors(t *testing.T) {
	s := parts(t)
	id := s.deploymentID(t, "refresh-customer", "prod")
	others := s.newRun(t, "svc-runner2")
	start := "/deployments/" + id + "/create_flow_run"
	var task struct {
		ID        string
		StateType string `json:"state_type"`
	}
	require.NoError(t, s.locked.Post(t.Context(), "/task_runs/", map[string]any{
		"flow_run_id": others, "task_key": "t", "dynamic_key": "0", "state": map[string]any{"type": "RUNNING"},
	}, &task))
	doors := []struct {
		name, method, path, body string
		open                     string // roles that may, by name
	}{
		{"read a variable by parameters", "POST", start, `{"parameters":{"customer_id":{"__prefect_kind":"workspace_variable","variable_name":"x"}}}`, "developer owner"},
		{"a template in parameters", "POST", start, `{"parameters":{"customer_id":{"__prefect_kind":"jinja","template":"{{1}}"}}}`, ""},
		{"a template deep in a list", "POST", start, `{"parameters":{"customer_id":[[{"a":{"__prefect_kind":"jinja"}}]]}}`, ""},
		{"validation off", "POST", start, `{"enforce_parameter_schema":false}`, "developer owner"},
		{"another command", "POST", start, `{"job_variables":{"command":"touch /tmp/pwned"}}`, "developer owner"},
		{"a run that never ran", "POST", start, `{"state":{"type":"COMPLETED"}}`, ""},
		{"another queue", "POST", start, `{"work_queue_name":"mine"}`, "developer owner"},
		{"the system's labels", "POST", start, `{"labels":{"prefect.deployment.id":"x"}}`, ""},
		{"another caller's tag", "POST", start, `{"tags":["caller:root"]}`, ""},
		{"another caller's tag, disguised", "POST", start, `{"tags":["Caller\u200b:root"]}`, ""},
		{"another caller's context", "POST", start, `{"context":{"kong_prefect":{"caller":{"subject":"root"}}}}`, ""},
		{"set the states of another run's task", "POST", start, `{"parent_task_run_id":"` + task.ID + `"}`, "developer owner"},
		{"created_by in the body", "POST", start, `{"created_by":{"id":"x","type":"USER","display_value":"root"}}`, ""},
		{"the same in bulk", "POST", start + "/bulk", `[{"state":{"type":"COMPLETED"}}]`, ""},
		{"fabricate a run", "POST", "/flow_runs/", `{"flow_id":"` + uuid.NewString() + `","state":{"type":"COMPLETED"}}`, ""},
		{"complete another's run", "POST", "/flow_runs/" + others + "/set_state", `{"state":{"type":"COMPLETED"}}`, "developer worker owner"},
		{"cancel another's run by force", "POST", "/flow_runs/" + others + "/set_state", `{"state":{"type":"CANCELLED"},"force":true}`, "developer worker owner"},
		{"retry another's run", "POST", "/flow_runs/" + others + "/set_state", `{"state":{"type":"SCHEDULED"}}`, "developer worker owner"},
		{"resume another's run", "POST", "/flow_runs/" + others + "/resume", `{}`, "developer worker owner"},
		{"answer for another's run", "POST", "/flow_runs/" + others + "/input", `{"key":"k","value":"v"}`, "developer worker owner"},
		{"rewrite another's labels", "PATCH", "/flow_runs/" + others + "/labels", `{"kong-prefect.subject":"root"}`, ""},
		{"rewrite another's tags", "PATCH", "/flow_runs/" + others, `{"tags":["caller:root"]}`, ""},
		{"change the job of a run", "PATCH", "/flow_runs/" + others, `{"job_variables":{"command":"id"}}`, "developer owner"},
		{"delete every deployment", "POST", "/deployments/bulk_delete", `{}`, ""},
		{"delete every flow", "POST", "/flows/bulk_delete", ``, ""},
		{"delete every run", "POST", "/flow_runs/bulk_delete", `{"flow_runs":{"operator":"or_"}}`, ""},
		{"complete every run", "POST", "/flow_runs/bulk_set_state", `{"state":{"type":"COMPLETED"},"flow_runs":{}}`, ""},
		{"forge a state", "POST", "/events", `[{"event":"prefect.flow-run.Completed","resource":{"prefect.resource.id":"prefect.flow-run.` + others + `"},"id":"` + uuid.NewString() + `","occurred":"2026-01-01T00:00:00Z"}]`, ""},
		{"an automation that runs it", "POST", "/automations/", `{"name":"a","trigger":{"type":"event","posture":"Reactive","expect":["x"],"threshold":1,"within":0},"actions":[{"type":"run-deployment","source":"selected","deployment_id":"` + id + `","job_variables":{"command":"id"}}]}`, "developer owner"},
		{"read all blocks", "POST", "/block_documents/filter", `{"include_secrets":true}`, "developer worker owner"},
		{"read all variables", "POST", "/variables/filter", `{}`, "developer worker owner"},
		{"take a worker's work", "POST", "/work_pools/guarded/get_scheduled_flow_runs", `{}`, "worker"},
		{"pose as a worker", "POST", "/work_pools/guarded/workers/heartbeat", `{"name":"w"}`, "worker"},
		{"write a run's log", "POST", "/logs/", `[]`, "developer worker owner"},
		{"change the server", "DELETE", "/admin/storage", ``, "owner"},
		{"an operation nobody knows", "GET", "/me", ``, ""},
	}
	for _, d := range doors {
		for _, role := range append(guard.BuiltinRoles(), "nobody") {
			got := s.send(t, call{as: "svc-" + role, method: d.method, path: d.path, body: d.body})
			if strings.Contains(" "+d.open+" ", " "+role+" ") {
				require.Empty(t, got.refusedBy(), "%s as %s: %s", d.name, role, got.body)
				continue
			}
			require.NotEmpty(t, got.refusedBy(), "%s as %s went through: %d %s", d.name, role, got.status, got.body)
			require.Contains(t, []int{400, 403, 404}, got.status, "%s as %s: %s", d.name, role, got.body)
			require.NotContains(t, got.body, "kong-prefect/provider")
		}
	}
	run, err := s.locked.Run(t.Context(), others)
	require.NoError(t, err)
	require.Contains(t, run.Tags, "caller:svc-runner2")
	require.Equal(t, "svc-runner2", run.Labels["kong-prefect.subject"])

	require.NoError(t, s.locked.Get(t.Context(), "/task_runs/"+task.ID, &task))
	require.Equal(t, "SCHEDULED", task.StateType, "a run's parent takes over its states: that is why")

	t.Run("a variable by resuming one's own run", func(t *testing.T) {
		got := s.send(t, call{as: "svc-runner2", method: "POST", path: "/flow_runs/" + others + "/resume", body: `{"run_input":{"a":{"__prefect_kind":"workspace_variable","variable_name":"x"}}}`})
		require.Equal(t, "field_not_allowed", got.refusedBy(), got.body)
		got = s.send(t, call{as: "svc-runner2", method: "POST", path: "/flow_runs/" + others + "/resume", body: `{"run_input":{"a":{"__prefect_kind":"json","value":"1"}}}`})
		require.Empty(t, got.refusedBy(), got.body)
	})
	t.Run("the same key from two callers", func(t *testing.T) {
		one := s.created(t, "svc-runner", "POST", start, `{"idempotency_key":"k1"}`, nil)
		again := s.created(t, "svc-runner", "POST", start, `{"idempotency_key":"k1"}`, nil)
		two := s.created(t, "svc-runner2", "POST", start, `{"idempotency_key":"k1"}`, nil)
		require.Equal(t, one["id"], again["id"])
		require.NotEqual(t, one["id"], two["id"])
	})
	t.Run("too large and not JSON", func(t *testing.T) {
		got := s.send(t, call{as: "svc-runner", method: "POST", path: start, body: `{"name":"` + strings.Repeat("x", 70_000) + `"}`})
		require.Equal(t, http.StatusRequestEntityTooLarge, got.status, got.body)
		require.Equal(t, "body_too_large", got.refusedBy())
		for _, body := range []string{`{`, `{"a":1,"a":2}`, "\xff\xfe{\x00}\x00", `"x"`, strings.Repeat("[", 5000)} {
			got := s.send(t, call{as: "svc-runner", method: "POST", path: start, body: body})
			require.Equal(t, "body_unreadable", got.refusedBy(), "%.20q: %s", body, got.body)
		}
	})
	t.Run("by name everything may go", func(t *testing.T) {
		got := s.send(t, call{as: "svc-bulk", method: "POST", path: "/flow_runs/bulk_delete", body: `{"limit":1,"flow_runs":{"operator":"and_"}}`})
		require.Equal(t, http.StatusOK, got.status, got.body)
	})
}

// TestUpgrades: a websocket's upgrade is decided like any request.
func TestUpgrades(t *testing.T) {
	s := parts(t)
	bearer := func(account string) http.Header {
		return http.Header{"Authorization": {"Bearer " + s.token(t, account)}}
	}
	require.Equal(t, http.StatusUnauthorized, s.upgrade(t, "/events/out", nil))
	require.Equal(t, http.StatusUnauthorized, s.upgrade(t, "/events/out", http.Header{"Authorization": {"Bearer nothing"}}))
	require.Equal(t, http.StatusForbidden, s.upgrade(t, "/events/in", bearer("svc-viewer")))
	require.Equal(t, http.StatusForbidden, s.upgrade(t, "/events/out", bearer("svc-team")), "a stream can't be limited to some deployments")
	require.Equal(t, http.StatusForbidden, s.upgrade(t, "/flow_runs/filter", bearer("svc-owner")), "an upgrade is no other operation")
	require.Equal(t, http.StatusSwitchingProtocols, s.upgrade(t, "/events/out", bearer("svc-viewer")))
}

// TestALimitedRole: svc-team sees the deployments of refresh-*, and starts those named prod.
func TestALimitedRole(t *testing.T) {
	s := parts(t)
	theirs, other := s.deploymentID(t, "refresh-customer", "prod"), s.deploymentID(t, "payroll", "prod")
	staging := s.deploymentID(t, "refresh-customer", "staging")
	hidden := s.created(t, "svc-runner", "POST", "/deployments/"+other+"/create_flow_run", `{}`, nil)["id"].(string)
	var list []map[string]any
	require.Eventually(t, func() bool { // the list of deployments is kept for a moment
		got := s.send(t, call{as: "svc-team", method: "POST", path: "/deployments/filter", body: `{}`})
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.NoError(t, json.Unmarshal([]byte(got.body), &list))
		return len(list) == 2
	}, 20e9, 3e8)
	own := s.created(t, "svc-team", "POST", "/deployments/"+theirs+"/create_flow_run", `{}`, nil)["id"].(string)

	for path, want := range map[string]int{
		"/deployments/" + theirs: 200, "/deployments/" + staging: 200, "/deployments/" + other: 404, "/deployments/" + uuid.NewString(): 404,
		"/deployments/name/refresh-customer/prod": 200, "/deployments/name/payroll/prod": 404, "/deployments/name/nothing/prod": 404,
		"/flows/name/refresh-customer": 200, "/flows/name/payroll": 404,
		"/flow_runs/" + own: 200, "/flow_runs/" + hidden: 404, "/flow_runs/" + uuid.NewString(): 404,
		"/flow_runs/" + hidden + "/graph-v2": 404, "/flow_runs/" + hidden + "/logs/download": 404,
		"/flow_run_states/?flow_run_id=" + own: 200, "/flow_run_states/?flow_run_id=" + hidden: 404,
		"/flow_run_states/?flow_run_id=" + own + "&flow_run_id=" + hidden: 400,
	} {
		got := s.send(t, call{as: "svc-team", method: "GET", path: path})
		require.Equal(t, want, got.status, "%s: %s", path, got.body)
	}
	unknown := s.send(t, call{as: "svc-team", method: "GET", path: "/flow_runs/" + uuid.NewString()})
	require.Equal(t, s.send(t, call{as: "svc-team", method: "GET", path: "/flow_runs/" + hidden}).body, unknown.body,
		"a run that they may not see is told apart from none by nothing")

	for path, body := range map[string]string{
		"/flow_runs/filter":   `{}`,
		"/flow_runs/paginate": `{"flow_runs":{"id":{"any_":["` + hidden + `"]}}}`,
		"/task_runs/filter":   `{"flow_runs":{"id":{"any_":["` + hidden + `"]}}}`,
		"/flows/filter":       ``,
		"/artifacts/filter":   `{"deployments":{"id":{"any_":["` + other + `"]}}}`,
	} {
		got := s.send(t, call{as: "svc-team", method: "POST", path: path, body: body})
		require.Equal(t, http.StatusOK, got.status, "%s: %s", path, got.body)
		require.NotContains(t, got.body, hidden, path)
		require.NotContains(t, got.body, other, path)
		require.NotContains(t, got.body, "payroll", path)
	}
	got := s.send(t, call{as: "svc-team", method: "POST", path: "/flow_runs/filter", body: `{}`})
	require.Contains(t, got.body, own)
	for path, body := range map[string]string{
		"/logs/filter": fmt.Sprintf(`{"logs":{"flow_run_id":{"any_":["%s","%s"]}}}`, own, hidden),
		"/deployments/" + staging + "/create_flow_run": `{}`, // they see it, and may not start it
		"/deployments/" + other + "/create_flow_run":   `{}`,
		"/events/filter": `{}`,
		"/logs/filter?":  `{}`,
	} {
		got := s.send(t, call{as: "svc-team", method: "POST", path: path, body: body})
		require.NotEmpty(t, got.refusedBy(), "%s: %s", path, got.body)
	}
}
