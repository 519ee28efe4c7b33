package plugin

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

const watched = `"deployment":"report/prod","allow_roles":["runner"],"see_all_roles":["viewer"],"cancel_all_roles":["owner"]`

// started gives a run of the default caller's.
func (r triggerRig) started(a ask) Run {
	r.t.Helper()
	a.body = emea
	run, problem := r.send(a)
	require.Nil(r.t, problem, "%+v", problem)
	return run
}

func TestWhoseRunItIs(t *testing.T) {
	t.Parallel()
	second := claims.Identity{Subject: "svc", Issuer: "https://another-idp", Kind: claims.Service, Client: "svc"}
	for name, c := range map[string]struct {
		ask    ask
		get    string // the code; empty: it may
		cancel string
	}{
		"their own":             {ask{}, "", ""},
		"another issuer's name": {ask{caller: second}, CodeRunUnknown, CodeRunUnknown},
		"to see all":            {ask{caller: second, roles: []string{"viewer"}}, "", CodeRoleNotAllowed},
		"to see all, and start": {ask{caller: second, roles: []string{"runner", "viewer"}}, "", CodeRoleNotAllowed},
		"to cancel all":         {ask{caller: second, roles: []string{"owner"}}, "", ""},
		"their own, to see all": {ask{roles: []string{"viewer"}}, "", CodeRoleNotAllowed},
		"their own, no role":    {ask{roles: []string{"other"}}, CodeRoleNotAllowed, CodeRoleNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTriggerRig(t, watched)
			run := r.started(ask{})
			require.Equal(t, "/run/report/"+run.ID.String(), run.Links.Status)
			for method, code := range map[string]string{http.MethodGet: c.get, http.MethodDelete: c.cancel} {
				a := c.ask
				a.method, a.path = method, run.Links.Status
				got, problem := r.send(a)
				if code != "" {
					require.NotNil(t, problem, method)
					require.Equal(t, code, problem.Code, method)
					continue
				}
				require.Nil(t, problem, "%s %+v", method, problem)
				require.Equal(t, run.ID, got.ID)
				require.False(t, got.Created)
				require.Equal(t, "report/prod", got.Deployment)
			}
		})
	}
}

// A run's stamp can be read by whoever reads the run, so sending it along opens
// nobody's runs but those that its sender asked for in the caller's name.
func TestAStampOpensNoRunsOfItsCallers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newTriggerRig(t, watched)
	mine := r.started(ask{})
	stored, err := r.client.FlowRun(ctx, mine.ID)
	require.NoError(t, err)
	stamped := stored.Context["kong_prefect"].(map[string]any)["stamp"].(string)
	account := claims.Identity{Subject: "svc-flows", Issuer: "https://idp", Kind: claims.Service, Client: "svc-flows"}
	other := claims.Identity{Subject: "other", Issuer: "https://idp", Kind: claims.Service, Client: "other"}
	send := func(caller claims.Identity, method, path string) (*reply, *Problem) {
		o := r.order(ask{caller: caller, method: method, path: path, body: emea})
		o.parentStamp = []string{stamped}
		return r.serve(ctx, o)
	}
	owners := newTriggerRigAt(t, r, `"deployment":"report/prod","allow_roles":["owner"]`)
	o := owners.order(ask{caller: account, roles: []string{"runner", "owner"}, body: emea})
	o.parentStamp = []string{stamped}
	_, problem := owners.serve(ctx, o)
	require.NotNil(t, problem)
	require.Equal(t, CodeRoleNotAllowed, problem.Code, "nor does it open a route to who has a role that its caller lacks")
	made, problem := send(account, http.MethodPost, "/run/report")
	require.Nil(t, problem, "%+v", problem)
	var started Run
	require.NoError(t, json.Unmarshal(made.body, &started))
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		for name, c := range map[string]struct {
			by   claims.Identity
			path string
			may  bool
		}{
			"the caller's own, by an account":     {account, mine.Links.Status, false},
			"the account's, in the caller's name": {account, started.Links.Status, true},
			"another account's, in their name":    {other, started.Links.Status, false},
			"the caller's, by themselves":         {claims.Identity{}, mine.Links.Status, true},
		} {
			_, problem := send(c.by, method, c.path)
			if c.may {
				require.Nil(t, problem, "%s %s %+v", method, name, problem)
				continue
			}
			require.NotNil(t, problem, "%s %s", method, name)
			require.Equal(t, CodeRunUnknown, problem.Code, "%s %s", method, name)
		}
	}
	_, problem = r.send(ask{method: http.MethodGet, path: started.Links.Status})
	require.Nil(t, problem, "what is done in their name they see")
}

// What isn't there, what was never stamped, what carries a stamp that isn't its
// own, and another route's run are one and the same answer.
func TestRunsThatAreNobodysBusiness(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newTriggerRig(t, watched)
	run := r.started(ask{})
	stored, err := r.client.FlowRun(ctx, run.ID)
	require.NoError(t, err)
	make := func(flow, name string, asked prefectclient.NewFlowRun) uuid.UUID {
		d, err := r.client.DeploymentByName(ctx, flow, name)
		require.NoError(t, err)
		asked.IdempotencyKey = uuid.NewString()
		made, _, err := r.client.CreateFlowRun(ctx, d.ID, asked)
		require.NoError(t, err)
		return made.ID
	}
	region := map[string]any{"region": "emea"}
	creator := &prefectclient.CreatedBy{ID: stamp.CallerID(claims.Identity{Subject: "svc", Issuer: "https://idp"}), DisplayValue: "svc"}
	said := map[string]any{"kong_prefect": map[string]any{"caller": map[string]any{"subject": "svc", "issuer": "https://idp"}}}
	ids := map[string]uuid.UUID{
		"not there":              uuid.New(),
		"not stamped":            make("report", "prod", prefectclient.NewFlowRun{Parameters: region, Tags: []string{"caller:svc"}, CreatedBy: creator, Labels: map[string]any{"kong-prefect.subject": "svc"}}),
		"said, and not signed":   make("report", "prod", prefectclient.NewFlowRun{Parameters: region, Context: said}),
		"another run's stamp":    make("report", "prod", prefectclient.NewFlowRun{Parameters: region, Context: stored.Context}),
		"of another deployment":  newTriggerRigAt(t, r, `"deployment":"report/gold","allow_roles":["runner"]`).started(ask{}).ID,
		"of another deployment2": make("stateful", "prod", prefectclient.NewFlowRun{}),
	}
	absent := r.refusedAs(t, http.MethodGet, uuid.New())
	for name, id := range ids {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			require.Equal(t, absent, r.refusedAs(t, method, id), "%s %s", method, name)
		}
	}
	_, problem := r.send(ask{method: http.MethodGet, path: "/run/report/" + ids["of another deployment2"].String(), roles: []string{"owner"}})
	require.NotNil(t, problem, "a role for all runs is for this route's")
}

// refusedAs is the whole answer to the default caller.
func (r triggerRig) refusedAs(t *testing.T, method string, id uuid.UUID) string {
	t.Helper()
	_, problem := r.serve(context.Background(), r.order(ask{method: method, path: "/run/report/" + id.String()}))
	require.NotNil(t, problem)
	a := problem.Answer("r")
	require.Equal(t, http.StatusNotFound, a.Status)
	return string(a.Body)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state, after, code string
		status             int
	}{
		"not begun":       {"SCHEDULED", "CANCELLED", "", http.StatusOK},
		"running":         {"RUNNING", "CANCELLING", "", http.StatusAccepted},
		"being cancelled": {"CANCELLING", "CANCELLING", "", http.StatusAccepted},
		"cancelled":       {"CANCELLED", "CANCELLED", "", http.StatusOK},
		"ended":           {"COMPLETED", "COMPLETED", CodeRunEnded, http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTriggerRig(t, watched)
			run := r.started(ask{})
			r.server.SetState(run.ID, c.state, c.state)
			got, problem := r.serve(context.Background(), r.order(ask{method: http.MethodDelete, path: run.Links.Status}))
			if c.code == "" {
				require.Nil(t, problem, "%+v", problem)
				require.Equal(t, c.status, got.status)
			} else {
				require.NotNil(t, problem)
				require.Equal(t, c.code, problem.Code)
				require.Equal(t, c.status, problem.Answer("r").Status)
			}
			stored, err := r.client.FlowRun(context.Background(), run.ID)
			require.NoError(t, err)
			require.Equal(t, c.after, stored.State.Type)
		})
	}
}

// A route that may start several finds the runs of each.
func TestRunsOfARouteWithRules(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployments":[{"when":"request.query.env == 'gold'","deployment":"report/gold"}],"deployment":"report/prod","allow_roles":["runner"]`)
	for _, query := range []string{"env=gold", "env=prod"} {
		run := r.started(ask{query: query})
		got, problem := r.send(ask{method: http.MethodGet, path: run.Links.Status})
		require.Nil(t, problem)
		require.Equal(t, run.Deployment, got.Deployment)
	}
}

// Without the stamp nothing says whose a run is, so there is no address for it.
func TestRunsWithoutAStamp(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"deployment":"report/prod","allow_roles":["runner"],"stamp":{"write":["created_by"]}`)
	run := r.started(ask{})
	require.Empty(t, run.Links.Status)
	r.refusedAs(t, http.MethodGet, run.ID)
}
