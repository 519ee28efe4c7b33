package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/signing"
)

const reportSchema = `{"type":"object","required":["region"],"properties":{
	"region":{"type":"string"},"limit":{"anyOf":[{"type":"integer"},{"type":"null"}],"default":null},
	"ids":{"type":"array","items":{"type":"integer"}},"dry":{"type":"boolean"},"by":{"type":"string"},"level":{"type":"integer"}}}`

// triggerRig is prefect-trigger with a configuration, before a fake Prefect.
type triggerRig struct {
	*trigger
	t      *testing.T
	server *prefecttest.Server
}

// newTriggerRig starts one; configuration comes after the server's address.
func newTriggerRig(t *testing.T, configuration string) triggerRig {
	t.Helper()
	server := prefecttest.NewServer(prefecttest.Options{})
	t.Cleanup(server.Close)
	for _, d := range []prefecttest.Deployment{
		{Flow: "report", Name: "prod", ParameterSchema: reportSchema, WorkPool: "p", Tags: []string{"pii"}},
		{Flow: "report", Name: "gold", ParameterSchema: reportSchema, WorkPool: "p"},
		{Flow: "report", Name: "paused", ParameterSchema: reportSchema, WorkPool: "p", Paused: true},
		{Flow: "report", Name: "nobody", ParameterSchema: reportSchema},
		{Flow: "stateful", Name: "prod", ParameterSchema: `{"type":"object","properties":{"state":{"type":"string"}}}`, WorkPool: "p"},
	} {
		server.AddDeployment(d)
	}
	p := startProcess(t)
	var err error
	p.Signing, err = signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	return newTriggerRigAt(t, triggerRig{&trigger{process: p}, t, server}, configuration)
}

// newTriggerRigAt is another route of the same process.
func newTriggerRigAt(t *testing.T, of triggerRig, configuration string) triggerRig {
	t.Helper()
	h, err := compileTrigger(of.process, []byte(`{"prefect":{"api_url":"`+of.server.URL+`","timeout_ms":5000},`+configuration+`}`))
	require.NoError(t, err)
	return triggerRig{h, t, of.server}
}

// ask is one request.
type ask struct {
	method, path, query, body string
	headers                   map[string][]string
	caller                    claims.Identity
	roles                     []string
}

func (r triggerRig) send(a ask) (Run, *Problem) {
	r.t.Helper()
	got, problem := r.serve(context.Background(), r.order(a))
	if problem != nil {
		return Run{}, problem
	}
	var run Run
	require.NoError(r.t, json.Unmarshal(got.body, &run))
	return run, nil
}

func (r triggerRig) order(a ask) order {
	r.t.Helper()
	if a.caller.Subject == "" {
		a.caller = claims.Identity{Subject: "svc", Issuer: "https://idp", Kind: claims.Service, Client: "svc", Email: "svc@example.com",
			Groups: []string{"g1", "g2"}, Attributes: map[string]any{"tier": "gold", "level": json.Number("7")}}
	}
	if a.roles == nil {
		a.roles = []string{"runner"}
	}
	if a.method == "" {
		a.method = http.MethodPost
	}
	if a.path == "" {
		a.path = "/run/report"
	}
	query := map[string][]string{}
	for _, pair := range strings.FieldsFunc(a.query, func(c rune) bool { return c == '&' }) {
		name, value, _ := strings.Cut(pair, "=")
		query[name] = append(query[name], value)
	}
	return order{
		caller: Caller{Identity: a.caller, Roles: a.roles}, requestID: uuid.NewString(), method: a.method, path: a.path,
		query: query, headers: a.headers, contentType: []string{"application/json"}, idempotencyKey: a.headers["idempotency-key"],
		body: pluginserver.RawBody{Content: []byte(a.body)},
	}
}

// sent is the body of the one create that Prefect got.
func (r triggerRig) sent() (body map[string]any) {
	r.t.Helper()
	for _, request := range r.server.Requests() {
		if strings.HasSuffix(request.Path, "/create_flow_run") {
			require.Nil(r.t, body, "one create")
			require.NoError(r.t, json.Unmarshal(request.Body, &body))
		}
	}
	return body
}

func (r triggerRig) requireNoRun() {
	r.t.Helper()
	require.Nil(r.t, r.sent())
}

const emea = `{"region":"emea"}`

func TestDeploymentIsChosen(t *testing.T) {
	t.Parallel()
	const rules = `"deployments":[{"when":"identity.attributes.tier == 'gold'","deployment":"report/gold"},
		{"when":"request.query.env == 'prod'","deployment":"report/prod"}],"allow_roles":["runner"]`
	const choice = `"path":"/run/{flow}/{deployment}","choose":["report/[gp]*","missing/prod"],"allow_roles":["runner"]`
	plain := claims.Identity{Subject: "u", Issuer: "https://idp", Kind: claims.User, Attributes: map[string]any{"tier": "none"}}
	without := claims.Identity{Subject: "u", Issuer: "https://idp", Kind: claims.User}
	for name, c := range map[string]struct {
		configuration string
		ask           ask
		deployment    string
		code          string
	}{
		"fixed":                      {`"deployment":"report/prod","allow_roles":["runner"]`, ask{}, "report/prod", ""},
		"first rule":                 {rules, ask{}, "report/gold", ""},
		"second rule":                {rules, ask{caller: plain, query: "env=prod"}, "report/prod", ""},
		"no rule holds":              {rules, ask{caller: plain, query: "env=dev"}, "", CodeDeploymentUndecided},
		"the default":                {`"deployment":"report/prod",` + strings.Replace(rules, ",\n\t\t{\"when\":\"request.query.env == 'prod'\",\"deployment\":\"report/prod\"}", "", 1), ask{caller: plain}, "report/prod", ""},
		"a claim that isn't there":   {rules, ask{caller: without, query: "env=prod"}, "", CodeDeploymentUndecided},
		"chosen":                     {choice, ask{path: "/run/report/gold"}, "report/gold", ""},
		"chosen, not allowed":        {choice, ask{path: "/run/report/nobody"}, "", CodeDeploymentNotOffered},
		"chosen, not there":          {choice, ask{path: "/run/missing/prod"}, "", CodeDeploymentNotOffered},
		"chosen, another case":       {choice, ask{path: "/run/Report/gold"}, "", CodeDeploymentNotOffered},
		"chosen, an encoded slash":   {choice, ask{path: "/run/report/gold%2Fx"}, "", CodePathUnknown},
		"chosen, too long":           {choice, ask{path: "/run/report/gold/x"}, "", CodePathUnknown},
		"chosen, too short":          {choice, ask{path: "/run/report"}, "", CodePathUnknown},
		"chosen, an id":              {choice, ask{path: "/run/report/" + uuid.NewString()}, "", CodeDeploymentNotOffered},
		"gone":                       {`"deployment":"report/gone","allow_roles":["runner"]`, ask{}, "", CodeDeploymentUnknown},
		"paused":                     {`"deployment":"report/paused","allow_roles":["runner"]`, ask{}, "", CodeDeploymentPaused},
		"paused, allowed":            {`"deployment":"report/paused","allow_paused":true,"allow_roles":["runner"]`, ask{}, "report/paused", ""},
		"without a work pool":        {`"deployment":"report/nobody","allow_roles":["runner"]`, ask{}, "", CodeDeploymentNoWorkPool},
		"without a pool, allowed":    {`"deployment":"report/nobody","allow_without_work_pool":true,"allow_roles":["runner"]`, ask{}, "report/nobody", ""},
		"a stranger learns nothing":  {choice, ask{path: "/run/missing/prod", roles: []string{"other"}}, "", CodeRoleNotAllowed},
		"a stranger at a paused one": {`"deployment":"report/paused","allow_roles":["runner"]`, ask{roles: []string{"other"}}, "", CodeRoleNotAllowed},
		"another method":             {`"deployment":"report/prod","allow_roles":["runner"]`, ask{method: "PUT"}, "", CodeMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTriggerRig(t, c.configuration)
			c.ask.body = emea
			run, problem := r.send(c.ask)
			if c.code != "" {
				require.NotNil(t, problem)
				require.Equal(t, c.code, problem.Code, "%v", problem.Cause)
				r.requireNoRun()
				return
			}
			require.Nil(t, problem)
			require.Equal(t, c.deployment, run.Deployment)
			require.True(t, run.Created)
		})
	}
}

func TestParametersAreBound(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"path":"/run/{region}","deployment":"report/prod","allow_roles":["runner"],"parameters":[
		{"name":"region","from":"capture"},{"name":"limit","from":"query","path":"max"},{"name":"ids","from":"query","path":"id"},
		{"name":"dry","from":"header","path":"X-Dry","default":"true"},{"name":"by","from":"claim","path":"email"},
		{"name":"level","from":"claim","path":"attributes.level"}]`)
	_, problem := r.send(ask{path: "/run/emea", query: "max=10&id=1&id=22", headers: map[string][]string{"x-dry": {"false"}}})
	require.Nil(t, problem, "%+v", problem)
	require.Equal(t, map[string]any{"region": "emea", "limit": 10.0, "ids": []any{1.0, 22.0}, "dry": false, "by": "svc@example.com", "level": 7.0}, r.sent()["parameters"])
}

func TestDefaultsFixedValuesAndOneOfAList(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployment":"report/prod","allow_roles":["runner"],"parameters":[
		{"name":"region","from":"fixed","value":"emea"},{"name":"limit","from":"fixed","value":"3"},{"name":"ids","from":"query","path":"id"},
		{"name":"dry","from":"header","path":"X-Dry","default":"true"}]`)
	_, problem := r.send(ask{query: "id=5"})
	require.Nil(t, problem, "%+v", problem)
	require.Equal(t, map[string]any{"region": "emea", "limit": 3.0, "ids": []any{5.0}, "dry": true}, r.sent()["parameters"])
}

// All that is wrong is said at once, each with its pointer and its own code,
// and Prefect hears nothing of it.
func TestWhatCallersMayNotSend(t *testing.T) {
	t.Parallel()
	const open = `"deployment":"report/prod","allow_roles":["runner"]`
	const bound = `"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"body"},
		{"name":"limit","from":"query"},{"name":"by","from":"claim","path":"email"},{"name":"dry","from":"fixed","value":"true"}]`
	const limited = `"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"body"},{"name":"ids","from":"body"},{"name":"limit","from":"query"}]`
	for name, c := range map[string]struct {
		configuration, query, body, code string
		violations                       string // pointer code, in order
	}{
		"hydration":               {open, "", `{"region":{"__prefect_kind":"workspace_variable","variable_name":"s"}}`, "parameter_forbidden", "/region parameters_invalid,/region/__prefect_kind parameter_forbidden"},
		"hydration, in a list":    {open, "", `{"region":"x","ids":[[{"__prefect_kind":"jinja"}]]}`, "parameter_forbidden", "/ids/0 parameters_invalid,/ids/0/0/__prefect_kind parameter_forbidden"},
		"schema check":            {open, "", `{"region":"x","enforce_parameter_schema":false}`, "schema_check_forbidden", "/enforce_parameter_schema schema_check_forbidden"},
		"job variables":           {open, "", `{"region":"x","job_variables":{"command":"id"}}`, "job_variables_forbidden", "/job_variables job_variables_forbidden"},
		"state":                   {open, "", `{"region":"x","state":{"type":"COMPLETED"}}`, "state_forbidden", "/state state_forbidden"},
		"work queue":              {open, "", `{"region":"x","work_queue_name":"q"}`, "work_queue_forbidden", "/work_queue_name work_queue_forbidden"},
		"labels":                  {open, "", `{"region":"x","labels":{"prefect.deployment.id":"y"}}`, "labels_forbidden", "/labels labels_forbidden"},
		"other fields":            {open, "", `{"region":"x","context":{},"created_by":{},"idempotency_key":"k","name":"n","tags":[]}`, "field_forbidden", "/context field_forbidden,/created_by field_forbidden,/idempotency_key field_forbidden,/name field_forbidden,/tags field_forbidden"},
		"undeclared":              {open, "", `{"region":"x","more":1}`, "parameters_invalid", "/more parameters_invalid"},
		"several":                 {open, "", `{"ids":["x"],"more":1,"state":"x"}`, "state_forbidden", " parameters_invalid,/ids/0 parameters_invalid,/more parameters_invalid,/state state_forbidden"},
		"bound to a claim":        {bound, "", `{"region":"x","by":"root"}`, "parameter_bound", "/by parameter_bound"},
		"fixed":                   {bound, "", `{"region":"x","dry":false}`, "parameter_bound", "/dry parameter_bound"},
		"from elsewhere":          {bound, "", `{"region":"x","limit":5}`, "parameter_bound", "/limit parameter_bound"},
		"not on the route's list": {bound, "", `{"region":"x","ids":[1]}`, "parameters_invalid", "/ids parameters_invalid"},
		"twice in the query":      {bound, "limit=1&limit=2", `{"region":"x"}`, "parameters_invalid", "/limit parameters_invalid"},
		"no number in the query":  {bound, "limit=many", `{"region":"x"}`, "parameters_invalid", "/limit parameters_invalid,/limit parameters_invalid"},
		"spaces about a number":   {bound, "limit= 1", `{"region":"x"}`, "parameters_invalid", "/limit parameters_invalid,/limit parameters_invalid"},
		"too deep":                {open, "", `{"region":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "parameters_over_limit", ""},
		"what can't be stored":    {limited, "", `{"region":"x\u0000"}`, "parameters_invalid", "/region parameters_invalid"},
		"numbers without an end":  {limited, "limit=1e999999999", `{"region":"x","ids":[1e1000000]}`, "parameters_over_limit", "/ids/0 parameters_over_limit,/limit parameters_over_limit"},
		"too large for Prefect":   {open, "", `{"region":"` + strings.Repeat("x", 600<<10) + `"}`, "parameters_over_limit", " parameters_over_limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTriggerRig(t, c.configuration)
			_, problem := r.send(ask{query: c.query, body: c.body})
			require.NotNil(t, problem)
			require.Equal(t, c.code, problem.Code, "%+v", problem.Violations)
			require.Equal(t, http.StatusUnprocessableEntity, problem.Answer("r").Status)
			var got []string
			for _, v := range problem.Violations {
				got = append(got, v.Pointer+" "+v.Code)
			}
			if c.violations != "" {
				require.Equal(t, c.violations, strings.Join(got, ","))
			}
			r.requireNoRun()
		})
	}
}

func TestAFlowsOwnParameterMayBeCalledAsAFieldOfPrefects(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployment":"stateful/prod","allow_roles":["runner"]`)
	_, problem := r.send(ask{body: `{"state":"done"}`})
	require.Nil(t, problem)
	require.Equal(t, map[string]any{"state": "done"}, r.sent()["parameters"])
	require.NotContains(t, r.sent(), "state")
}

func TestAParameterMayComeFromAMemberThatIsCalledAsAFieldOfPrefects(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"body","path":"state"}]`)
	_, problem := r.send(ask{body: `{"state":"emea"}`})
	require.Nil(t, problem, "%+v", problem)
	require.Equal(t, map[string]any{"region": "emea"}, r.sent()["parameters"])
	require.NotContains(t, r.sent(), "state")
	_, problem = r.send(ask{body: `{"state":"emea","labels":{}}`})
	require.Equal(t, "labels_forbidden", problem.Code)
}

func TestFieldsThatTheRouteNames(t *testing.T) {
	t.Parallel()
	const named = `"deployment":"report/prod","allow_roles":["runner"],"body_fields":["name","tags","labels"]`
	r := newTriggerRig(t, named)
	_, problem := r.send(ask{body: `{"region":"x","name":"mine","tags":["a"],"labels":{"n":1}}`})
	require.Nil(t, problem, "%+v", problem)
	sent := r.sent()
	require.Equal(t, "mine", sent["name"])
	require.Contains(t, sent["tags"], "a")
	require.Contains(t, sent["tags"], "caller:svc")
	require.Equal(t, 1.0, sent["labels"].(map[string]any)["n"])
	require.Equal(t, map[string]any{"region": "x"}, sent["parameters"])
	var labels strings.Builder
	for i := range 32 {
		fmt.Fprintf(&labels, `"l%d":1,`, i)
	}
	for body, code := range map[string]string{
		`{"region":"x","tags":["caller:root"]}`:                            "name_reserved",
		`{"region":"x","labels":{"kong-prefect.subject":"root"}}`:          "name_reserved",
		`{"region":"x","labels":{"prefect.deployment.id":"1"}}`:            "name_reserved",
		`{"region":"x","labels":{"a":{}}}`:                                 "field_invalid",
		`{"region":"x","name":"` + strings.Repeat("n", 256) + `"}`:         "field_invalid",
		`{"region":"x","tags":"a"}`:                                        "field_invalid",
		`{"region":"x","tags":["` + strings.Repeat(`a","`, 32) + `a"]}`:    "field_invalid",
		`{"region":"x","labels":{` + labels.String() + `"z":1}}`:           "field_invalid",
		`{"region":"x","name":{"__prefect_kind":"jinja","template":"{}"}}`: "field_invalid",
		`{"region":"x","job_variables":{}}`:                                "job_variables_forbidden",
	} {
		r := newTriggerRig(t, named)
		_, problem := r.send(ask{body: body})
		require.NotNil(t, problem, body)
		require.Equal(t, code, problem.Code, body)
		r.requireNoRun()
	}
}

func TestPolicyNamesItsRule(t *testing.T) {
	t.Parallel()
	const configuration = `"deployment":"report/prod","allow":[
		{"name":"small","roles":["runner"],"when":"parameters.limit <= 10 && 'pii' in deployment.tags"},
		{"name":"big-ones","roles":["owner"]}]`
	for name, c := range map[string]struct {
		body, rule string
		roles      []string
		code       string
	}{
		"condition holds":  {`{"region":"x","limit":10}`, "small", nil, ""},
		"condition fails":  {`{"region":"x","limit":11}`, "", nil, CodePolicyDenied},
		"can't be decided": {`{"region":"x"}`, "", nil, CodePolicyDenied},
		"by another rule":  {`{"region":"x","limit":11}`, "big-ones", []string{"runner", "owner"}, ""},
		"no role at all":   {`{"region":"x","limit":1}`, "", []string{"viewer"}, CodeRoleNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTriggerRig(t, configuration)
			_, problem := r.send(ask{body: c.body, roles: c.roles})
			if c.code != "" {
				require.NotNil(t, problem)
				require.Equal(t, c.code, problem.Code)
				r.requireNoRun()
				return
			}
			require.Nil(t, problem)
			stamped := r.sent()["context"].(map[string]any)["kong_prefect"].(map[string]any)
			require.Equal(t, c.rule, stamped["rule"])
		})
	}
}

func TestClaimThatACallerLacks(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"body"},{"name":"by","from":"claim","path":"email"}]`)
	_, problem := r.send(ask{body: emea, caller: claims.Identity{Subject: "s", Issuer: "https://idp", Kind: claims.Service}})
	require.NotNil(t, problem)
	require.Equal(t, "claim_missing", problem.Code)
	require.Equal(t, http.StatusForbidden, problem.Answer("r").Status)
	require.Equal(t, "/by", problem.Violations[0].Pointer)
}

func TestADeploymentThatIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployment":"report/prod","allow_roles":["runner"]`)
	_, problem := r.send(ask{body: emea})
	require.Nil(t, problem)
	r.server.RemoveDeployment("report", "prod")
	for range 2 {
		_, problem = r.send(ask{body: emea})
		require.NotNil(t, problem)
		require.Equal(t, CodeDeploymentUnknown, problem.Code)
	}
	r.server.AddDeployment(prefecttest.Deployment{Flow: "report", Name: "prod", ParameterSchema: reportSchema, WorkPool: "p"})
	_, problem = r.send(ask{body: emea})
	require.Nil(t, problem, "found again at once")
}

func TestBrokenTriggersNameTheField(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	for configuration, field := range map[string]string{
		`"allow_roles":["r"]`:                  "deployment: give",
		`"deployment":"a/b"`:                   "give allow_roles or allow",
		`"choose":["a/*"],"allow_roles":["r"]`: "path: must have",
		`"choose":["a/*"],"path":"/{flow}/{deployment}","deployment":"a/b","allow_roles":["r"]`:                                 "choose: in place",
		`"choose":["["],"path":"/{flow}/{deployment}","allow_roles":["r"]`:                                                      "choose[1]",
		`"path":"/a/{b","deployment":"a/b","allow_roles":["r"]`:                                                                 "path:",
		`"path":"/{b}/{b}","deployment":"a/b","allow_roles":["r"]`:                                                              "path:",
		`"deployments":[{"when":"parameters.x == 1","deployment":"a/b"}],"allow_roles":["r"]`:                                   "deployments[1].when: parameters isn't known",
		`"deployments":[{"when":"true","deployment":"ab c"}],"allow_roles":["r"]`:                                               "deployments[1].deployment",
		`"deployment":"a/b","allow":[{"name":"x","when":"identity.nme == ''"}]`:                                                 "allow[1]: when",
		`"deployment":"a/b","allow_roles":["r"],"parameters":[{"name":"x","from":"capture"}]`:                                   "parameters[1]: path has no part",
		`"deployment":"a/b","allow_roles":["r"],"parameters":[{"name":"x","from":"header","path":"Cookie"}]`:                    "parameters[1]: Cookie holds a credential",
		`"deployment":"a/b","allow_roles":["r"],"parameters":[{"name":"x","from":"claim"}]`:                                     "parameters[1]: the identity has no",
		`"deployment":"a/b","allow_roles":["r"],"parameters":[{"name":"x","from":"moon"}]`:                                      "parameters[1].from",
		`"deployment":"a/b","allow_roles":["r"],"body_fields":["name"],"parameters":[{"name":"x","from":"body","path":"name"}]`: "body_fields: callers set name by the member from which a parameter is taken",
		`"deployment":"a/b","allow_roles":["r"],"body_fields":["state"]`:                                                        "body_fields[1]",
		`"deployment":"a/b","allow_roles":["r"],"parameters":[{"name":"x","from":"body","value":"1"}]`:                          "only a fixed parameter",
	} {
		_, err := compileTrigger(p, []byte(`{"prefect":{"api_url":"http://p/api"},`+configuration+`}`))
		require.ErrorIs(t, err, ErrConfig, configuration)
		require.ErrorContains(t, err, field)
	}
}
