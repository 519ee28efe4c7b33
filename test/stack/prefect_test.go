package stack_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

func TestPrefectRunsAFlow(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), stack.StartLimit)
	defer cancel()
	began := time.Now()
	lap := func(what string) { t.Logf("%6.1fs %s", time.Since(began).Seconds(), what) }

	prefect, err := stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv("../../build/venv")})
	require.NoError(t, err)
	defer prefect.Stop()
	worker, err := stack.NewWorker(prefect, stack.WorkerOptions{FlowsDir: "../../examples/flows"})
	require.NoError(t, err)
	defer worker.Stop()

	require.NoError(t, prefect.Ready(ctx))
	lap("server ready")
	require.NoError(t, worker.Deployed(ctx))
	lap("deployed")
	require.NoError(t, worker.Ready(ctx))
	lap("worker online")

	id, err := prefect.DeploymentID(ctx, "nightly-report/prod")
	require.NoError(t, err)
	var run stack.Run
	require.NoError(t, prefect.Post(ctx, "/deployments/"+id+"/create_flow_run", map[string]any{
		"parameters": map[string]any{"region": "emea"},
		"context":    map[string]any{"kong_prefect": map[string]any{"caller": map[string]any{"name": "Alice Ä", "kind": "user"}}},
	}, &run))
	run, err = prefect.Finished(ctx, run.ID, func(state string) { lap(state) })
	require.NoError(t, err)
	require.Equal(t, "COMPLETED", run.StateType, worker.Logs())
	require.Eventually(t, func() bool {
		lines, err := prefect.RunLogs(ctx, run.ID)
		require.NoError(t, err)
		for _, line := range lines {
			if line == "called by: Alice Ä (user)" {
				return true
			}
		}
		return false
	}, 20*time.Second, 100*time.Millisecond)
	lap("logs there")
}
