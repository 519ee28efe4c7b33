package prefectclient_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

func TestOnRealServer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	genuine := startReal(t)
	t.Run("prefecttest answers alike", func(t *testing.T) { compareFake(t, genuine.stage) })
	t.Run("every method", func(t *testing.T) { walk(t, genuine.stage) })
	t.Run("ends are told by events", func(t *testing.T) { watchReal(t, genuine.stage) })
	t.Run("callers at once on SQLite", func(t *testing.T) { crowd(t, genuine.stage) })
}

// watchReal ends runs by the API. The watcher polls after an hour, so it is
// the server's events that tell.
func watchReal(t *testing.T, s stage) {
	o := hasty(s)
	o.Deadline = time.Minute
	client := newClient(t, o)
	watcher, err := prefectclient.NewWatcher(prefectclient.WatcherOptions{Client: client, FirstPoll: time.Hour, PollEvery: time.Hour, PollEveryWithoutEvents: time.Hour})
	require.NoError(t, err)
	t.Cleanup(watcher.Close)
	_, err = watcher.Notify(startRun(t, client, s), func(prefectclient.FlowRun, error) {})
	require.NoError(t, err)
	require.Eventually(t, watcher.Live, 10*time.Second, time.Millisecond)
	for name, state := range map[string]string{"Completed": "COMPLETED", "Cached": "COMPLETED", "Failed": "FAILED", "Crashed": "CRASHED"} {
		id := startRun(t, client, s)
		ended := waitFor(watcher, id)
		status, answer := s.ask(t, "POST", "/flow_runs/"+id.String()+"/set_state", `{"state":{"type":"`+state+`","name":"`+name+`"},"force":true}`, authString)
		require.Equal(t, 201, status, string(answer))
		run := within(t, 15*time.Second, ended)
		require.Equal(t, state, run.State.Type)
		require.Equal(t, name, run.State.Name)
	}
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
