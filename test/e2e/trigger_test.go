package e2e_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

const runLimit = 2 * time.Minute

// stampOf is what a run's context says of its caller.
func stampOf(t *testing.T, run stack.Run) map[string]any {
	t.Helper()
	stamp, ok := run.Context["kong_prefect"].(map[string]any)
	require.True(t, ok, "%v", run.Context)
	return stamp
}

// requirePrinted waits until the run has completed and its log has the line.
func requirePrinted(t *testing.T, id, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	run, err := s.Prefect.Finished(ctx, id, nil)
	require.NoError(t, err)
	require.Equal(t, "COMPLETED", run.StateType, "%s\n%s", run.State.Message, stack.Tail(s.Worker.Logs()))
	var lines []string
	require.Eventually(t, func() bool {
		lines, err = s.Prefect.RunLogs(ctx, id)
		return err == nil && slices.Contains(lines, line)
	}, 20*time.Second, 100*time.Millisecond, "%v %v", &lines, &err)
}

func TestServiceStartsARun(t *testing.T) {
	t.Parallel()
	r := send(t, request{path: reportRoute, body: `{"region": "emea", "day": "2026-01-31", "dry_run": true}`, token: serviceToken(t, "svc-nightly")})
	answer := requireRun(t, r, http.StatusCreated)
	require.Equal(t, "nightly-report/prod", answer.Deployment)
	require.Equal(t, "SCHEDULED", answer.State.Type)
	require.Equal(t, s.Prefect.APIURL()+"/flow_runs/"+answer.ID, answer.Links.API)
	require.Equal(t, s.Prefect.URL()+"/runs/flow-run/"+answer.ID, answer.Links.UI)
	require.Equal(t, reportRoute+"/"+answer.ID, answer.Links.Status)
	require.Equal(t, answer.Links.Status, r.header.Get("Location"))

	run := stored(t, answer.ID)
	require.Equal(t, answer.Name, run.Name)
	require.Equal(t, map[string]any{"region": "emea", "day": "2026-01-31", "dry_run": true}, run.Parameters)
	require.NotNil(t, run.CreatedBy)
	require.Equal(t, "svc-nightly", run.CreatedBy.DisplayValue)
	require.Subset(t, run.Tags, []string{"caller:svc-nightly", "function:finance", "team:reporting"})
	require.Subset(t, run.Labels, map[string]any{
		"kong-prefect.subject": "svc-nightly",
		"kong-prefect.issuer":  s.Provider.Issuer(),
		"kong-prefect.kind":    "service",
		"kong-prefect.client":  "svc-nightly",
	})
	stamp := stampOf(t, run)
	require.NotEmpty(t, stamp["request_id"])
	require.NotEmpty(t, stamp["rule"])
	require.Equal(t, []any{"runner"}, stamp["roles"])
	require.Equal(t, map[string]any{
		"subject": "svc-nightly", "issuer": s.Provider.Issuer(), "kind": "service", "client": "svc-nightly", "name": "svc-nightly",
	}, stamp["caller"])

	requirePrinted(t, answer.ID, "called by: svc-nightly (service)")
}

func TestPersonStartsARun(t *testing.T) {
	t.Parallel()
	r := send(t, request{path: customerRoute, body: `{"customer_id": 42}`, token: personToken(t, "alice")})
	answer := requireRun(t, r, http.StatusCreated)
	run := stored(t, answer.ID)
	require.NotNil(t, run.CreatedBy)
	require.Equal(t, "Alice Ä <alice@example.com>", run.CreatedBy.DisplayValue)
	require.Contains(t, run.Tags, "caller:Alice Ä")
	require.Subset(t, stampOf(t, run)["caller"], map[string]any{
		"subject": "5d1a7c1e-alice", "kind": "user", "name": "Alice Ä", "email": "alice@example.com",
	})
	requirePrinted(t, answer.ID, "customer 42 refreshed for 5d1a7c1e-alice")
}

func TestCredentialFromAFile(t *testing.T) {
	t.Parallel()
	r := send(t, request{path: "/run/auth-file", body: `{"customer_id": 7}`, token: serviceToken(t, "svc-nightly")})
	requireRun(t, r, http.StatusCreated)
}

func TestRoleIsNotAllowed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ token, path string }{
		"a service without a role":   {serviceToken(t, "svc-stranger"), reportRoute},
		"a person without a role":    {personToken(t, "bob"), customerRoute},
		"a role, but not this route": {personToken(t, "alice"), reportRoute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, request{path: c.path, body: emea, token: c.token})
			p := requireRefused(t, r, http.StatusForbidden, "role_not_allowed")
			require.Contains(t, r.header.Get("WWW-Authenticate"), `error="insufficient_scope"`)
			require.NotContains(t, p.Detail, "runner", "which roles a route allows is not for everyone")
		})
	}
}

func TestBodyIsRefused(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	for name, c := range map[string]struct {
		path, body, contentType string
		status                  int
		code                    string
	}{
		"not JSON":         {reportRoute, `{"region": `, "application/json", 400, "body_not_json"},
		"a name twice":     {reportRoute, `{"region": "a", "region": "b"}`, "application/json", 400, "body_not_json"},
		"a list":           {reportRoute, `["emea"]`, "application/json", 400, "body_not_object"},
		"a string":         {reportRoute, `"emea"`, "application/json", 400, "body_not_object"},
		"null":             {reportRoute, `null`, "application/json", 400, "body_not_object"},
		"a form":           {reportRoute, `region=emea`, "application/x-www-form-urlencoded", 415, "body_type_unsupported"},
		"text":             {reportRoute, emea, "text/plain", 415, "body_type_unsupported"},
		"over the default": {reportRoute, `{"region": "` + strings.Repeat("x", 1<<20) + `"}`, "application/json", 413, "body_too_large"},
		"over the route's": {"/run/small-body", `{"region": "` + strings.Repeat("x", 64) + `"}`, "application/json", 413, "body_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, request{path: c.path, body: c.body, token: token, headers: http.Header{"Content-Type": {c.contentType}}})
			requireRefused(t, r, c.status, c.code)
		})
	}
}

func TestParametersAreRefused(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	for name, c := range map[string]struct {
		path, body, code, field string
	}{
		"wrong type":       {customerRoute, `{"customer_id": "forty-two"}`, "parameters_invalid", "customer_id"},
		"missing":          {reportRoute, `{}`, "parameters_invalid", "region"},
		"missing, no body": {reportRoute, ``, "parameters_invalid", "region"},
		"no date":          {reportRoute, `{"region": "emea", "day": "yesterday"}`, "parameters_invalid", "day"},
		"a server's variable": {reportRoute, `{"region": {"__prefect_kind": "workspace_variable", "variable_name": "secret"}}`,
			"parameter_forbidden", "region"},
		"a template, deep": {reportRoute, `{"region": [{"a": {"__prefect_kind": "jinja", "template": "{{ 1 }}"}}]}`,
			"parameter_forbidden", "region"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, request{path: c.path, body: c.body, token: token})
			p := requireRefused(t, r, http.StatusUnprocessableEntity, c.code)
			require.NotEmpty(t, p.Violations)
			violation := p.Violations[0].Pointer + " " + p.Violations[0].Detail
			require.Contains(t, violation, c.field)
		})
	}
}

// Nothing of the body is anything but a parameter, whatever it is called: each field of Prefect's is refused by its name,
// with a code of its own.
func TestSmuggledFieldsAreRefused(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	for name, c := range map[string]struct{ field, code string }{
		"state":                    {`{"type": "COMPLETED"}`, "state_forbidden"},
		"job_variables":            {`{"command": "touch /tmp/pwned"}`, "job_variables_forbidden"},
		"enforce_parameter_schema": {`false`, "schema_check_forbidden"},
		"work_queue_name":          {`"mine"`, "work_queue_forbidden"},
		"labels":                   {`{"prefect.deployment.id": "root"}`, "labels_forbidden"},
		"tags":                     {`["caller:root"]`, "field_forbidden"},
		"context":                  {`{"kong_prefect": {"caller": {"subject": "root"}}}`, "field_forbidden"},
		"created_by":               {`{"display_value": "root"}`, "field_forbidden"},
		"idempotency_key":          {`"theirs"`, "field_forbidden"},
		"parent_task_run_id":       {`"5f0c3c1e-8a52-4f2f-9b61-1e1f5e7c0a11"`, "field_forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := send(t, request{path: idleRoute, body: `{"customer_id": 1, "` + name + `": ` + c.field + `}`, token: token})
			p := requireRefused(t, r, http.StatusUnprocessableEntity, c.code)
			require.Len(t, p.Violations, 1)
			require.Equal(t, "/"+name, p.Violations[0].Pointer)
			require.Equal(t, c.code, p.Violations[0].Code)
		})
	}
}

// The headers by which Prefect takes a creator from whoever sends them do nothing here.
func TestSmuggledCreatorIsNotTaken(t *testing.T) {
	t.Parallel()
	r := send(t, request{path: idleRoute, body: customer, token: serviceToken(t, "svc-nightly"), headers: http.Header{
		"Prefect-Automation-Id": {"5f0c3c1e-8a52-4f2f-9b61-1e1f5e7c0a11"}, "Prefect-Automation-Name": {"cm9vdA=="},
	}})
	require.Equal(t, "svc-nightly", stored(t, requireRun(t, r, http.StatusCreated).ID).CreatedBy.DisplayValue)
}

func TestOtherMethodsDoNothing(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, "svc-nightly")
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
		r := send(t, request{method: method, path: reportRoute, token: token})
		requireRefused(t, r, http.StatusMethodNotAllowed, "method_not_allowed")
		require.Equal(t, "GET, POST", r.header.Get("Allow"))
	}
}
