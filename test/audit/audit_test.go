package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const (
	repository = "../.."
	requests   = 500
	clients    = 4
	backOff    = 500 * time.Millisecond
)

var accounts = provider.Options{
	Audience: []string{"kong-prefect"},
	Services: []provider.Service{
		{ID: "svc-nightly", Secret: "nightly-secret-4711"},
		{ID: "svc-stranger", Secret: "stranger-secret-4711"},
	},
}

// scene is the gateway between a Prefect and a provider.
type scene struct {
	prefect          *stack.Prefect
	idp              *provider.Provider
	gateway          *stack.Gateway
	dir, audit, keys string
	deployment       string
	good, weak       string // tokens
	logs             string // the gateway's, once it has stopped
	collector        *collector
}

func newScene(t *testing.T, ctx context.Context) *scene {
	s := &scene{dir: t.TempDir()}
	s.audit, s.keys = filepath.Join(s.dir, "audit"), filepath.Join(s.dir, "keys.json")
	err := stack.BuildBinaries(ctx, repository, s.dir)
	require.NoError(t, err)

	s.prefect, err = stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))})
	require.NoError(t, err)
	t.Cleanup(s.prefect.Stop)
	s.idp, err = provider.New(accounts)
	require.NoError(t, err)
	t.Cleanup(s.idp.Stop)
	require.NoError(t, s.prefect.Ready(ctx))
	s.deployment = s.deploy(t, ctx)
	s.collector = newCollector(t)

	s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: s.config(t),
		ServeArgs: []string{"--audit", s.audit, "--audit-settle", "25s", "--audit-sinks", s.collector.settings(t, s.dir), "--keys", s.keys},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway's log ends with:\n%s", stack.Tail(s.gateway.Logs()))
		}
		s.gateway.Stop()
	})
	s.good, err = s.idp.ServiceToken(ctx, "svc-nightly")
	require.NoError(t, err)
	s.weak, err = s.idp.ServiceToken(ctx, "svc-stranger")
	require.NoError(t, err)
	return s
}

// deploy makes a deployment in a work pool that no worker asks: the test itself ends the runs.
func (s *scene) deploy(t *testing.T, ctx context.Context) string {
	var flow, deployment struct{ ID string }
	require.NoError(t, s.prefect.Post(ctx, "/flows/", map[string]any{"name": "report"}, &flow))
	require.NoError(t, s.prefect.Post(ctx, "/work_pools/", map[string]any{"name": "unattended", "type": "process"}, nil))
	require.NoError(t, s.prefect.Post(ctx, "/deployments/", map[string]any{
		"name": "prod", "flow_id": flow.ID, "work_pool_name": "unattended", "enforce_parameter_schema": true,
		"parameter_openapi_schema": map[string]any{
			"type": "object", "properties": map[string]any{"customer": map[string]any{"type": "string"}, "note": map[string]any{"type": "string"}},
		},
	}, &deployment))
	return deployment.ID
}

func (s *scene) config(t *testing.T) string {
	path, err := stack.WriteConfig(filepath.Join(s.dir, "kong.yml"), "testdata/kong.yml", map[string]string{
		"Issuer": s.idp.Issuer(), "PrefectURL": s.prefect.URL(), "PrefectAPI": s.prefect.APIURL(), "Auth": s.prefect.AuthString(),
	})
	require.NoError(t, err)
	return path
}

// answer is what came back of one request.
type answer struct {
	status          int
	requestID, code string
	runID           string
}

func (s *scene) send(ctx context.Context, token, body string) (answer, error) {
	return s.sendTo(ctx, "/run/report", token, body)
}

func (s *scene) sendTo(ctx context.Context, path, token, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.gateway.URL()+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	data, err := io.ReadAll(resp.Body)
	if err = joined(err, resp.Body.Close()); err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, requestID: resp.Header.Get("X-Kong-Request-Id")}
	var fields struct{ ID, Code string }
	_ = json.Unmarshal(data, &fields) // Kong's own 500 is no JSON of ours
	a.runID, a.code = fields.ID, fields.Code
	return a, nil
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// mixed is the i-th request: two of four start a run, one comes without a token, one with a wrong role or parameter.
func (s *scene) mixed(ctx context.Context, i int) (answer, error) {
	body := fmt.Sprintf(`{"customer":"c-%d","note":"private-note-%d"}`, i, i)
	switch i % 8 {
	case 1, 5:
		return s.send(ctx, "", body)
	case 3:
		return s.send(ctx, s.weak, body)
	case 7:
		return s.send(ctx, s.good, `{"customer":7}`)
	default:
		return s.send(ctx, s.good, body)
	}
}

// TestEveryRunIsOnRecordWithItsOutcome is the audit's whole promise, under two crashes of Prefect and one of the plugin
// process.
func TestEveryRunIsOnRecordWithItsOutcome(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Prefect server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	s := newScene(t, ctx)
	answers := s.load(t, ctx)
	accepted := map[string]string{} // run by request
	codes := map[string]int{}
	for _, a := range answers {
		if a.status == http.StatusCreated {
			accepted[a.requestID] = a.runID
		}
		codes[fmt.Sprintf("%d %s", a.status, a.code)]++
	}
	t.Logf("answers: %v", codes)
	require.Greater(t, len(accepted), requests/8, "most runs were started in spite of it all")

	require.LessOrEqual(t, codes["500 "], requests/20, "the plugin process was back within a second or two")

	// A process learns of a Prefect with the first request of a route that calls it.
	var last answer
	require.Eventually(t, func() bool { // on a busy machine Prefect is not yet back
		var err error
		last, err = s.send(ctx, s.good, `{"customer":"last"}`)
		require.NoError(t, err)
		return last.status == http.StatusCreated
	}, time.Minute, time.Second)
	accepted[last.requestID] = last.runID

	s.startThroughTheGuard(t, ctx, accepted)
	s.forgeEnds(t, ctx)
	inPrefect := s.endRuns(t, ctx)
	s.awaitOutcomes(t, ctx, inPrefect)
	s.collector.await(t, s.records(t))
	s.logs = s.gateway.Logs()
	s.gateway.Stop()

	log := s.records(t)
	s.requireComplete(t, log, accepted, inPrefect)
	requireRefusals(t, log, answers)
	requireChanges(t, log)
	s.requireProof(t)
	s.requireNoSecrets(t)
	s.requireFalsificationsFound(t)
}

// startThroughTheGuard starts two runs by Prefect's own API, one of them asked for twice.
func (s *scene) startThroughTheGuard(t *testing.T, ctx context.Context, accepted map[string]string) {
	for i, body := range []string{`{"parameters":{"note":"private-note-guard"}}`, `{"idempotency_key":"k"}`, `{"idempotency_key":"k"}`} {
		require.Eventually(t, func() bool { // SQLite is locked now and then, and here nobody but the client tries again
			a, err := s.sendTo(ctx, "/api/deployments/"+s.deployment+"/create_flow_run", s.good, body)
			require.NoError(t, err)
			if a.runID != "" {
				accepted[a.requestID] = a.runID
			}
			return a.runID != ""
		}, time.Minute, 200*time.Millisecond, "%d", i)
	}
}

// forgeEnds tells the server's events that every run has completed, which is true of a third later.
func (s *scene) forgeEnds(t *testing.T, ctx context.Context) {
	runs, err := s.prefect.RunsOf(ctx, s.deployment)
	require.NoError(t, err)
	var events []map[string]any
	for _, run := range runs {
		events = append(events, map[string]any{
			"id": uuid.NewString(), "event": "prefect.flow-run.Completed", "occurred": time.Now().UTC().Format(time.RFC3339Nano),
			"resource": map[string]any{"prefect.resource.id": "prefect.flow-run." + run.ID, "prefect.state-type": "COMPLETED"},
		})
	}
	require.NoError(t, s.prefect.Post(ctx, "/events", events, nil))
}

// requireChanges: what was put to use is on record once, though the plugin process started twice.
func requireChanges(t *testing.T, log []audit.Record) {
	seen := map[string]int{}
	for _, r := range log {
		switch r.Type {
		case audit.ConfigurationChanged, audit.PolicyChanged:
			seen[string(r.Type)+" "+r.Plugin]++
			require.Equal(t, r.Type == audit.PolicyChanged, len(r.Rights) > 0)
		case audit.KeysChanged:
			seen[string(r.Type)]++
		case audit.ProcessStarted:
			seen[string(r.Type)]++
		}
	}
	require.Equal(t, map[string]int{
		"configuration.changed prefect-identity": 1, "configuration.changed prefect-trigger": 1, "configuration.changed prefect-guard": 1,
		"policy.changed prefect-identity": 1, "policy.changed prefect-trigger": 1, "policy.changed prefect-guard": 1,
		"keys.changed": 2, "process.started": 2,
	}, seen)
}

// load sends the requests, and kills what they need meanwhile.
func (s *scene) load(t *testing.T, ctx context.Context) []answer {
	var (
		mu   sync.Mutex
		all  []answer
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= requests; i = next.Add(1) {
				a, err := s.mixed(ctx, int(i))
				if err != nil {
					t.Errorf("request %d: %v", i, err)
					continue
				}
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
				if a.status >= http.StatusInternalServerError {
					time.Sleep(backOff) // as a caller does
				}
			}
		})
	}
	at := func(n int64) {
		require.Eventually(t, func() bool { return next.Load() >= n }, 3*time.Minute, 5*time.Millisecond)
	}
	at(requests / 5)
	s.prefect.Kill()
	require.NoError(t, s.prefect.Restart(ctx))
	at(requests / 2)
	require.NoError(t, s.gateway.KillPlugin())
	at(requests * 4 / 5)
	s.prefect.Kill()
	require.NoError(t, s.prefect.Restart(ctx))
	wg.Wait()
	return all
}

// endRuns ends every run that Prefect has, and returns how.
func (s *scene) endRuns(t *testing.T, ctx context.Context) map[string]string {
	runs, err := s.prefect.RunsOf(ctx, s.deployment)
	require.NoError(t, err)
	ends := map[string]string{}
	for i, run := range runs {
		end := []string{"COMPLETED", "FAILED", "CRASHED"}[i%3]
		ends[run.ID] = end
		require.NoError(t, s.prefect.Post(ctx, "/flow_runs/"+run.ID+"/set_state", map[string]any{
			"state": map[string]any{"type": end}, "force": true,
		}, nil))
	}
	return ends
}

func (s *scene) records(t require.TestingT) []audit.Record {
	var all []audit.Record
	require.NoError(t, audit.Records(s.audit, 0, func(r audit.Record) bool {
		all = append(all, r)
		return true
	}))
	return all
}

func (s *scene) awaitOutcomes(t *testing.T, ctx context.Context, ends map[string]string) {
	require.Eventually(t, func() bool {
		finished, repeated := 0, 0
		for _, r := range s.records(t) {
			switch r.Type {
			case audit.RunFinished:
				finished++
			case audit.RunRepeated: // has no outcome of its own, and may be settled after the last of them
				repeated++
			}
		}
		return finished >= len(ends) && repeated > 0
	}, 2*time.Minute, 500*time.Millisecond, "an outcome is missing")
}

// requireComplete holds the record against what the callers were told and what Prefect has.
func (s *scene) requireComplete(t *testing.T, log []audit.Record, accepted, inPrefect map[string]string) {
	allowed, created, finished := map[string]int{}, map[string]int{}, map[string][]string{}
	repeated := 0
	for _, r := range log {
		switch r.Type {
		case audit.AccessAllowed:
			allowed[r.RequestID]++
		case audit.RunCreated:
			created[r.RunID]++
		case audit.RunFinished:
			finished[r.RunID] = append(finished[r.RunID], r.Outcome)
		case audit.RunRepeated:
			repeated++
		default:
			continue
		}
		require.Equal(t, "svc-nightly", r.Caller.Name, "record %d", r.Seq)
		require.Equal(t, s.deployment, r.DeploymentID)
		if r.Plugin == "prefect-guard" {
			continue
		}
		require.Equal(t, "report/prod", r.Deployment)
		require.NotEmpty(t, r.Rule)
		require.Len(t, r.ParametersSHA256, 64)
		require.Contains(t, r.Parameters, "customer")
		require.NotContains(t, r.Parameters, "note", "only what the route names is in clear")
	}
	for request, run := range accepted {
		require.Equal(t, 1, allowed[request], "request %s", request)
		require.Contains(t, inPrefect, run)
	}
	for run, end := range inPrefect {
		require.Equal(t, 1, created[run], "run %s", run)
		require.Equal(t, []string{end}, finished[run], "run %s", run)
	}
	require.Positive(t, repeated, "the guard's second request with the same key")
	require.Len(t, created, len(inPrefect), "no run is on record that Prefect doesn't have")
}

// requireRefusals: what was refused is on record with the reason that the caller was told. The plugin process was killed
// once, and what it had not written yet is gone: a few, never an allowed one.
func requireRefusals(t *testing.T, log []audit.Record, answers []answer) {
	reasons := map[string]string{}
	for _, r := range log {
		if r.Type == audit.AccessRefused {
			reasons[r.RequestID] = r.Reason
		}
	}
	lost := 0
	for _, a := range answers {
		if a.code == "" {
			continue
		}
		if reason, there := reasons[a.requestID]; there {
			require.Equal(t, a.code, reason)
		} else {
			lost++
		}
	}
	require.LessOrEqual(t, lost, clients)
}
