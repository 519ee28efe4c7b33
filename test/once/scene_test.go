package once_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

// The routes: one that refuses while Prefect is away, and two that accept.
const (
	plainRoute = "plain"
	keptRoute  = "kept"
	killsRoute = "kills"
)

// scene is the gateway between a Prefect with PostgreSQL and a provider.
type scene struct {
	prefect     *stack.Prefect
	gateway     *stack.Gateway
	dir, audit  string
	authFile    string
	deployments map[string]string // by route
	tokens      []string          // one for each caller
}

func callerName(i int) string { return fmt.Sprintf("svc-%02d", i) }

func newScene(t *testing.T, ctx context.Context, callers int) *scene {
	s := &scene{dir: t.TempDir(), deployments: map[string]string{}}
	s.audit, s.authFile = filepath.Join(s.dir, "audit"), filepath.Join(s.dir, "auth")
	require.NoError(t, stack.BuildBinaries(ctx, repository, s.dir))

	postgres, err := stack.StartPostgres(ctx)
	if errors.Is(err, stack.ErrNotInstalled) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(postgres.Stop)
	require.NoError(t, postgres.CreateDatabase(ctx, "prefect"))
	s.prefect, err = stack.NewPrefect(stack.PrefectOptions{
		Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv")), DatabaseURL: postgres.PrefectURL("prefect"),
	})
	require.NoError(t, err)
	t.Cleanup(s.prefect.Stop)

	accounts := provider.Options{Audience: []string{"kong-prefect"}}
	for i := range callers {
		accounts.Services = append(accounts.Services, provider.Service{ID: callerName(i), Secret: rand.Text()})
	}
	idp, err := provider.New(accounts)
	require.NoError(t, err)
	t.Cleanup(idp.Stop)
	for i := range callers {
		token, err := idp.ServiceToken(ctx, callerName(i))
		require.NoError(t, err)
		s.tokens = append(s.tokens, token)
	}

	require.NoError(t, s.prefect.Ready(ctx))
	s.deploy(t, ctx)
	s.writeCredential(t, s.prefect.AuthString())
	s.gateway, err = stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: s.dir, Config: s.config(t, idp.Issuer(), callers),
		ServeArgs: []string{"--audit", s.audit, "--outbox", s.outboxFile()},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway's log ends with:\n%s", stack.Tail(s.gateway.Logs()))
		}
		s.gateway.Stop()
	})
	return s
}

func (s *scene) outboxFile() string { return filepath.Join(s.dir, "outbox.db") }

// deploy makes deployments that no worker executes: this is about runs that are created.
func (s *scene) deploy(t *testing.T, ctx context.Context) {
	var flow struct{ ID string }
	require.NoError(t, s.prefect.Post(ctx, "/flows/", map[string]any{"name": "report"}, &flow))
	for _, name := range []string{plainRoute, keptRoute, killsRoute} {
		var deployment struct{ ID string }
		require.NoError(t, s.prefect.Post(ctx, "/deployments/", map[string]any{
			"name": name, "flow_id": flow.ID, "enforce_parameter_schema": true,
			"parameter_openapi_schema": map[string]any{
				"type": "object", "properties": map[string]any{"caller": map[string]any{"type": "integer"}, "n": map[string]any{"type": "integer"}},
			},
		}, &deployment))
		s.deployments[name] = deployment.ID
	}
}

// writeCredential replaces the gateway's credential for Prefect, as a rotation does: one line, or two meanwhile.
func (s *scene) writeCredential(t *testing.T, lines ...string) {
	next := s.authFile + ".next"
	require.NoError(t, os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	require.NoError(t, os.Rename(next, s.authFile))
}

func (s *scene) config(t *testing.T, issuer string, callers int) string {
	type route struct {
		Name    string
		Durable bool
	}
	var names []string
	for i := range callers {
		names = append(names, callerName(i))
	}
	path, err := stack.WriteConfig(filepath.Join(s.dir, "kong.yml"), "testdata/kong.yml", map[string]any{
		"Issuer": issuer, "Callers": strings.Join(names, ", "), "PrefectAPI": s.prefect.APIURL(), "AuthFile": s.authFile,
		"Routes": []route{{plainRoute, false}, {keptRoute, true}, {killsRoute, true}},
	})
	require.NoError(t, err)
	return path
}

// order is what a caller asks for: the same pair is never asked for twice.
type order struct {
	route     string
	caller, n int
}

func (o order) key() string { return fmt.Sprintf("order-%d-%d", o.caller, o.n) }

// answer is what its caller was told.
type answer struct {
	order
	status  int
	code    string // of a refusal
	run     string // 200 or 201
	outbox  string // 202: the path of its status
	problem bool   // it is a problem document
}

func (a answer) accepted() bool { return a.run != "" || a.outbox != "" }

func (s *scene) send(ctx context.Context, o order) (answer, error) {
	body := fmt.Sprintf(`{"caller":%d,"n":%d}`, o.caller, o.n)
	status, header, data, err := s.request(ctx, http.MethodPost, "/run/"+o.route, o.caller, o.key(), body)
	if err != nil {
		return answer{}, err
	}
	a := answer{order: o, status: status, problem: strings.HasPrefix(header.Get("Content-Type"), "application/problem+json")}
	var fields struct{ ID, Code string }
	_ = json.Unmarshal(data, &fields) // Kong's own 500 is no JSON of ours
	a.code = fields.Code
	switch status {
	case http.StatusOK, http.StatusCreated:
		a.run = fields.ID
	case http.StatusAccepted:
		a.outbox = header.Get("Location")
	}
	return a, nil
}

func (s *scene) request(ctx context.Context, method, path string, caller int, key, body string) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.gateway.URL()+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.tokens[caller])
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, data, errors.Join(err, resp.Body.Close())
}

// standing is how an accepted request stands.
type standing struct{ Status, Run, Reason string }

func (s *scene) standing(ctx context.Context, a answer) (st standing, err error) {
	status, _, data, err := s.request(ctx, http.MethodGet, a.outbox, a.caller, "", "")
	if err == nil && status != http.StatusOK && status != http.StatusAccepted {
		err = fmt.Errorf("%s: %d %s", a.outbox, status, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	return st, err
}

// run is a run as Prefect has it.
type run struct {
	ID         string
	Created    time.Time
	Parameters struct{ Caller, N int }
	CreatedBy  struct {
		DisplayValue string `json:"display_value"`
	} `json:"created_by"`
	Context map[string]any
}

// held is all that Prefect holds of a route's deployment, by what was asked for.
func (s *scene) held(ctx context.Context, route string) (map[order][]run, error) {
	const page = 200
	all := map[order][]run{}
	for offset := 0; ; offset += page {
		var some []run
		if err := s.prefect.Post(ctx, "/flow_runs/filter", map[string]any{
			"flow_runs": map[string]any{"deployment_id": map[string]any{"any_": []string{s.deployments[route]}}},
			"sort":      "ID_DESC", "limit": page, "offset": offset,
		}, &some); err != nil {
			return nil, err
		}
		for _, one := range some {
			o := order{route, one.Parameters.Caller, one.Parameters.N}
			all[o] = append(all[o], one)
		}
		if len(some) < page {
			return all, nil
		}
	}
}

// requireOnce holds what callers were told against what Prefect holds, run by run.
func (s *scene) requireOnce(t *testing.T, ctx context.Context, route string, answers []answer, delivered map[order]string) {
	inPrefect, err := s.held(ctx, route)
	require.NoError(t, err)
	asked := map[order]bool{}
	for _, a := range answers {
		asked[a.order] = true
		runs := inPrefect[a.order]
		require.LessOrEqual(t, len(runs), 1, "%v has two runs", a.order)
		switch {
		case a.accepted():
			require.Len(t, runs, 1, "%v was accepted", a)
			want := a.run
			if want == "" {
				want = delivered[a.order]
			}
			require.Equal(t, want, runs[0].ID, "%v", a)
			require.Equal(t, callerName(a.caller), runs[0].CreatedBy.DisplayValue)
			require.Contains(t, runs[0].Context, "kong_prefect", "with its caller's stamp")
		case a.code == "outcome_unknown" || a.status == http.StatusInternalServerError && !a.problem:
			// It was said that the run may be there, or nobody was left to say anything.
		default:
			require.Empty(t, runs, "%v was refused", a)
		}
	}
	for o := range inPrefect {
		require.True(t, asked[o], "%v was never asked for", o)
	}
}

// awaitDelivered waits until everything that was accepted is delivered, and gives the runs.
func (s *scene) awaitDelivered(t *testing.T, ctx context.Context, answers []answer) map[order]string {
	delivered := map[order]string{}
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("%d are delivered; the next: %s", len(delivered), last)
		}
	}()
	require.Eventually(t, func() bool {
		for _, a := range answers {
			if a.outbox == "" || delivered[a.order] != "" {
				continue
			}
			st, err := s.standing(ctx, a)
			if err != nil || st.Status != "delivered" {
				last = fmt.Sprintf("%v: %+v %v", a, st, err)
				return false
			}
			delivered[a.order] = st.Run
		}
		return true
	}, 6*time.Minute, 100*time.Millisecond, "not everything that was accepted is delivered")
	return delivered
}
