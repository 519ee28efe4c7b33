package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

var (
	alice   = claims.Identity{Subject: "alice", Issuer: "https://idp", Kind: claims.Service, Client: "alice"}
	aliceID = stamp.CallerID(alice)
	bob     = claims.Identity{Subject: "bob", Issuer: "https://idp", Kind: claims.Service, Client: "bob"}
	bobID   = stamp.CallerID(bob)
)

// fakePrefect answers what the guard asks: two deployments of one team and one
// of another, and runs of theirs.
type fakePrefect struct {
	createdBy map[uuid.UUID]uuid.UUID
	down      bool
	queries   int
}

const (
	reportID = "aaaaaaaa-0000-4000-8000-000000000001"
	loadID   = "aaaaaaaa-0000-4000-8000-000000000002"
	payID    = "bbbbbbbb-0000-4000-8000-000000000001"
)

func (f *fakePrefect) FlowRun(_ context.Context, id uuid.UUID) (prefectclient.FlowRun, error) {
	if f.down {
		return prefectclient.FlowRun{}, errors.New("down")
	}
	by, ok := f.createdBy[id]
	if !ok {
		return prefectclient.FlowRun{ID: id}, nil
	}
	return prefectclient.FlowRun{ID: id, CreatedBy: &prefectclient.CreatedBy{ID: by}}, nil
}

func (f *fakePrefect) Query(_ context.Context, path string, body, into any) error {
	f.queries++
	if f.down {
		return errors.New("down")
	}
	switch path {
	case "/deployments/filter":
		if sort := body.(map[string]any)["sort"]; sort != "CREATED_DESC" {
			return fmt.Errorf("PostgreSQL leaves some out of pages in the order %v", sort)
		}
		return give(into, []map[string]any{
			{"id": reportID, "name": "prod", "flow_id": "f1", "tags": []string{"team-a"}, "work_pool_name": "local"},
			{"id": loadID, "name": "test", "flow_id": "f2", "tags": []string{"team-a", "x"}},
			{"id": payID, "name": "prod", "flow_id": "f3", "tags": []string{"team-b"}, "work_pool_name": "secure"},
		})
	case "/flows/filter":
		return give(into, []map[string]any{{"id": "f1", "name": "report"}, {"id": "f2", "name": "load"}, {"id": "f3", "name": "pay"}})
	case "/flow_runs/count", "/task_runs/count":
		// Every run is one of report/prod.
		b := body.(map[string]any)
		allowed := b["deployments"].(map[string]any)["id"].(map[string]any)["any_"].([]string)
		asked := b[path[1:len(path)-len("/count")]].(map[string]any)["id"].(map[string]any)["any_"].([]string)
		for _, id := range allowed {
			if id == reportID {
				return give(into, len(asked))
			}
		}
		return give(into, 0)
	}
	return errors.New("not faked: " + path)
}

func give(into, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func (f *fakePrefect) Deployment(_ context.Context, id uuid.UUID) (prefectclient.Deployment, error) {
	if f.down {
		return prefectclient.Deployment{}, errors.New("down")
	}
	return prefectclient.Deployment{ID: id, FlowID: uuid.MustParse(payID), Parameters: map[string]any{"default": "d"}}, nil
}

// signer stands for the gateway's keys.
type signer struct{}

func (signer) Sign(jwt.Claims, string) (string, error) { return "signed", nil }

func newGuard(t testing.TB, f *fakePrefect, grants ...Grant) *Guard {
	t.Helper()
	g, err := New(Options{Grants: grants, Prefect: f, Stamp: stamp.Options{Signer: signer{}}})
	require.NoError(t, err)
	return g
}

// ask runs one request through and gives the body that Prefect would read.
func ask(t testing.TB, g *Guard, role, method, path, body string) (Outcome, *Refusal) {
	t.Helper()
	return askQuery(t, g, role, method, path, "", body)
}

func askQuery(t testing.TB, g *Guard, role, method, path, query, body string) (Outcome, *Refusal) {
	t.Helper()
	r := Request{Caller: alice, RequestID: "r1", Roles: []string{role}, Method: method, Path: path, Query: query}
	p, err := g.Open(r)
	if err == nil {
		var o Outcome
		if o, err = p.Check(t.Context(), []byte(body)); err == nil {
			return o, nil
		}
	}
	refusal, ok := RefusalOf(err)
	require.True(t, ok, "%v", err)
	require.NotEmpty(t, refusal.Reason)
	return Outcome{}, refusal
}

const (
	start   = "/deployments/" + reportID + "/create_flow_run"
	state   = "/flow_runs/" + someID + "/set_state"
	newRuns = "/flow_runs/"
)

func TestBodies(t *testing.T) {
	t.Parallel()
	grants := []Grant{{Role: "emitter", Permissions: []string{"emit_events"}}, {Role: "automator", Permissions: []string{"manage_automations", PermissionRunDeployments}}}
	for _, role := range BuiltinRoles() {
		grants = append(grants, Grant{Role: role})
	}
	g := newGuard(t, &fakePrefect{createdBy: map[uuid.UUID]uuid.UUID{uuid.MustParse(someID): bobID}}, grants...)
	for name, c := range map[string]struct {
		role, method, path, body string
		reason, permission       string // empty: it passes
	}{
		"start":                           {"runner", "POST", start, `{"parameters":{"a":1},"name":"x","state":{"type":"SCHEDULED","state_details":{"scheduled_time":"2030-01-01T00:00:00Z"}}}`, "", ""},
		"what clients send empty":         {"runner", "POST", start, `{"job_variables":{},"labels":{},"context":{},"work_queue_name":null,"enforce_parameter_schema":true,"state":null}`, "", ""},
		"the UI's JSON":                   {"runner", "POST", start, `{"parameters":{"a":{"__prefect_kind":"json","value":"{}"}}}`, "", ""},
		"no body":                         {"runner", "POST", start, ``, "", ""},
		"job variables":                   {"runner", "POST", start, `{"job_variables":{"command":"id"}}`, ReasonFieldNotAllowed, PermissionOverrideRuns},
		"a developer's job variables":     {"developer", "POST", start, `{"job_variables":{"command":"id"}}`, "", ""},
		"a queue":                         {"runner", "POST", start, `{"work_queue_name":"mine"}`, ReasonFieldNotAllowed, PermissionOverrideRuns},
		"no validation":                   {"runner", "POST", start, `{"enforce_parameter_schema":false}`, ReasonFieldNotAllowed, PermissionOverrideRuns},
		"validation as a string":          {"runner", "POST", start, `{"enforce_parameter_schema":"no"}`, ReasonFieldNotAllowed, PermissionOverrideRuns},
		"a run that never ran":            {"runner", "POST", start, `{"state":{"type":"COMPLETED"}}`, ReasonFieldNotAllowed, ""},
		"by an owner too":                 {"owner", "POST", start, `{"state":{"type":"COMPLETED"}}`, ReasonFieldNotAllowed, ""},
		"a state of another type":         {"runner", "POST", start, `{"state":"COMPLETED"}`, ReasonBodyUnreadable, ""},
		"a variable":                      {"runner", "POST", start, `{"parameters":{"a":[{"__prefect_kind":"workspace_variable","variable_name":"x"}]}}`, ReasonFieldNotAllowed, "see_variables"},
		"a variable in JSON":              {"runner", "POST", start, `{"parameters":{"a":{"__prefect_kind":"none","value":{"__prefect_kind":"workspace_variable"}}}}`, ReasonFieldNotAllowed, "see_variables"},
		"a template":                      {"owner", "POST", start, `{"parameters":{"a":{"__prefect_kind":"jinja","template":"{{1}}"}}}`, ReasonFieldNotAllowed, ""},
		"a kind that is no string":        {"owner", "POST", start, `{"parameters":{"a":{"__prefect_kind":["jinja"]}}}`, ReasonFieldNotAllowed, ""},
		"somebody's tag":                  {"owner", "POST", start, `{"tags":["caller:root"]}`, ReasonFieldNotAllowed, ""},
		"the gateway's label":             {"owner", "POST", start, `{"labels":{"kong-prefect.subject":"root"}}`, ReasonFieldNotAllowed, ""},
		"the gateway's context":           {"owner", "POST", start, `{"context":{"kong_prefect":{}}}`, ReasonFieldNotAllowed, ""},
		"another run's task":              {"runner", "POST", start, `{"parent_task_run_id":"` + payID + `"}`, ReasonFieldNotAllowed, PermissionExecuteRuns},
		"another run's task, in bulk":     {"runner", "POST", start + "/bulk", `[{"parent_task_run_id":"` + payID + `"}]`, ReasonFieldNotAllowed, PermissionExecuteRuns},
		"the task of a flow that runs":    {"developer", "POST", start, `{"parent_task_run_id":"` + payID + `"}`, "", ""},
		"an unknown field":                {"owner", "POST", start, `{"created_by":{"id":"x"}}`, ReasonFieldNotAllowed, ""},
		"a field twice":                   {"owner", "POST", start, `{"tags":[],"tags":["caller:root"]}`, ReasonBodyUnreadable, ""},
		"no JSON":                         {"owner", "POST", start, `name=x`, ReasonBodyUnreadable, ""},
		"a list":                          {"owner", "POST", start, `[]`, ReasonBodyUnreadable, ""},
		"UTF-16":                          {"owner", "POST", start, "\xff\xfe{\x00}\x00", ReasonBodyUnreadable, ""},
		"a viewer":                        {"viewer", "POST", start, `{}`, ReasonPermissionMissing, PermissionRunDeployments},
		"a worker":                        {"worker", "POST", start, `{}`, ReasonPermissionMissing, PermissionRunDeployments},
		"several runs":                    {"runner", "POST", start + "/bulk", `[{"name":"a"},{"name":"b"}]`, "", ""},
		"one of several":                  {"runner", "POST", start + "/bulk", `[{"name":"a"},{"state":{"type":"RUNNING"}}]`, ReasonFieldNotAllowed, ""},
		"fabricated":                      {"runner", "POST", newRuns, `{"flow_id":"x"}`, ReasonPermissionMissing, PermissionExecuteRuns},
		"a worker's subflow":              {"worker", "POST", newRuns, `{"flow_id":"` + payID + `","state":{"type":"PENDING"}}`, "", ""},
		"a worker's fabrication":          {"worker", "POST", newRuns, `{"flow_id":"x","state":{"type":"COMPLETED"}}`, ReasonFieldNotAllowed, ""},
		"a worker's run of a deployment":  {"worker", "POST", newRuns, `{"flow_id":"` + payID + `","deployment_id":"` + payID + `"}`, ReasonPermissionMissing, PermissionRunDeployments},
		"cancel another's":                {"runner", "POST", state, `{"state":{"type":"CANCELLING"}}`, ReasonNotYours, PermissionChangeRuns},
		"cancel anybody's":                {"developer", "POST", state, `{"state":{"type":"CANCELLING"}}`, "", ""},
		"complete another's":              {"runner", "POST", state, `{"state":{"type":"COMPLETED"}}`, ReasonFieldNotAllowed, PermissionExecuteRuns},
		"complete as the worker":          {"worker", "POST", state, `{"state":{"type":"COMPLETED"}}`, "", ""},
		"force as the worker":             {"worker", "POST", state, `{"state":{"type":"CANCELLED"},"force":true}`, "", ""},
		"a viewer cancels":                {"viewer", "POST", state, `{"state":{"type":"CANCELLED"}}`, ReasonPermissionMissing, "control_flow_runs"},
		"resume another's":                {"runner", "POST", "/flow_runs/" + someID + "/resume", `{}`, ReasonNotYours, PermissionChangeRuns},
		"answer another's":                {"runner", "POST", "/flow_runs/" + someID + "/input", `{"key":"a","value":"b"}`, ReasonNotYours, PermissionChangeRuns},
		"delete all":                      {"owner", "POST", "/deployments/bulk_delete", `{}`, ReasonFieldNotAllowed, PermissionBulkEverything},
		"delete all, no body":             {"owner", "POST", "/deployments/bulk_delete", ``, ReasonFieldNotAllowed, PermissionBulkEverything},
		"delete all but none":             {"owner", "POST", "/flow_runs/bulk_delete", `{"flow_runs":{"id":{"not_any_":[]}}}`, ReasonFieldNotAllowed, PermissionBulkEverything},
		"delete what is or isn't":         {"owner", "POST", "/flow_runs/bulk_delete", `{"flow_runs":{"operator":"or_","id":{"any_":["x"]},"tags":{"is_null_":true}}}`, ReasonFieldNotAllowed, PermissionBulkEverything},
		"delete by the wrong filter":      {"owner", "POST", "/flows/bulk_delete", `{"flow_runs":{"id":{"any_":["x"]}}}`, ReasonFieldNotAllowed, PermissionBulkEverything},
		"delete by id":                    {"owner", "POST", "/flows/bulk_delete", `{"flows":{"id":{"any_":["x"]}}}`, "", ""},
		"cancel what is late":             {"developer", "POST", "/flow_runs/bulk_set_state", `{"flow_runs":{"state":{"name":{"any_":["Late"]}}},"state":{"type":"CANCELLED"}}`, "", ""},
		"cancel everything":               {"developer", "POST", "/flow_runs/bulk_set_state", `{"state":{"type":"CANCELLED"}}`, ReasonFieldNotAllowed, PermissionBulkEverything},
		"forge a state":                   {"developer", "POST", "/events", `[{"event":"prefect.flow-run.Completed"}]`, ReasonFieldNotAllowed, ""},
		"an own event":                    {"developer", "POST", "/events", `[{"event":"shop.order"}]`, "", ""},
		"a task's event":                  {"worker", "POST", "/events", `[{"event":"prefect.task-run.Completed"}]`, "", ""},
		"a task's event by anybody":       {"emitter", "POST", "/events", `[{"event":"shop.order"},{"event":" Prefect.task-run.Completed"}]`, ReasonFieldNotAllowed, PermissionExecuteRuns},
		"an event as a runner":            {"runner", "POST", "/events", `[]`, ReasonPermissionMissing, "emit_events"},
		"an automation":                   {"developer", "POST", "/automations/", `{"name":"a","actions":[{"type":"run-deployment","deployment_id":"x"}]}`, "", ""},
		"a variable by an automation":     {"automator", "POST", "/automations/", `{"actions":[{"type":"run-deployment","parameters":{"a":[{"__prefect_kind":"workspace_variable","variable_name":"x"}]}}]}`, ReasonFieldNotAllowed, "see_variables"},
		"an automation's own templates":   {"automator", "POST", "/automations/", `{"actions":[{"type":"run-deployment","parameters":{"a":"{{ event.id }}","b":{"__prefect_kind":"jinja","template":"{{ event.id }}"}}}]}`, "", ""},
		"an automation that nobody knows": {"owner", "POST", "/automations/", `{"actions":[{"type":"run-anything"}]}`, ReasonFieldNotAllowed, ""},
		"a deployment":                    {"developer", "POST", "/deployments/", `{"name":"d","flow_id":"x","job_variables":{"env":{}}}`, "", ""},
		"a deployment with a variable":    {"developer", "PATCH", "/deployments/" + reportID, `{"parameters":{"a":{"__prefect_kind":"jinja","template":"x"}}}`, ReasonFieldNotAllowed, ""},
		"a schedule with a template":      {"developer", "POST", "/deployments/" + reportID + "/schedules", `[{"parameters":{"a":{"__prefect_kind":"jinja"}}}]`, ReasonFieldNotAllowed, ""},
		"a runner deploys":                {"runner", "POST", "/deployments/", `{}`, ReasonPermissionMissing, "manage_deployments"},
		"labels":                          {"worker", "PATCH", "/flow_runs/" + someID + "/labels", `{"kong-prefect.subject":"root"}`, ReasonFieldNotAllowed, ""},
		"a worker's labels":               {"worker", "PATCH", "/flow_runs/" + someID + "/labels", `{"prefect.worker.name":"w","prefect.work-pool.name":"p","__OTEL_TRACEPARENT":"t"}`, "", ""},
		"the server's labels":             {"worker", "PATCH", "/flow_runs/" + someID + "/labels", `{"prefect.deployment.id":"x"}`, ReasonFieldNotAllowed, ""},
		"tags afterwards":                 {"worker", "PATCH", "/flow_runs/" + someID, `{"tags":["caller:root"]}`, ReasonFieldNotAllowed, ""},
		"hidden in blocks":                {"worker", "POST", "/block_documents/filter", `{"include_secrets":true}`, "", ""},
		"nobody":                          {"nobody", "GET", "/health", ``, ReasonPermissionMissing, "connect"},
		"an unknown operation":            {"owner", "GET", "/me", ``, ReasonRouteUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, refusal := ask(t, g, c.role, c.method, c.path, c.body)
			if c.reason == "" {
				require.Nil(t, refusal)
				return
			}
			require.NotNil(t, refusal)
			require.Equal(t, c.reason, refusal.Reason, "%v", refusal)
			require.Equal(t, c.permission, refusal.Permission)
		})
	}
}

func TestAStampControlsNoRunsOfItsCaller(t *testing.T) {
	t.Parallel()
	g := newGuard(t, &fakePrefect{createdBy: map[uuid.UUID]uuid.UUID{uuid.MustParse(someID): bobID}}, Grant{Role: "runner"})
	ofBob := &stamp.Claims{Context: stamp.Context{Caller: stamp.Caller{Subject: bob.Subject, Issuer: bob.Issuer}}}
	for _, c := range []struct {
		caller claims.Identity
		reason string
	}{{alice, ReasonNotYours}, {bob, ""}} {
		for path, body := range map[string]string{state: `{"state":{"type":"CANCELLING"}}`, "/flow_runs/" + someID + "/resume": `{}`} {
			p, err := g.Open(Request{Caller: c.caller, Parent: ofBob, RequestID: "r1", Roles: []string{"runner"}, Method: "POST", Path: path})
			require.NoError(t, err)
			_, err = p.Check(t.Context(), []byte(body))
			if c.reason == "" {
				require.NoError(t, err, path)
				continue
			}
			refusal, ok := RefusalOf(err)
			require.True(t, ok, "%s %v", path, err)
			require.Equal(t, c.reason, refusal.Reason, path)
		}
	}
}

func TestTheCallerIsWrittenOntoWhatTheyStart(t *testing.T) {
	t.Parallel()
	g := newGuard(t, &fakePrefect{})
	o, refusal := ask(t, g, "runner", "POST", start, `{"parameters":{"n":12345678901234567890.125},"tags":["mine"],"context":{"a":1},"idempotency_key":"k"}`)
	require.Nil(t, refusal)
	require.Equal(t, aliceID, o.CreatedBy.ID)
	var run struct {
		Tags       []string
		Labels     map[string]any
		Parameters map[string]any
		Context    map[string]any
		Key        string `json:"idempotency_key"`
	}
	require.NoError(t, json.Unmarshal(o.Body, &run))
	require.Equal(t, []string{"mine", "caller:alice"}, run.Tags)
	require.Equal(t, "alice", run.Labels["kong-prefect.subject"])
	require.Equal(t, "d", run.Parameters["default"], "what is signed is all that will be stored")
	require.Equal(t, 1.0, run.Context["a"])
	stamped := run.Context["kong_prefect"].(map[string]any)
	require.Equal(t, "signed", stamped["stamp"])
	require.Equal(t, "guard:run_deployments", stamped["rule"])
	require.Contains(t, string(o.Body), "12345678901234567890.125", "numbers keep every digit")
	require.NotEqual(t, "k", run.Key, "another caller's key is another key")

	o, refusal = ask(t, g, "developer", "POST", "/deployments/", `{"name":"d","labels":{"x":"y"}}`)
	require.Nil(t, refusal)
	require.Contains(t, string(o.Body), `"kong-prefect-deployed-by.subject":"alice"`)
	require.NotContains(t, string(o.Body), `"kong-prefect.subject"`, "runs inherit labels, and the deployer didn't start them")
	require.NotContains(t, string(o.Body), `"tags":null`)
	require.Equal(t, "alice", o.CreatedBy.DisplayValue)

	o, refusal = ask(t, g, "developer", "POST", "/automations/", `{"name":"a","tags":["b"],"actions":[]}`)
	require.Nil(t, refusal)
	require.JSONEq(t, `{"name":"a","tags":["b","caller:alice"],"actions":[]}`, string(o.Body))

	o, refusal = ask(t, g, "developer", "POST", state, `{"state":{"type":"SCHEDULED","message":"again"}}`)
	require.Nil(t, refusal)
	require.JSONEq(t, `{"state":{"type":"SCHEDULED","message":"again (set by alice)"}}`, string(o.Body))
	o, refusal = ask(t, g, "developer", "POST", state, `{"state":{"type":"RUNNING"}}`)
	require.Nil(t, refusal)
	require.JSONEq(t, `{"state":{"type":"RUNNING"}}`, string(o.Body), "what a flow reports of itself stays as it is")
}

func TestRunsOfOneRequestAreToldApart(t *testing.T) {
	t.Parallel()
	o, refusal := ask(t, newGuard(t, &fakePrefect{}), "runner", "POST", start+"/bulk", `[{},{},{"idempotency_key":"k"},{"idempotency_key":"k"}]`)
	require.Nil(t, refusal)
	var runs []struct {
		Key string `json:"idempotency_key"`
	}
	require.NoError(t, json.Unmarshal(o.Body, &runs))
	require.NotEqual(t, runs[0].Key, runs[1].Key, "each is a run of its own")
	require.NotEqual(t, runs[0].Key, runs[2].Key)
	require.Equal(t, runs[2].Key, runs[3].Key, "unless the caller says otherwise")
	require.Len(t, o.Runs, 4)
}

func TestOnesOwnRun(t *testing.T) {
	t.Parallel()
	f := &fakePrefect{createdBy: map[uuid.UUID]uuid.UUID{uuid.MustParse(someID): aliceID}}
	g := newGuard(t, f)
	for _, body := range []string{`{"state":{"type":"CANCELLING"}}`, `{"state":{"type":"SCHEDULED"},"force":false}`, `{"state":{"type":"PAUSED"}}`} {
		_, refusal := ask(t, g, "runner", "POST", state, body)
		require.Nil(t, refusal)
	}
	for _, body := range []string{
		`{"state":{"type":"COMPLETED"}}`, `{"state":{"type":"CANCELLED"},"force":true}`, `{"state":{"type":"CANCELLED"},"force":"true"}`,
		`{"state":{"type":"CANCELLED"},"force":1}`, `{"state":{"type":"CANCELLED","data":{"type":"x"}}}`,
	} {
		_, refusal := ask(t, g, "runner", "POST", state, body)
		require.NotNil(t, refusal, body)
		require.Equal(t, PermissionExecuteRuns, refusal.Permission)
	}
	_, refusal := ask(t, g, "runner", "POST", "/flow_runs/"+someID+"/resume", `{}`)
	require.Nil(t, refusal)
	_, refusal = ask(t, g, "runner", "POST", "/flow_runs/"+someID+"/resume", `{"run_input":{"a":{"__prefect_kind":"json","value":"1"}}}`)
	require.Nil(t, refusal)
	_, refusal = ask(t, g, "runner", "POST", "/flow_runs/"+someID+"/resume", `{"run_input":{"a":[{"__prefect_kind":"workspace_variable","variable_name":"x"}]}}`)
	require.NotNil(t, refusal, "the server would put the variable into the run's input")
	require.Equal(t, "see_variables", refusal.Permission)
	f.down = true
	_, refusal = ask(t, g, "runner", "POST", state, `{"state":{"type":"CANCELLING"}}`)
	require.Equal(t, ReasonLimitUnresolved, refusal.Reason)
}

func TestSecretsInAQuery(t *testing.T) {
	t.Parallel()
	g := newGuard(t, &fakePrefect{}, Grant{Role: "looker", Permissions: []string{"see_blocks"}}, Grant{Role: "worker"})
	const path = "/block_documents/" + someID
	for query, refused := range map[string]bool{
		"": false, "include_secrets=false": false, "x=y": false,
		"include_secrets=true": true, "include_secrets": true, "include_secrets=false&include_secrets=true": true, "include%5fsecrets=1": true,
		"a=b;include_secrets=1": true, "include_secrets=FALSE": true, "%zz&include%5Fsecrets=1": true,
	} {
		_, refusal := askQuery(t, g, "looker", "GET", path, query, "")
		require.Equal(t, refused, refusal != nil, query)
		_, refusal = askQuery(t, g, "worker", "GET", path, query, "")
		require.Nil(t, refusal, query)
	}
}

func TestBrokenGrants(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Grants: []Grant{
		{}, {Role: "mine"}, {Role: "viewer", Permissions: []string{"fly"}}, {Role: "viewer", Limit: Limit{Tags: []string{"[", ""}}},
	}})
	for _, problem := range []string{"grants[1]: role is empty", `grants[2]: role "mine" isn't built in`, `grants[3]: there is no permission "fly"`, `grants[4]: "[" is no glob`, `grants[4]: "" is no glob`} {
		require.ErrorContains(t, err, problem)
	}
}
