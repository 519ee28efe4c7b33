package guard

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

const unknownID = "cccccccc-0000-4000-8000-000000000001"

// limitedTo is a guard whose viewer, runner and worker are kept to what fits.
func limitedTo(t testing.TB, f *fakePrefect, l Limit) *Guard {
	return newGuard(t, f, Grant{Role: "viewer", Limit: l}, Grant{Role: "runner", Limit: l}, Grant{Role: "developer", Limit: l}, Grant{Role: "owner"})
}

func TestLimitsByGlob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit             Limit
		report, load, pay bool
	}{
		"a deployment":      {Limit{Deployments: []string{"report/prod"}}, true, false, false},
		"every prod":        {Limit{Deployments: []string{"*/prod"}}, true, false, true},
		"a star has an end": {Limit{Deployments: []string{"*"}}, false, false, false},
		"flows":             {Limit{Flows: []string{"lo*", "pay"}}, false, true, true},
		"a tag":             {Limit{Tags: []string{"team-a"}}, true, true, false},
		"a tag and a pool":  {Limit{Tags: []string{"team-*"}, WorkPools: []string{"local"}}, true, false, false},
		"case counts":       {Limit{Flows: []string{"Pay"}}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := limitedTo(t, &fakePrefect{}, c.limit)
			for id, seen := range map[string]bool{reportID: c.report, loadID: c.load, payID: c.pay, unknownID: false} {
				_, refusal := ask(t, g, "viewer", "GET", "/deployments/"+id, "")
				require.Equal(t, seen, refusal == nil, id)
				if !seen {
					require.Equal(t, &Refusal{Reason: ReasonOutOfLimit}, refusal, "what isn't there and what isn't theirs are the same")
				}
			}
		})
	}
}

func TestWhatALimitedViewerLists(t *testing.T) {
	t.Parallel()
	g := limitedTo(t, &fakePrefect{}, Limit{Tags: []string{"team-a"}})
	theirs := `{"id":{"any_":["` + reportID + `","` + loadID + `"]}}`
	for name, c := range map[string]struct{ path, body, want string }{
		"everything":    {"/flow_runs/filter", ``, `{"deployments":` + theirs + `}`},
		"null":          {"/flow_runs/filter", `{"deployments":null}`, `{"deployments":` + theirs + `}`},
		"other filters": {"/flow_runs/count", `{"flow_runs":{"tags":{"all_":["x"]}}}`, `{"flow_runs":{"tags":{"all_":["x"]}},"deployments":` + theirs + `}`},
		"one of theirs": {"/deployments/filter", `{"deployments":{"id":{"any_":["` + loadID + `"]}}}`, `{"deployments":{"id":{"any_":["` + loadID + `"]}}}`},
		"one and a stranger's": {"/task_runs/filter", `{"deployments":{"operator":"and_","id":{"any_":["` + payID + `","AAAAAAAA-0000-4000-8000-000000000001"]}}}`,
			`{"deployments":{"operator":"and_","id":{"any_":["` + reportID + `"]}}}`},
		"a stranger's": {"/deployments/filter", `{"deployments":{"id":{"any_":["` + payID + `"]}}}`, `{"deployments":{"id":{"any_":[]}}}`},
		"work pools":   {"/work_pools/filter", `{}`, `{"work_pools":{"name":{"any_":["local"]}}}`},
	} {
		o, refusal := ask(t, g, "viewer", "POST", c.path, c.body)
		require.Nil(t, refusal, name)
		require.JSONEq(t, c.want, string(o.Body), name)
	}
	for name, c := range map[string]struct{ path, body, reason string }{
		"or":                    {"/flow_runs/filter", `{"deployments":{"operator":"or_","paused":{"eq_":false}}}`, ReasonFieldNotAllowed},
		"a list":                {"/flow_runs/filter", `{"deployments":[]}`, ReasonBodyUnreadable},
		"flows by runs":         {"/flows/filter", `{"flow_runs":{"id":{"any_":["` + unknownID + `"]}}}`, ReasonLimited},
		"all logs":              {"/logs/filter", `{}`, ReasonLimited},
		"logs of a run or more": {"/logs/filter", `{"logs":{"operator":"or_","flow_run_id":{"any_":["` + someID + `"]},"level":{"ge_":0}}}`, ReasonLimited},
		"logs of no run":        {"/logs/filter", `{"logs":{"flow_run_id":{"any_":[]}}}`, ReasonOutOfLimit},
		"events":                {"/events/filter", `{}`, ReasonLimited},
		"automations":           {"/automations/filter", `{}`, ReasonLimited},
	} {
		_, refusal := ask(t, g, "viewer", "POST", c.path, c.body)
		require.NotNil(t, refusal, name)
		require.Equal(t, c.reason, refusal.Reason, name)
	}
	_, refusal := ask(t, g, "viewer", "POST", "/logs/filter", `{"logs":{"flow_run_id":{"any_":["`+someID+`"]}}}`)
	require.Nil(t, refusal)
	for _, path := range []string{"/events/out", "/logs/out"} {
		_, refusal := ask(t, g, "viewer", Websocket, path, "")
		require.Equal(t, ReasonLimited, refusal.Reason, "a stream can't be limited")
	}
}

func TestAnUnlimitedRoleBesideALimitedOne(t *testing.T) {
	t.Parallel()
	f := &fakePrefect{}
	g := newGuard(t, f, Grant{Role: "viewer", Limit: Limit{Flows: []string{"pay"}}}, Grant{Role: "owner"})
	p, err := g.Open(Request{Roles: []string{"viewer", "owner"}, Method: "POST", Path: "/flow_runs/filter"})
	require.NoError(t, err)
	require.False(t, p.NeedsBody())
	require.Zero(t, f.queries, "who may see all costs no question")
}

func TestLimitsOfTwoPermissionsAreBothKept(t *testing.T) {
	t.Parallel()
	f := &fakePrefect{createdBy: map[uuid.UUID]uuid.UUID{uuid.MustParse(someID): aliceID}}
	g := newGuard(t, f,
		Grant{Role: "me", Permissions: []string{PermissionRunDeployments}, Limit: Limit{Tags: []string{"team-*"}}},
		Grant{Role: "me", Permissions: []string{PermissionOverrideRuns}, Limit: Limit{Flows: []string{"report"}}})
	for path, passes := range map[string]bool{reportID: true, payID: false} {
		_, refusal := ask(t, g, "me", "POST", "/deployments/"+path+"/create_flow_run", `{"job_variables":{"a":"b"}}`)
		require.Equal(t, passes, refusal == nil)
		_, refusal = ask(t, g, "me", "POST", "/deployments/"+path+"/create_flow_run", `{}`)
		require.Nil(t, refusal)
	}
}

// A run sets the states of the task that it names as its parent.
func TestALimitedCallersRunIsUnderATaskOfTheirsAlone(t *testing.T) {
	t.Parallel()
	for flow, passes := range map[string]bool{"report": true, "load": false} {
		g := limitedTo(t, &fakePrefect{}, Limit{Flows: []string{flow}}) // every task is one of report/prod
		id := map[string]string{"report": reportID, "load": loadID}[flow]
		_, refusal := ask(t, g, "developer", "POST", "/deployments/"+id+"/create_flow_run", `{"parent_task_run_id":"`+someID+`"}`)
		require.Equal(t, passes, refusal == nil, flow)
		if !passes {
			require.Equal(t, ReasonOutOfLimit, refusal.Reason)
		}
	}
}

func TestNoLimitIsResolvedWithoutPrefect(t *testing.T) {
	t.Parallel()
	f := &fakePrefect{down: true}
	_, refusal := ask(t, limitedTo(t, f, Limit{Flows: []string{"*"}}), "viewer", "POST", "/flow_runs/filter", "{}")
	require.Equal(t, ReasonLimitUnresolved, refusal.Reason)
}

func TestDeploymentsAreListedAnewAfterAMoment(t *testing.T) {
	t.Parallel()
	f := &fakePrefect{}
	g := limitedTo(t, f, Limit{Flows: []string{"report"}})
	look := func() int {
		_, refusal := ask(t, g, "viewer", "GET", "/deployments/"+reportID, "")
		require.Nil(t, refusal)
		return f.queries
	}
	once := look()
	g.sight.read = time.Now().Add(time.Hour) // however slow the machine is
	require.Equal(t, once, look(), "requests that come together cost one look")
	g.sight.read = time.Now().Add(-6 * time.Second)
	require.Greater(t, look(), once, "a deployment that is new counts after five seconds, as the documentation has it")
}

// FuzzCheck: no body makes a panic, and what passes is JSON with the stamp in it.
func FuzzCheck(f *testing.F) {
	for _, body := range []string{`{}`, `[{}]`, ``, `{"state":{"type":"SCHEDULED"}}`, `{"tags":["a"],"labels":{"a":1},"context":{}}`, `{"tags":null}`, `[[[[]]]]`, `{"deployments":{"id":{"any_":[1]}}}`} {
		for i := range routes {
			f.Add(i, body)
		}
	}
	fake := &fakePrefect{}
	g := newGuard(f, fake)
	limited := limitedTo(f, fake, Limit{Tags: []string{"team-a"}})
	f.Fuzz(func(t *testing.T, i int, body string) {
		if i < 0 || i >= len(routes) {
			return
		}
		r := routes[i]
		for _, g := range []*Guard{g, limited} {
			o, refusal := ask(t, g, "developer", r.Method, examplePath(r), body)
			if refusal != nil || o.Body == nil {
				continue
			}
			require.True(t, json.Valid(o.Body))
			if r.Body == "start_run" {
				require.Contains(t, string(o.Body), `"stamp":"signed"`)
				require.Contains(t, string(o.Body), `"caller:alice"`)
			}
		}
	})
}
