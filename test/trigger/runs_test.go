package trigger

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

const emea = `{"region": "emea"}`

// A run's address is where its route is, at any gateway that has the keys.
func TestCallersSeeAndCancelTheirOwnRuns(t *testing.T) {
	run := requireRun(t, send(t, request{path: "/run/fixed", body: emea}), http.StatusCreated)
	require.Equal(t, "/run/fixed/"+run.ID, run.Links["status"])
	for gateway := range s.gateways {
		got := requireRun(t, send(t, request{method: http.MethodGet, path: run.Links["status"], gateway: gateway}), http.StatusOK)
		require.Equal(t, run.ID, got.ID)
		require.Equal(t, "SCHEDULED", got.State.Type)
	}

	// Somebody executes it now.
	for _, state := range []string{"PENDING", "RUNNING"} {
		require.NoError(t, s.prefect.Post(t.Context(), "/flow_runs/"+run.ID+"/set_state", map[string]any{"state": map[string]any{"type": state}}, nil))
	}
	cancelled := requireRun(t, send(t, request{method: http.MethodDelete, path: run.Links["status"], gateway: 1}), http.StatusAccepted)
	require.Equal(t, "CANCELLING", cancelled.State.Type)
	require.Equal(t, "(set by svc-nightly)", stored(t, run.ID).State.Message)
	requireRun(t, send(t, request{method: http.MethodDelete, path: run.Links["status"]}), http.StatusAccepted)

	// Nobody does: it ends at once, and stays so.
	run = requireRun(t, send(t, request{path: "/run/any/report/gold", body: emea}), http.StatusCreated)
	require.Equal(t, "/run/any/report/gold/"+run.ID, run.Links["status"])
	for range 2 {
		cancelled = requireRun(t, send(t, request{method: http.MethodDelete, path: run.Links["status"]}), http.StatusOK)
		require.Equal(t, "CANCELLED", cancelled.State.Type)
	}

	// What has ended by itself can't be cancelled.
	run = requireRun(t, send(t, request{path: "/run/fixed", body: emea}), http.StatusCreated)
	require.NoError(t, s.prefect.Post(t.Context(), "/flow_runs/"+run.ID+"/set_state", map[string]any{"state": map[string]any{"type": "COMPLETED"}, "force": true}, nil))
	p := requireRefused(t, send(t, request{method: http.MethodDelete, path: run.Links["status"]}), http.StatusConflict, "run_ended")
	require.Contains(t, p.Detail, "COMPLETED")
	require.Equal(t, "COMPLETED", stored(t, run.ID).StateType)
}

// Nobody learns that a run exists which they may not see: it, one that isn't
// there and one that another route started are the same answer.
func TestOtherPeoplesRuns(t *testing.T) {
	run := requireRun(t, send(t, request{path: "/run/fixed", body: emea}), http.StatusCreated)
	elsewhere := requireRun(t, send(t, request{path: "/run/any/report/gold", body: emea}), http.StatusCreated)
	theirs := stored(t, run.ID)
	// Whoever reaches Prefect itself can write all but a stamp for this run.
	var forged struct{ ID string }
	require.NoError(t, s.prefect.Post(t.Context(), "/deployments/"+theirs.DeploymentID+"/create_flow_run", map[string]any{
		"parameters": theirs.Parameters, "context": theirs.Context, "tags": theirs.Tags, "labels": map[string]any{"kong-prefect.subject": "svc-second"},
	}, &forged))
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		absent := send(t, request{method: method, path: "/run/fixed/" + uuid.NewString(), by: "svc-second"})
		requireRefused(t, absent, http.StatusNotFound, "run_unknown")
		for name, r := range map[string]request{
			"another's":                {path: "/run/fixed/" + run.ID, by: "svc-second"},
			"another's, elsewhere":     {path: "/run/any/report/gold/" + run.ID, by: "svc-second"},
			"their own, elsewhere":     {path: "/run/fixed/" + elsewhere.ID},
			"with a stamp of another":  {path: "/run/fixed/" + forged.ID},
			"labelled as their own":    {path: "/run/fixed/" + forged.ID, by: "svc-second"},
			"below what isn't offered": {path: "/run/any/hidden/prod/" + run.ID},
		} {
			r.method = method
			got := send(t, r)
			require.Equal(t, absent.status, got.status, "%s %s", method, name)
			require.Equal(t, string(absent.body), string(got.body), "%s %s", method, name)
		}
		requireRefused(t, send(t, request{method: method, path: "/run/fixed/" + run.ID, by: "svc-stranger"}), http.StatusForbidden, "role_not_allowed")
	}
	require.Equal(t, "SCHEDULED", stored(t, run.ID).StateType)

	// By role.
	requireRun(t, send(t, request{method: http.MethodGet, path: "/run/fixed/" + run.ID, by: "alice"}), http.StatusOK)
	requireRefused(t, send(t, request{method: http.MethodDelete, path: "/run/fixed/" + run.ID, by: "alice"}), http.StatusForbidden, "role_not_allowed")
	requireRefused(t, send(t, request{path: "/run/fixed", body: emea, by: "alice"}), http.StatusForbidden, "role_not_allowed")
	requireRun(t, send(t, request{method: http.MethodDelete, path: "/run/fixed/" + run.ID, by: "svc-operator"}), http.StatusOK)
	requireRefused(t, send(t, request{method: http.MethodDelete, path: "/run/fixed/" + elsewhere.ID, by: "svc-operator"}), http.StatusNotFound, "run_unknown")
	require.Equal(t, "SCHEDULED", stored(t, elsewhere.ID).StateType)
}

// What the path, the query, the headers, the body and the token give arrives
// in the run with its type.
func TestParametersFromEverywhere(t *testing.T) {
	query := url.Values{"id": {"1", "22"}}
	run := requireRun(t, send(t, request{by: "alice", path: "/run/bound/apac?" + query.Encode(), headers: map[string]string{"X-Dry-Run": "true"},
		body: `{"filters": {"states": ["new"], "above": 1.5}, "date": "2026-01-31"}`}), http.StatusCreated)
	require.Equal(t, map[string]any{
		"region": "apac", "limit": 100.0, "ids": []any{1.0, 22.0}, "dry_run": true, "day": "2026-01-31",
		"filters": map[string]any{"states": []any{"new"}, "above": 1.5}, "requested_by": "5d1a7c1e-alice", "groups": []any{"data-team"}, "mode": "safe",
	}, stored(t, run.ID).Parameters)
}

// Each row of what an untrusted caller can do with the body of Prefect's
// request, by its own code and with the field's name. Nothing is started.
func TestWhatPrefectWouldTakeFromAnyone(t *testing.T) {
	before := runs(t, "report/prod")
	for name, c := range map[string]struct {
		path, body    string
		headers       map[string]string
		code, pointer string
	}{
		"a server's variable":                {"/run/fixed", `{"region": {"__prefect_kind": "workspace_variable", "variable_name": "s"}}`, nil, "parameter_forbidden", "/region/__prefect_kind"},
		"a template, in a list":              {"/run/fixed", `{"region": "emea", "ids": [{"__prefect_kind": "jinja", "template": "{{ 1 }}"}]}`, nil, "parameter_forbidden", "/ids/0/__prefect_kind"},
		"a template, deep":                   {"/run/fixed", `{"region": "emea", "filters": {"states": [{"a": {"__prefect_kind": "json"}}]}}`, nil, "parameter_forbidden", "/filters/states/0/a/__prefect_kind"},
		"a template, by query":               {"/run/bound/emea?id=" + url.QueryEscape(`[{"__prefect_kind":"jinja"}]`), ``, nil, "parameter_forbidden", "/ids/0/__prefect_kind"},
		"no check of the schema":             {"/run/fixed", `{"region": "emea", "enforce_parameter_schema": false}`, nil, "schema_check_forbidden", "/enforce_parameter_schema"},
		"a command":                          {"/run/fixed", `{"region": "emea", "job_variables": {"command": "id"}}`, nil, "job_variables_forbidden", "/job_variables"},
		"a final state":                      {"/run/fixed", `{"region": "emea", "state": {"type": "COMPLETED"}}`, nil, "state_forbidden", "/state"},
		"a queue":                            {"/run/fixed", `{"region": "emea", "work_queue_name": "mine"}`, nil, "work_queue_forbidden", "/work_queue_name"},
		"the system's labels":                {"/run/fixed", `{"region": "emea", "labels": {"prefect.deployment.id": "x"}}`, nil, "labels_forbidden", "/labels"},
		"the same, where labels may be set":  {"/run/fields", `{"region": "emea", "labels": {"prefect.deployment.id": "x"}}`, nil, "name_reserved", "/labels/prefect.deployment.id"},
		"a caller's tag":                     {"/run/fields", `{"region": "emea", "tags": ["caller:root"]}`, nil, "name_reserved", "/tags/0"},
		"a command, where fields may be set": {"/run/fields", `{"region": "emea", "job_variables": {}}`, nil, "job_variables_forbidden", "/job_variables"},
		"a context":                          {"/run/fixed", `{"region": "emea", "context": {"kong_prefect": {}}}`, nil, "field_forbidden", "/context"},
		"what is bound to a claim":           {"/run/bound/emea", `{"requested_by": "root"}`, nil, "parameter_bound", "/requested_by"},
		"what is fixed":                      {"/run/bound/emea", `{"mode": "unsafe"}`, nil, "parameter_bound", "/mode"},
		"what comes by the path":             {"/run/bound/emea", `{"region": "apac"}`, nil, "parameter_bound", "/region"},
		"what the flow hasn't":               {"/run/fixed", `{"region": "emea", "more": 1}`, nil, "parameters_invalid", "/more"},
		"a header that doesn't fit":          {"/run/bound/emea", ``, map[string]string{"X-Dry-Run": "perhaps"}, "parameters_invalid", "/dry_run"},
	} {
		t.Run(name, func(t *testing.T) {
			p := requireRefused(t, send(t, request{path: c.path, body: c.body, headers: c.headers}), http.StatusUnprocessableEntity, c.code)
			for _, v := range p.Violations {
				if v.Pointer == c.pointer && v.Code == c.code {
					return
				}
			}
			require.Fail(t, "the field isn't named", "%s %+v", c.pointer, p.Violations)
		})
	}
	// The headers by which Prefect lets anyone name a creator.
	run := requireRun(t, send(t, request{path: "/run/fixed", body: emea, headers: map[string]string{
		"Prefect-Automation-Id": uuid.NewString(), "Prefect-Automation-Name": "cm9vdA==",
	}}), http.StatusCreated)
	require.Equal(t, "svc-nightly", stored(t, run.ID).CreatedBy.DisplayValue)
	require.Equal(t, before+1, runs(t, "report/prod"))
}

// A deployment that nobody could execute is the operator's matter: the answer
// says so, and the log has the name.
func TestDeploymentsThatCanNotRun(t *testing.T) {
	requireRun(t, send(t, request{path: "/run/gone", body: emea}), http.StatusCreated)
	id, err := s.prefect.DeploymentID(t.Context(), "report/gone")
	require.NoError(t, err)
	require.NoError(t, s.prefect.Delete(t.Context(), "/deployments/"+id))
	for name, c := range map[string]struct {
		path   string
		status int
		code   string
	}{
		"gone":                         {"/run/gone", http.StatusBadGateway, "deployment_unknown"},
		"gone, and chosen by a caller": {"/run/any/report/gone", http.StatusNotFound, "deployment_not_offered"},
		"paused":                       {"/run/paused", http.StatusServiceUnavailable, "deployment_paused"},
		"nobody's":                     {"/run/nobody", http.StatusServiceUnavailable, "deployment_without_work_pool"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // what was remembered is dropped
				p := requireRefused(t, send(t, request{path: c.path, body: emea}), c.status, c.code)
				require.NotContains(t, p.Detail, "report/")
			}
		})
	}
	require.Contains(t, s.gateways[0].Logs(), `deployment \"report/gone\"`)
	requireRun(t, send(t, request{path: "/run/paused-too", body: emea}), http.StatusCreated)
}
