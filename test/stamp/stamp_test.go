package stamp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// signedStamp is the signed part of a run's stamp.
func signedStamp(t *testing.T, id string) string {
	t.Helper()
	run, err := s.Prefect.Run(t.Context(), id)
	require.NoError(t, err)
	return run.Context["kong_prefect"].(map[string]any)["stamp"].(string)
}

// Whatever Prefect does with parameters on their way (defaults, numbers, text), what the flow gets is what was signed.
func TestTheFlowKnowsItsCaller(t *testing.T) {
	t.Parallel()
	id := trigger(t, "alice", "/run/first", map[string]any{
		"amount": 1, "nested": true,
		"anything": []any{1.0, 0.1, json.Number("-0.0"), 1e21, 5e-324, json.Number("9007199254740993"), "Ä\u2028<&>€", nil, map[string]any{"ö": false, "a": []any{}}},
	}, http.Header{"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}})
	lines := ended(t, id, "COMPLETED")
	require.Equal(t, "Alice Ä (user) with viewer, by nobody else, run 1", requireLine(t, lines, "called by "))
	require.Equal(t, "Alice Ä (user) has none of the roles owner", requireLine(t, lines, "no owner: "))
	require.Equal(t, "Alice Ä; in a subflow: Alice Ä", requireLine(t, lines, "in a task: "))
	require.Equal(t, []string{}, verifyRun(t, id).codes())

	run, err := s.Prefect.Run(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "of the deployment", run.Parameters["note"])
	require.Equal(t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", run.Labels["__OTEL_TRACEPARENT"])
	require.Equal(t, "Alice Ä <alice@example.com>", run.CreatedBy.DisplayValue)

	t.Run("Prefect finds it by creator and by tag", func(t *testing.T) {
		for _, filter := range []map[string]any{
			{"created_by": map[string]any{"id_": []string{run.CreatedBy.ID}}},
			{"tags": map[string]any{"all_": []string{"caller:Alice Ä", "function:finance"}}},
		} {
			var found []struct{ ID string }
			require.NoError(t, s.Prefect.Post(t.Context(), "/flow_runs/filter", map[string]any{"flow_runs": filter}, &found))
			require.Contains(t, found, struct{ ID string }{id})
		}
	})
	t.Run("prefect flow-run inspect shows it", func(t *testing.T) {
		out, err := s.Prefect.Command(t.Context(), t.TempDir(), "prefect", "flow-run", "inspect", id, "--output", "json").Output()
		require.NoError(t, err)
		var shown struct {
			CreatedBy struct {
				DisplayValue string `json:"display_value"`
			} `json:"created_by"`
			Context struct {
				Stamp struct {
					Caller struct{ Email string }
				} `json:"kong_prefect"`
			}
			Tags []string
		}
		require.NoError(t, json.Unmarshal(out, &shown), "%s", out)
		require.Equal(t, "Alice Ä <alice@example.com>", shown.CreatedBy.DisplayValue)
		require.Equal(t, "alice@example.com", shown.Context.Stamp.Caller.Email)
		require.Contains(t, shown.Tags, "caller:Alice Ä")
	})
	t.Run("a retry keeps it, by whomever", func(t *testing.T) {
		before := signedStamp(t, id)
		require.NoError(t, s.Prefect.Post(t.Context(), "/flow_runs/"+id+"/set_state", map[string]any{
			"state": map[string]any{"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": true,
		}, nil))
		require.Eventually(t, func() bool {
			run, err := s.Prefect.Run(t.Context(), id)
			return err == nil && run.RunCount == 2 && run.Terminal()
		}, runLimit, 200*time.Millisecond)
		ended(t, id, "COMPLETED")
		require.Equal(t, before, signedStamp(t, id))
		require.True(t, verifyRun(t, id).Genuine)
	})
	t.Run("started again by another person, both are shown", func(t *testing.T) {
		again := trigger(t, "bob", "/run/idle", map[string]any{}, http.Header{"Kong-Prefect-Stamp": {signedStamp(t, id)}})
		run, err := s.Prefect.Run(t.Context(), again)
		require.NoError(t, err)
		require.Equal(t, "Alice Ä <alice@example.com> by Bob", run.CreatedBy.DisplayValue)
		require.Subset(t, run.Tags, []string{"caller:Alice Ä", "actor:Bob"})
		v := verifyRun(t, again)
		require.True(t, v.Genuine)
		require.Equal(t, "5d1a7c1e-alice", v.Stamp.Caller.Subject)
		require.Equal(t, "Bob", v.Stamp.Actors[0].Name)
	})
}

func TestAChainOfThreeRunsNamesItsFirstCaller(t *testing.T) {
	t.Parallel()
	id := trigger(t, "alice", "/run/first", map[string]any{"onward": [][]string{{"svc-flows", "/run/second"}, {"svc-late", "/run/third"}}}, nil)
	second := requireLine(t, ended(t, id, "COMPLETED"), "/run/second started ")
	lines := ended(t, second, "COMPLETED")
	require.Equal(t, "Alice Ä (user) with viewer, by svc-flows, run 2", requireLine(t, lines, "called by "))
	third := requireLine(t, lines, "/run/third started ")
	lines = ended(t, third, "COMPLETED")
	require.Equal(t, "Alice Ä (user) with viewer, by svc-late, svc-flows, run 3", requireLine(t, lines, "called by "))
	requireLine(t, lines, "no owner: ") // both services are owners; she isn't

	v := verifyRun(t, third)
	require.True(t, v.Genuine, "%v", v.Findings)
	require.Equal(t, "Alice Ä", v.Stamp.Caller.Name)
	require.Equal(t, []string{"viewer"}, v.Stamp.Roles)
	for i, before := range []string{second, id} {
		run, err := s.Prefect.Run(t.Context(), before)
		require.NoError(t, err)
		require.Equal(t, run.IdempotencyKey, v.Stamp.Via[i].IdempotencyKey)
	}
	run, err := s.Prefect.Run(t.Context(), third)
	require.NoError(t, err)
	require.Equal(t, "Alice Ä <alice@example.com> by svc-late", run.CreatedBy.DisplayValue)
	require.Subset(t, run.Tags, []string{"caller:Alice Ä", "actor:svc-late", "actor:svc-flows"})
}

func TestAChainGainsNoRole(t *testing.T) {
	t.Parallel()
	id := trigger(t, "alice", "/run/first", map[string]any{"onward": [][]string{{"svc-flows", "/run/owners"}}}, nil)
	require.Equal(t, "refused role_not_allowed", requireLine(t, ended(t, id, "COMPLETED"), "/run/owners "))
}

func TestAStampThatIsNotGoodIsNoParent(t *testing.T) {
	t.Parallel()
	token, err := s.Provider.ServiceToken(t.Context(), "svc-flows")
	require.NoError(t, err)
	for name, value := range map[string]string{"text": "alice", "of another gateway": foreignStamp(t), "expired": expiredStamp(t)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway.URL()+"/run/idle", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Kong-Prefect-Stamp", value)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Contains(t, string(body), "parent_stamp_invalid", name)
	}
}

func TestTheKeyFileIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(s.keyFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
