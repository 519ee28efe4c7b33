package prefectclient_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

const (
	authString = "admin:secret"
	schema     = `{"type":"object","required":["x"],"properties":{
		"x":{"type":"integer"},
		"person":{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]},
		"ids":{"type":"array","items":{"type":"integer"}}}}`
)

// stage is one server with the same two deployments of one flow.
type stage struct {
	url           string
	flow          uuid.UUID
	first, second uuid.UUID
}

// realVenv finds an installed Prefect, or skips. With CI=true it must be there.
func realVenv(t *testing.T) string {
	t.Helper()
	for _, venv := range []string{os.Getenv("PREFECT_VENV"), "../build/venv"} {
		program, err := filepath.Abs(filepath.Join(venv, "bin", "prefect"))
		if _, missing := os.Stat(program); venv != "" && err == nil && missing == nil {
			return program
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Prefect: set PREFECT_VENV or install it into build/venv")
	}
	t.Skip("SKIPPED: no Prefect; set PREFECT_VENV to a virtual environment that has it")
	return ""
}

// startReal runs a Prefect server on SQLite until the test ends.
func startReal(t *testing.T) stage {
	t.Helper()
	program := realVenv(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	home := t.TempDir()
	// An empty database beside the installation saves most of the start.
	if empty, err := os.ReadFile(filepath.Join(filepath.Dir(program), "..", "prefect-empty.db")); err == nil {
		require.NoError(t, os.WriteFile(filepath.Join(home, "prefect.db"), empty, 0o600))
	}
	server := exec.Command(program, "server", "start", "--host", "127.0.0.1", "--port", strconv.Itoa(port))
	server.Env = append(os.Environ(), "PREFECT_HOME="+home, "PREFECT_SERVER_ANALYTICS_ENABLED=false", "DO_NOT_TRACK=1",
		"PREFECT_CLI_PROMPT=false", "PREFECT_SERVER_API_AUTH_STRING="+authString)
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output := &bytes.Buffer{}
	server.Stdout, server.Stderr = output, output
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
		_ = server.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	s := stage{url: "http://127.0.0.1:" + strconv.Itoa(port) + "/api"}
	require.Eventually(t, func() bool {
		response, err := http.Get(s.url + "/health")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	}, 2*time.Minute, 200*time.Millisecond)
	s.flow = s.make(t, "/flows/", `{"name":"nightly report"}`)
	s.first = s.make(t, "/deployments/", `{"name":"prod","flow_id":"`+s.flow.String()+`","tags":["dep"],"parameters":{"ids":[1]},
		"enforce_parameter_schema":true,"parameter_openapi_schema":`+schema+`}`)
	s.second = s.make(t, "/deployments/", `{"name":"second","flow_id":"`+s.flow.String()+`"}`)
	return s
}

func startFake(t *testing.T) (stage, *prefecttest.Server) {
	t.Helper()
	server := prefecttest.NewServer(prefecttest.Options{AuthStrings: []string{authString}})
	t.Cleanup(server.Close)
	first := server.AddDeployment(prefecttest.Deployment{
		Flow: "nightly report", Name: "prod", Tags: []string{"dep"}, ParameterSchema: schema,
		Parameters: map[string]any{"ids": []int{1}},
	})
	second := server.AddDeployment(prefecttest.Deployment{Flow: "nightly report", Name: "second"})
	return stage{url: server.URL, flow: first.FlowID, first: first.ID, second: second.ID}, server
}

func (s stage) make(t *testing.T, path, body string) uuid.UUID {
	t.Helper()
	var made struct{ ID uuid.UUID }
	// SQLite answers 503 now and then.
	require.Eventually(t, func() bool {
		status, answer := s.ask(t, "POST", path, body, authString)
		return status < 300 && json.Unmarshal(answer, &made) == nil
	}, 30*time.Second, 100*time.Millisecond)
	return made.ID
}

func (s stage) ask(t *testing.T, method, path, body, auth string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	if auth != "" {
		user, password, _ := strings.Cut(auth, ":")
		request.SetBasicAuth(user, password)
	}
	for range 20 {
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		if response.StatusCode != http.StatusServiceUnavailable {
			return response.StatusCode, answer
		}
		request.Body = io.NopCloser(strings.NewReader(body))
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("503 twenty times")
	return 0, nil
}

func TestOnRealServer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	genuine := startReal(t)
	t.Run("prefecttest answers alike", func(t *testing.T) { compareFake(t, genuine) })
	t.Run("every method", func(t *testing.T) { walk(t, genuine) })
	t.Run("callers at once on SQLite", func(t *testing.T) { crowd(t, genuine) })
}

// crowd has several callers create at once, each key by two of them. SQLite
// answers many with 503; every key gets one run all the same, and exactly one
// of its two callers is told that it made it.
func crowd(t *testing.T, s stage) {
	client, err := prefectclient.New(prefectclient.Options{APIURL: s.url, Credentials: prefectclient.AuthString(authString), Deadline: time.Minute})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	const keys, callers = 20, 8
	var made atomic.Int64
	var mu sync.Mutex
	runs := map[string]map[uuid.UUID]bool{}
	var work errgroup.Group
	work.SetLimit(callers)
	for i := range 2 * keys {
		work.Go(func() error {
			key := "crowd-" + strconv.Itoa(i/2)
			run, created, err := client.CreateFlowRun(context.Background(), s.second, prefectclient.NewFlowRun{
				IdempotencyKey: key, Context: map[string]any{"request": i},
			})
			if err != nil {
				return err
			}
			if created {
				made.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			if runs[key] == nil {
				runs[key] = map[uuid.UUID]bool{}
			}
			runs[key][run.ID] = true
			return nil
		})
	}
	require.NoError(t, work.Wait())
	require.EqualValues(t, keys, made.Load())
	for key, ids := range runs {
		require.Len(t, ids, 1, key)
	}
}

// compareFake: the fake is only worth something while it answers as the real
// server does: status, the shape of the body, and the texts that the client
// branches on.
func compareFake(t *testing.T, genuine stage) {
	fake, _ := startFake(t)
	calls := []struct{ name, method, path, body, auth string }{
		{"deployment by name", "GET", "/deployments/name/nightly%20report/prod", "", authString},
		{"deployment by id", "GET", "/deployments/{first}", "", authString},
		{"no such name", "GET", "/deployments/name/nightly%20report/none", "", authString},
		{"no such id", "GET", "/deployments/" + strangeID, "", authString},
		{"not an id", "GET", "/deployments/abc", "", authString},
		{"escaped slash", "GET", "/deployments/name/a%2Fb/prod", "", authString},
		{"create", "POST", "/deployments/{first}/create_flow_run", `{"name":"n","parameters":{"x":1},"idempotency_key":"k1","tags":["t"],"labels":{"a":1,"b":"s","c":true},"context":{"k":{"v":[1]}}}`, authString},
		{"create again", "POST", "/deployments/{first}/create_flow_run", `{"name":"other","parameters":{"x":2},"idempotency_key":"k1"}`, authString},
		{"create again at another deployment", "POST", "/deployments/{second}/create_flow_run", `{"idempotency_key":"k1"}`, authString},
		{"create with an empty key", "POST", "/deployments/{second}/create_flow_run", `{"idempotency_key":""}`, authString},
		{"unknown deployment", "POST", "/deployments/" + strangeID + "/create_flow_run", `{}`, authString},
		{"wrong type", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{"x":"abc"}}`, authString},
		{"missing parameter", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{}}`, authString},
		{"nested parameter", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{"x":1,"person":{"age":"z"}}}`, authString},
		{"nested missing", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{"x":1,"person":{}}}`, authString},
		{"in a list", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{"x":1,"ids":[1,"z"]}}`, authString},
		{"unknown parameter", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{"x":1,"more":2}}`, authString},
		{"null for an optional one", "POST", "/deployments/{first}/create_flow_run", `{"parameters":{"x":1,"ids":null}}`, authString},
		{"unknown field", "POST", "/deployments/{first}/create_flow_run", `{"bogus":1}`, authString},
		{"wrong field type", "POST", "/deployments/{first}/create_flow_run", `{"tags":7}`, authString},
		{"not JSON", "POST", "/deployments/{first}/create_flow_run", `{bad`, authString},
		{"filter by key", "POST", "/flow_runs/filter", `{"flow_runs":{"idempotency_key":{"any_":["k1"]}},"flows":{"id":{"any_":["{flow}"]}},"limit":1}`, authString},
		{"filter by key and deployment", "POST", "/flow_runs/filter", `{"flow_runs":{"idempotency_key":{"any_":["k1"]},"deployment_id":{"any_":["{second}"]}}}`, authString},
		{"filter by key and strange flow", "POST", "/flow_runs/filter", `{"flow_runs":{"idempotency_key":{"any_":["k1"]}},"flows":{"id":{"any_":["` + strangeID + `"]}}}`, authString},
		{"filter with unknown criterion", "POST", "/flow_runs/filter", `{"flow_runs":{"bogus":1}}`, authString},
		{"filter with high limit", "POST", "/flow_runs/filter", `{"limit":201}`, authString},
		{"no such run", "GET", "/flow_runs/" + strangeID, "", authString},
		{"wrong method", "PUT", "/flow_runs/filter", "", authString},
		{"unknown path", "GET", "/nope", "", authString},
		{"no credential", "GET", "/deployments/{first}", "", ""},
		{"wrong credential", "GET", "/deployments/{first}", "", "admin:wrong"},
		{"health without credential", "GET", "/health", "", ""},
	}
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			wantStatus, want := genuine.ask(t, call.method, genuine.fill(call.path), genuine.fill(call.body), call.auth)
			gotStatus, got := fake.ask(t, call.method, fake.fill(call.path), fake.fill(call.body), call.auth)
			require.Equal(t, wantStatus, gotStatus, "real: %s fake: %s", want, got)
			require.Equal(t, genuine.shape(t, want), fake.shape(t, got))
		})
	}
}

const strangeID = "11111111-1111-4111-8111-111111111111"

func (s stage) fill(text string) string {
	return strings.NewReplacer("{first}", s.first.String(), "{second}", s.second.String(), "{flow}", s.flow.String()).Replace(text)
}

// shape makes two servers' answers comparable: ids of the stage get names,
// what differs with each run (times, ids, invented names) and what is beyond
// the client (schedules, policies, what a 422 says in detail) is blanked.
func (s stage) shape(t *testing.T, answer []byte) any {
	t.Helper()
	text := strings.NewReplacer(s.first.String(), "FIRST", s.second.String(), "SECOND", s.flow.String(), "FLOW").Replace(string(answer))
	var parsed any
	require.NoError(t, json.Unmarshal([]byte(text), &parsed))
	blank(parsed)
	return parsed
}

func blank(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			blank(item)
		}
	case map[string]any:
		for name, member := range value {
			switch text, isText := member.(string); {
			case slices.Contains([]string{"empirical_policy", "state_details", "exception_detail", "request_body", "estimated_start_time_delta"}, name):
				value[name] = "BLANK"
			case (name == "id" || name == "state_id") && len(text) == 36,
				strings.HasSuffix(name, "_time") && isText, name == "timestamp" || name == "created" || name == "updated":
				value[name] = "BLANK"
			case name == "name" && text != "n" && text != "Scheduled" && text != "prod":
				value[name] = "BLANK"
			case name == "state_name" || name == "detail":
				value[name] = reworded(text)
			case name == "tags":
				sortAny(member)
			default:
				blank(member)
			}
		}
	}
}

// reworded drops the refused value out of a 409's text.
func reworded(text string) string {
	head, reason, ok := strings.Cut(text, "Failure reason: ")
	if !ok {
		return text
	}
	for _, rule := range []string{"is not of type", "is not valid under"} {
		if _, rest, ok := strings.Cut(reason, rule); ok {
			return head + rule + rest
		}
	}
	return head + reason
}

func sortAny(list any) {
	if items, ok := list.([]any); ok {
		slices.SortFunc(items, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
}

func TestClientOnFake(t *testing.T) {
	t.Parallel()
	fake, _ := startFake(t)
	walk(t, fake)
}

func walk(t *testing.T, s stage) {
	ctx := context.Background()
	client, err := prefectclient.New(prefectclient.Options{APIURL: s.url, Credentials: prefectclient.AuthString(authString)})
	require.NoError(t, err)
	t.Cleanup(client.Close)

	d, err := client.DeploymentByName(ctx, "nightly report", "prod")
	require.NoError(t, err)
	require.Equal(t, s.first, d.ID)
	require.Equal(t, s.flow, d.FlowID)
	require.Equal(t, "nightly report", d.FlowName)
	require.True(t, d.EnforceParameterSchema)
	require.JSONEq(t, schema, string(d.ParameterSchema))
	byID, err := client.Deployment(ctx, s.first)
	require.NoError(t, err)
	require.Equal(t, d.Name, byID.Name)

	by := &prefectclient.CreatedBy{ID: uuid.New(), DisplayValue: "Zoë (payroll) 山"}
	wanted := prefectclient.NewFlowRun{
		Name: "n1", IdempotencyKey: "walk", CreatedBy: by, Tags: []string{"caller:zoë"},
		Parameters: map[string]any{"x": json.Number("9007199254740993")},
		Context:    map[string]any{"identity": map[string]any{"sub": "s<&>\u2028"}},
		Labels:     map[string]any{"a": 1, "b": "s", "c": true},
	}
	run, created, err := client.CreateFlowRun(ctx, s.first, wanted)
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, "n1", run.Name)
	require.Equal(t, "SCHEDULED", run.State.Type)
	require.False(t, run.State.Final())
	require.Equal(t, json.Number("9007199254740993"), run.Parameters["x"])
	require.Equal(t, wanted.Context, run.Context)
	require.ElementsMatch(t, []string{"dep", "caller:zoë"}, run.Tags)
	require.Equal(t, json.Number("1"), run.Labels["a"])
	require.Equal(t, by.DisplayValue, run.CreatedBy.DisplayValue)
	require.Equal(t, by.ID, run.CreatedBy.ID)
	require.Equal(t, "AUTOMATION", run.CreatedBy.Type)

	wanted.Parameters = map[string]any{"x": 2}
	again, created, err := client.CreateFlowRun(ctx, s.first, wanted)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, run.ID, again.ID)

	_, _, err = client.CreateFlowRun(ctx, s.second, wanted)
	require.Equal(t, prefectclient.ReasonIdempotencyConflict, prefectclient.ReasonOf(err))

	read, err := client.FlowRun(ctx, run.ID)
	require.NoError(t, err)
	require.Equal(t, run.IdempotencyKey, read.IdempotencyKey)
	found, ok, err := client.FlowRunByIdempotencyKey(ctx, s.flow, "walk")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, run.ID, found.ID)
	_, ok, err = client.FlowRunByIdempotencyKey(ctx, s.flow, "other")
	require.NoError(t, err)
	require.False(t, ok)
	walkRefusals(t, client, s)
}

func walkRefusals(t *testing.T, client *prefectclient.Client, s stage) {
	ctx := context.Background()
	create := func(parameters map[string]any) error {
		_, _, err := client.CreateFlowRun(ctx, s.first, prefectclient.NewFlowRun{IdempotencyKey: uuid.NewString(), Parameters: parameters})
		return err
	}
	for _, refused := range []struct {
		name       string
		parameters map[string]any
		field, why string
	}{
		{"wrong type", map[string]any{"x": "geheim"}, "x", "must be of type integer"},
		{"missing", nil, "x", "is required"},
		{"nested", map[string]any{"x": 1, "person": map[string]any{"age": "geheim"}}, "person.age", "must be of type integer"},
		{"nested missing", map[string]any{"x": 1, "person": map[string]any{}}, "person.age", "is required"},
		{"in a list", map[string]any{"x": 1, "ids": []any{"geheim"}}, "ids[0]", "must be of type integer"},
	} {
		t.Run(refused.name, func(t *testing.T) {
			var e *prefectclient.Error
			require.ErrorAs(t, create(refused.parameters), &e)
			require.Equal(t, prefectclient.ReasonParametersInvalid, e.Reason)
			require.Equal(t, http.StatusConflict, e.Status)
			require.Equal(t, refused.field, e.Field)
			require.Equal(t, refused.why, e.Detail)
			require.NotContains(t, e.Error(), "geheim")
		})
	}
	_, err := client.DeploymentByName(ctx, "nightly report", "none")
	require.Equal(t, prefectclient.ReasonDeploymentNotFound, prefectclient.ReasonOf(err))
	_, _, err = client.CreateFlowRun(ctx, uuid.New(), prefectclient.NewFlowRun{IdempotencyKey: "k"})
	require.Equal(t, prefectclient.ReasonDeploymentNotFound, prefectclient.ReasonOf(err))
	_, err = client.FlowRun(ctx, uuid.New())
	require.Equal(t, prefectclient.ReasonNotFound, prefectclient.ReasonOf(err))

	stranger, err := prefectclient.New(prefectclient.Options{APIURL: s.url, Credentials: prefectclient.APIKey("geheim")})
	require.NoError(t, err)
	_, err = stranger.Deployment(ctx, s.first)
	require.Equal(t, prefectclient.ReasonUnauthorized, prefectclient.ReasonOf(err))
	wrongPath, err := prefectclient.New(prefectclient.Options{APIURL: s.url + "/v9", Credentials: prefectclient.AuthString(authString)})
	require.NoError(t, err)
	_, err = wrongPath.Deployment(ctx, s.first)
	require.Equal(t, prefectclient.ReasonResponseInvalid, prefectclient.ReasonOf(err))
}
