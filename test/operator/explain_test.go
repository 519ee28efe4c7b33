package operator

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/explain"
)

// explained runs the real binary on the suite's kong.yml.
func (s *suite) explained(t *testing.T, r recorded, more ...string) explain.Explanation {
	t.Helper()
	args := []string{"explain", s.config, "--json", "--scheme", "http", "--method", r.method, "--path", r.path}
	if r.token != "" {
		args = append(args, "--token-file", "-")
	}
	if r.body != "" {
		file := filepath.Join(t.TempDir(), "body")
		require.NoError(t, os.WriteFile(file, []byte(r.body), 0o600))
		args = append(args, "--body", file)
	}
	if r.headers["host"] == nil {
		args = append(args, "--host", strings.TrimPrefix(s.gateway.URL(), "http://"))
	}
	for name, values := range r.headers {
		for _, v := range values {
			args = append(args, "--header", name+": "+v)
		}
	}
	out, errs, code := s.tool(t, r.token, append(args, more...)...)
	var e explain.Explanation
	require.NoError(t, json.Unmarshal([]byte(out), &e), "%s%s", out, errs)
	require.Equal(t, map[explain.Outcome]int{explain.Refused: 1, explain.Unknown: 3}[e.Verdict.Outcome], code, errs)
	for _, secret := range append(strings.Split(r.token, ".")[min(2, strings.Count(r.token, ".")):], s.prefect.AuthString()) {
		if len(secret) > 20 {
			require.NotContains(t, out+errs, secret, "no token, signature or credential is printed")
		}
	}
	return e
}

// sent sends it to the suite's gateway.
func (s *suite) sent(t *testing.T, r recorded) answer { return s.sentTo(t, s.gateway.URL(), r) }

func (s *suite) sentTo(t *testing.T, gateway string, r recorded) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, gateway, strings.NewReader(r.body))
	require.NoError(t, err)
	path, query, _ := strings.Cut(r.path, "?")
	req.URL.Opaque, req.URL.RawQuery = path, query // exactly as written
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, values := range r.headers {
		if name == "host" {
			req.Host = values[0]
			continue
		}
		req.Header[http.CanonicalHeaderKey(name)] = values
		if strings.Contains(name, "_") {
			delete(req.Header, http.CanonicalHeaderKey(name))
			req.Header[name] = values
		}
	}
	return send(t, req)
}

// TestExplainAndTheGatewayAgree sends each request for real, after explain has said what will become of it.
func TestExplainAndTheGatewayAgree(t *testing.T) {
	s := parts(t)
	list := requests(tokens(t, s))
	require.GreaterOrEqual(t, len(list), 200)
	outcomes := map[explain.Outcome]int{}
	codes := map[string]bool{}
	for _, r := range list {
		t.Run(r.name, func(t *testing.T) {
			if r.method == "" {
				r.method = http.MethodPost
			}
			e := s.explained(t, r)
			got := s.sent(t, r)
			v := e.Verdict
			outcomes[v.Outcome]++
			codes[v.Code] = true
			what := []any{"%d %s\nexplain: %+v", got.status, got.body, e}
			switch v.Outcome {
			case explain.Refused:
				require.Equal(t, v.Status, got.status, what...)
				require.Equal(t, v.Code, got.code(), what...)
			case explain.Starts:
				require.Equal(t, http.StatusCreated, got.status, what...)
				s.requireSameRun(t, v.Request, got)
			case explain.Passes:
				require.Empty(t, got.code(), what...)
				require.NotEmpty(t, got.header.Get("Via"), what...)
				requireSameHeaders(t, e, got)
			case explain.Answers:
				require.Equal(t, v.Status, got.status, what...)
			default:
				require.Fail(t, "not told", what...)
			}
		})
	}
	t.Logf("%d requests: %v, %d codes", len(list), outcomes, len(codes))
}

// requireSameRun compares the run that Prefect has with the request that explain showed.
func (s *suite) requireSameRun(t *testing.T, said *explain.Request, got answer) {
	t.Helper()
	var run struct{ ID string }
	require.NoError(t, json.Unmarshal(got.body, &run))
	stored, err := s.prefect.Run(t.Context(), run.ID)
	require.NoError(t, err)
	var body struct {
		Name       string
		Parameters map[string]any
		Tags       []string
		Labels     map[string]any
		Context    map[string]any
	}
	require.NoError(t, json.Unmarshal(said.Body, &body))
	if body.Name != "" {
		require.Equal(t, body.Name, stored.Name)
	}
	require.Equal(t, body.Parameters, stored.Parameters)
	require.ElementsMatch(t, body.Tags, stored.Tags)
	delete(body.Labels, "kong-prefect.request-id") // its own
	require.Subset(t, stored.Labels, body.Labels)
	context := stored.Context["kong_prefect"].(map[string]any)
	for name, value := range body.Context["kong_prefect"].(map[string]any) {
		if name != "stamp" && name != "request_id" {
			require.Equal(t, value, context[name], name)
		}
	}
	require.NotNil(t, stored.CreatedBy)
	require.Equal(t, []string{stored.CreatedBy.ID}, said.Header["Prefect-Automation-Id"])
}

// requireSameHeaders compares what the upstream got with what explain said it would.
func requireSameHeaders(t *testing.T, e explain.Explanation, got answer) {
	t.Helper()
	if got.header.Get("X-Echo") == "" {
		return
	}
	var echoed struct{ Header http.Header }
	require.NoError(t, json.Unmarshal(got.body, &echoed))
	set := 0
	for _, stage := range e.Stages {
		for _, f := range stage.Facts {
			if name, ok := strings.CutPrefix(f.Name, "sets "); ok && stage.Name == "upstream" {
				set++
				if f.Value != "(not shown)" && name != "x-consumer-id" { // Kong gives a consumer its id
					require.Equal(t, f.Value, strings.Join(echoed.Header[http.CanonicalHeaderKey(name)], ", "), name)
				}
			}
		}
	}
	require.NotZero(t, set)
}
