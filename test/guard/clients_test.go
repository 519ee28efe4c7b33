package guard_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

const clientLimit = 3 * time.Minute

// apiKey is a client that knows its token as PREFECT_API_KEY.
func (s *suite) apiKey(t testing.TB, account string) []string {
	return []string{"PREFECT_API_KEY=" + s.token(t, account)}
}

// customHeaders is one that sends it in a header of its own, on websockets too.
func (s *suite) customHeaders(t testing.TB, account string) []string {
	header, err := json.Marshal(map[string]string{"Authorization": "Bearer " + s.token(t, account)})
	require.NoError(t, err)
	return []string{"PREFECT_CLIENT_CUSTOM_HEADERS=" + string(header)}
}

// side is one of the two servers with the gateway in front of it.
type side struct {
	server  *stack.Prefect
	gateway *stack.Gateway
}

func (x side) api() string { return x.gateway.URL() + "/api" }

// run runs a program of Prefect's to its end.
func (x side) run(t testing.TB, settings []string, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	c, err := x.server.StartClient(x.api(), settings, program, args...)
	require.NoError(t, err)
	defer c.Stop()
	return c.Wait(ctx)
}

// must is run for what must work.
func (x side) must(t testing.TB, settings []string, program string, args ...string) string {
	t.Helper()
	out, err := x.run(t, settings, program, args...)
	require.NoError(t, err, "%s %s\n%s", program, strings.Join(args, " "), out)
	return out
}

// background starts what runs until the test ends.
func (x side) background(t testing.TB, settings []string, program string, args ...string) *stack.Client {
	t.Helper()
	c, err := x.server.StartClient(x.api(), append(settings, "PREFECT_WORKER_QUERY_SECONDS=1", "PREFECT_RUNNER_POLL_FREQUENCY=1"), program, args...)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

func testdata(t testing.TB, name string) string {
	path, err := filepath.Abs(filepath.Join("testdata", name))
	require.NoError(t, err)
	return path
}

var runID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// flows deploys the example flows as the developer, and starts a worker as its own account.
func (x side) flows(t testing.TB, s *suite, worker []string) *stack.Client {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(repository, "examples/flows"))
	require.NoError(t, err)
	x.must(t, s.apiKey(t, "svc-developer"), "prefect", "work-pool", "create", "guarded", "--type", "process", "--overwrite")
	require.Contains(t, x.must(t, s.apiKey(t, "svc-developer"), "python", testdata(t, "deploy.py"), dir, "guarded"), "deployed")
	return x.background(t, worker, "prefect", "worker", "start", "--pool", "guarded", "--type", "process", "--name", "w1", "--install-policy", "never")
}

// TestClientsOnALockedServer: Prefect's own programs, unmodified, each with a token for its only secret, against a
// server that has its auth string on.
func TestClientsOnALockedServer(t *testing.T) {
	s := parts(t)
	x := side{s.locked, s.gateway}
	worker := x.flows(t, s, s.apiKey(t, "svc-worker"))

	t.Run("a runner starts, looks at and cancels runs", func(t *testing.T) {
		for name, settings := range map[string][]string{"api key": s.apiKey(t, "svc-runner"), "custom headers": s.customHeaders(t, "svc-runner")} {
			out := x.must(t, settings, "prefect", "deployment", "ls")
			require.Contains(t, out, "nightly-report/prod", name)
			out = x.must(t, settings, "prefect", "deployment", "run", "nightly-report/prod", "-p", "region=emea")
			id := runID.FindString(out)
			finished, err := s.locked.Finished(t.Context(), id, nil)
			require.NoError(t, err)
			require.Equal(t, "COMPLETED", finished.StateType, worker.Logs())
			if name == "api key" { // over HTTP the two differ in nothing
				require.Contains(t, x.must(t, settings, "prefect", "flow-run", "ls"), "nightly-report")
				require.Contains(t, x.must(t, settings, "prefect", "flow-run", "inspect", id), "COMPLETED")
			}
			require.Eventually(t, func() bool {
				return strings.Contains(x.must(t, settings, "prefect", "flow-run", "logs", id), "called by: svc-runner (service)")
			}, 20*time.Second, time.Second)

			run, err := s.locked.Run(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, "svc-runner", run.CreatedBy.DisplayValue)
			require.Contains(t, run.Tags, "caller:svc-runner")
			require.Equal(t, "svc-runner", run.Labels["kong-prefect.subject"])

			out = x.must(t, settings, "prefect", "deployment", "run", "nightly-report/prod", "-p", "region=emea", "--start-in", "1 hour")
			id = runID.FindString(out)
			x.must(t, settings, "prefect", "flow-run", "cancel", id)
			run, err = s.locked.Run(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, "CANCELLED", run.StateType)
		}
	})

	t.Run("what a person sees who may not", func(t *testing.T) {
		out, err := x.run(t, s.apiKey(t, "svc-viewer"), "prefect", "deployment", "run", "nightly-report/prod", "-p", "region=emea")
		require.Error(t, err)
		require.Contains(t, out, "Missing permission: run_deployments.")
		t.Logf("as the viewer sees it:\n%s", lastLines(out, 6))
		out, err = x.run(t, s.apiKey(t, "svc-runner"), "prefect", "deployment", "delete", "nightly-report/prod")
		require.Error(t, err)
		require.Contains(t, out, "Missing permission: manage_deployments.")
		out, err = x.run(t, []string{"PREFECT_API_KEY=not-a-token"}, "prefect", "deployment", "ls")
		require.Error(t, err)
		require.Contains(t, out, "401")
		t.Logf("with a token that is none:\n%s", lastLines(out, 6))
		out, err = x.run(t, s.apiKey(t, "svc-runner"), "prefect", "deployment", "run", "nightly-report/prod", "-p", "region=emea", "--job-variable", "command=id")
		require.Error(t, err)
		require.Contains(t, out, "Missing permission: override_runs.")
	})

	t.Run("a developer deploys from the command line", func(t *testing.T) {
		dir, err := filepath.Abs(filepath.Join(repository, "examples/flows"))
		require.NoError(t, err)
		out := x.must(t, s.apiKey(t, "svc-developer"), "prefect", "--no-prompt", "deploy", filepath.Join(dir, "refresh_customer.py:refresh_customer"), "-n", "cli", "-p", "guarded")
		require.Contains(t, out, "refresh-customer/cli")
		var deployment struct{ Labels map[string]any }
		require.NoError(t, s.locked.Get(t.Context(), "/deployments/name/refresh-customer/cli", &deployment))
		require.Equal(t, "svc-developer", deployment.Labels["kong-prefect-deployed-by.subject"])
	})

	t.Run("the SDK runs a deployment", func(t *testing.T) {
		out := x.must(t, s.apiKey(t, "svc-runner"), "python", testdata(t, "run.py"), "refresh-customer/prod", `{"customer_id": 7}`)
		require.Contains(t, out, "Completed", worker.Logs())
	})

	t.Run("run_deployment with a run's stamp keeps its first caller", func(t *testing.T) {
		first, err := s.locked.Run(t.Context(), runID.FindString(x.must(t, s.apiKey(t, "svc-runner"), "python", testdata(t, "run.py"), "refresh-customer/prod", `{"customer_id": 8}`)))
		require.NoError(t, err)
		headers, err := json.Marshal(map[string]any{
			"Authorization": "Bearer " + s.token(t, "svc-runner2"), "Kong-Prefect-Stamp": first.Context["kong_prefect"].(map[string]any)["stamp"],
		})
		require.NoError(t, err)
		out := x.must(t, []string{"PREFECT_CLIENT_CUSTOM_HEADERS=" + string(headers)}, "python", testdata(t, "run.py"), "refresh-customer/prod", `{"customer_id": 9}`)
		require.Contains(t, out, "Completed", worker.Logs())
		second, err := s.locked.Run(t.Context(), runID.FindString(out))
		require.NoError(t, err)
		require.Equal(t, "svc-runner by svc-runner2", second.CreatedBy.DisplayValue)
		require.Subset(t, second.Tags, []string{"caller:svc-runner", "actor:svc-runner2"})
		stamped := second.Context["kong_prefect"].(map[string]any)
		require.Equal(t, "svc-runner", stamped["caller"].(map[string]any)["client"])
		require.Len(t, stamped["via"], 1)
	})

	t.Run("a developer serves a flow", func(t *testing.T) {
		server := x.background(t, s.apiKey(t, "svc-developer"), "python", testdata(t, "serve.py"))
		require.Eventually(t, func() bool {
			_, err := s.locked.DeploymentID(t.Context(), "served/here")
			return err == nil
		}, time.Minute, 200*time.Millisecond, "%s", server.Logs())
		out := x.must(t, s.apiKey(t, "svc-runner"), "python", testdata(t, "run.py"), "served/here", `{"x": 21}`)
		require.Contains(t, out, "Completed", server.Logs())
		require.Eventually(t, func() bool { // logs come in batches
			lines, err := s.locked.RunLogs(t.Context(), runID.FindString(out))
			return err == nil && strings.Contains(strings.Join(lines, "\n"), "doubled: 42")
		}, time.Minute, 200*time.Millisecond, "%s", server.Logs())

		var deployment struct {
			Labels map[string]any
		}
		require.NoError(t, s.locked.Get(t.Context(), "/deployments/name/served/here", &deployment))
		require.Equal(t, "svc-developer", deployment.Labels["kong-prefect-deployed-by.subject"])
	})

	require.NotContains(t, worker.Logs(), "Missing permission", "the worker was refused something")
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// TestWatchingInTheRecommendedSetting: behind a server that only the gateway reaches, websockets work as well.
func TestWatchingInTheRecommendedSetting(t *testing.T) {
	s := parts(t)
	x := side{s.open, s.front}
	worker := x.flows(t, s, s.customHeaders(t, "svc-worker"))
	out := x.must(t, s.customHeaders(t, "svc-runner"), "prefect", "deployment", "run", "nightly-report/prod", "-p", "region=emea", "--watch")
	require.Contains(t, out, "Completed", worker.Logs())
	require.Contains(t, out, "prefect.flow-run.Completed", "--watch shows the run's events")
	require.NotContains(t, worker.Logs(), "Unable to connect", "the worker's own events have their websocket")
	require.NotContains(t, worker.Logs(), "Missing permission")

	// Prefect sends logs in batches, and stops watching with the run: this one takes long enough to be seen.
	server := x.background(t, append(s.customHeaders(t, "svc-developer"), "PREFECT_LOGGING_TO_API_BATCH_INTERVAL=0.2"), "python", testdata(t, "serve.py"))
	require.Eventually(t, func() bool {
		_, err := s.open.DeploymentID(t.Context(), "served/here")
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	out = x.must(t, s.customHeaders(t, "svc-runner"), "prefect", "deployment", "run", "served/here", "-p", "x=21", "-p", "seconds=4", "--watch")
	require.Contains(t, out, "doubled: 42", "--watch shows the run's logs\n%s\n%s", out, server.Logs())
	t.Logf("--watch:\n%s", lastLines(out, 20))
}
