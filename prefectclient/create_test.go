package prefectclient_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

// hasty has limits that suit a test.
func hasty(s stage) prefectclient.Options {
	return prefectclient.Options{
		APIURL: s.url, Credentials: prefectclient.AuthString(authString),
		Deadline: 6 * time.Second, AttemptTimeout: time.Second, ConfirmTimeout: time.Second,
		MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, BreakerOpenFor: 50 * time.Millisecond,
	}
}

func newClient(t *testing.T, o prefectclient.Options) *prefectclient.Client {
	t.Helper()
	client, err := prefectclient.New(o)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func newRun() prefectclient.NewFlowRun {
	return prefectclient.NewFlowRun{
		IdempotencyKey: uuid.NewString(), Parameters: map[string]any{"x": 1},
		Context: map[string]any{"request_id": uuid.NewString()},
	}
}

const onCreate = prefecttest.CreateRoute

// Whatever happens on the way, there is one run and its creator is told so.
func TestCreateSucceedsInSpiteOf(t *testing.T) {
	t.Parallel()
	created := prefecttest.Fault{Route: onCreate, Carried: true, Status: http.StatusCreated}
	with := func(f prefecttest.Fault, change func(*prefecttest.Fault)) prefecttest.Fault {
		change(&f)
		return f
	}
	for name, faults := range map[string][]prefecttest.Fault{
		"nothing": nil,
		"locked, and the connection reset after it": {prefecttest.Locked(onCreate), prefecttest.Locked(onCreate)},
		"reset before it was carried out":           {{Route: onCreate, Reset: true}},
		"reset after it was carried out":            {{Route: onCreate, Reset: true, Carried: true}},
		"bad gateway before":                        {prefecttest.Proxy(onCreate, http.StatusBadGateway)},
		"gateway timeout before":                    {prefecttest.Proxy(onCreate, http.StatusGatewayTimeout)},
		"gateway timeout after":                     {with(prefecttest.Proxy(onCreate, http.StatusGatewayTimeout), func(f *prefecttest.Fault) { f.Carried = true })},
		"service unavailable of a proxy":            {prefecttest.Proxy(onCreate, http.StatusServiceUnavailable)},
		"too many requests":                         {prefecttest.Proxy(onCreate, http.StatusTooManyRequests)},
		"half an answer":                            {{Route: onCreate, Half: true}},
		"an answer that is not JSON":                {with(created, func(f *prefecttest.Fault) { f.Body = "<html>welcome</html>" })},
		"an answer that is another object":          {with(created, func(f *prefecttest.Fault) { f.Body = `{"id":"` + strangeID + `"}` })},
		"an answer after the time ran out":          {{Route: onCreate, Delay: 1300 * time.Millisecond}},
		"an internal error after the commit":        {{Route: onCreate, Carried: true, Status: 500, Body: `{"exception_message":"Internal Server Error"}`}},
		"all of it": {
			{Route: onCreate, Reset: true}, prefecttest.Locked(onCreate), {Route: onCreate, Half: true},
			prefecttest.Proxy(onCreate, http.StatusBadGateway), {Route: onCreate, Reset: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, server := startFake(t)
			server.Script(faults...)
			client := newClient(t, hasty(s))
			wanted := newRun()
			run, created, err := client.CreateFlowRun(context.Background(), s.first, wanted)
			require.NoError(t, err)
			require.True(t, created)
			require.Equal(t, []uuid.UUID{run.ID}, server.Runs())
			require.Zero(t, server.Unused())
			for _, request := range server.Requests() {
				require.Contains(t, string(request.Body), wanted.IdempotencyKey, "every request is under the same key")
			}

			again, created, err := client.CreateFlowRun(context.Background(), s.first, wanted)
			require.NoError(t, err)
			require.False(t, created)
			require.Equal(t, run.ID, again.ID)
		})
	}
}

// Someone else's run under the same key is not claimed, even if an answer was
// lost on the way.
func TestCreateDoesNotClaimAnEarlierRun(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	client := newClient(t, hasty(s))
	first := newRun()
	_, _, err := client.CreateFlowRun(context.Background(), s.first, first)
	require.NoError(t, err)
	second := newRun()
	second.IdempotencyKey = first.IdempotencyKey
	server.Script(prefecttest.Fault{Route: onCreate, Reset: true})
	run, created, err := client.CreateFlowRun(context.Background(), s.first, second)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, first.Context, run.Context)
}

// repeated makes enough faults for every attempt.
func repeated(fault prefecttest.Fault) []prefecttest.Fault {
	faults := make([]prefecttest.Fault, 100)
	for i := range faults {
		faults[i] = fault
	}
	return faults
}

func TestCreateFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults []prefecttest.Fault
		reason string
		status int
		runs   int
	}{
		"locked for good": {
			repeated(prefecttest.Locked(onCreate)), prefectclient.ReasonUnavailable, 503, 0,
		},
		"too many requests for good": {
			repeated(prefecttest.Proxy(onCreate, 429)), prefectclient.ReasonUnavailable, 429, 0,
		},
		"reset for good, nobody can be asked": {
			repeated(prefecttest.Fault{Reset: true}), prefectclient.ReasonOutcomeUnknown, 0, 0,
		},
		"reset for good, carried out, nobody can be asked": {
			repeated(prefecttest.Fault{Reset: true, Carried: true}), prefectclient.ReasonOutcomeUnknown, 0, 1,
		},
		"gateway timeout for good, no run is found": {
			repeated(prefecttest.Proxy(onCreate, 504)), prefectclient.ReasonOutcomeUnknown, 504, 0,
		},
		"an internal error of Prefect's own, no run is found": {
			[]prefecttest.Fault{{Route: onCreate, Status: 500, Body: `{"exception_message":"Internal Server Error"}`}},
			prefectclient.ReasonUnavailable, 500, 0,
		},
		"a redirect": {
			[]prefecttest.Fault{{Route: onCreate, Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}},
			prefectclient.ReasonResponseInvalid, 307, 0,
		},
		"forbidden": {
			[]prefecttest.Fault{{Route: onCreate, Status: 403, Body: `{"detail":"geheim"}`}}, prefectclient.ReasonUnauthorized, 403, 0,
		},
		"reset, then refused": {
			[]prefecttest.Fault{{Route: onCreate, Reset: true}, {Route: onCreate, Status: 409, Body: `{"detail":"Error creating flow run: Validation failed. Failure reason: 'x' is a required property"}`}},
			prefectclient.ReasonParametersInvalid, 409, 0,
		},
		"a fault of integrity": {
			[]prefecttest.Fault{{Route: onCreate, Status: 409, Body: `{"detail":"Data integrity conflict. This usually means geheim"}`}},
			prefectclient.ReasonRefused, 409, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, server := startFake(t)
			server.Script(c.faults...)
			o := hasty(s)
			o.Deadline, o.MaxAttempts = 1500*time.Millisecond, 8
			wanted := newRun()
			started := time.Now()
			_, created, err := newClient(t, o).CreateFlowRun(context.Background(), s.first, wanted)
			require.Less(t, time.Since(started), 2*o.Deadline)
			var e *prefectclient.Error
			require.ErrorAs(t, err, &e)
			require.False(t, created)
			require.Equal(t, c.reason, e.Reason, "%v", err)
			require.Equal(t, c.status, e.Status, "%v", err)
			require.Equal(t, wanted.IdempotencyKey, e.IdempotencyKey)
			require.NotContains(t, err.Error(), "geheim")
			require.Len(t, server.Runs(), c.runs)
		})
	}
}

// A create that timed out and is still being worked on is found as soon as it
// is there.
func TestConfirmWaitsForASlowServer(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	o := hasty(s)
	o.AttemptTimeout, o.MaxAttempts = 100*time.Millisecond, 1
	server.Script(prefecttest.Fault{Route: onCreate, Delay: 500 * time.Millisecond})
	run, created, err := newClient(t, o).CreateFlowRun(context.Background(), s.first, newRun())
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, []uuid.UUID{run.ID}, server.Runs())
}

func TestCreateWhenTheServerIsAway(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	server.Close()
	o := hasty(s)
	o.MaxAttempts = 3
	_, _, err := newClient(t, o).CreateFlowRun(context.Background(), s.first, newRun())
	var e *prefectclient.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, prefectclient.ReasonUnavailable, e.Reason, "nothing was sent: there is no doubt")
	require.Equal(t, 3, e.Attempts)
}

func TestCallersContext(t *testing.T) {
	t.Parallel()
	slow := prefecttest.Fault{Delay: time.Minute}
	t.Run("canceled before", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _, err := newClient(t, hasty(s)).CreateFlowRun(ctx, s.first, newRun())
		require.Equal(t, prefectclient.ReasonCanceled, prefectclient.ReasonOf(err))
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, server.Requests())
	})
	t.Run("canceled in the middle of a create", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		server.Script(slow)
		o := hasty(s)
		o.AttemptTimeout = time.Minute
		ctx, cancel := context.WithCancelCause(context.Background())
		gone := errors.New("the caller hung up")
		go func() {
			for len(server.Requests()) == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel(gone)
		}()
		_, _, err := newClient(t, o).CreateFlowRun(ctx, s.first, newRun())
		require.Equal(t, prefectclient.ReasonOutcomeUnknown, prefectclient.ReasonOf(err))
		require.ErrorIs(t, err, gone)
	})
	t.Run("canceled in the middle of a read", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		server.Script(slow)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for len(server.Requests()) == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		_, err := newClient(t, hasty(s)).Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonCanceled, prefectclient.ReasonOf(err))
	})
	t.Run("a deadline shorter than the client's", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		server.Script(repeated(slow)...)
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_, err := newClient(t, hasty(s)).Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	busy := func(value string) prefecttest.Fault {
		return prefecttest.Fault{Route: onCreate, Status: 429, Body: `{}`, Header: http.Header{"Retry-After": {value}}}
	}
	t.Run("is waited for", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		server.Script(busy("1"))
		started := time.Now()
		_, _, err := newClient(t, hasty(s)).CreateFlowRun(context.Background(), s.first, newRun())
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(started), time.Second)
	})
	t.Run("is handed on when the time would run out", func(t *testing.T) {
		t.Parallel()
		s, server := startFake(t)
		server.Script(busy("600"))
		started := time.Now()
		_, _, err := newClient(t, hasty(s)).CreateFlowRun(context.Background(), s.first, newRun())
		var e *prefectclient.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 10*time.Minute, e.RetryAfter)
		require.Less(t, time.Since(started), time.Second)
	})
}

func TestRefusedLocally(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	client := newClient(t, hasty(s))
	for name, change := range map[string]func(*prefectclient.NewFlowRun){
		"no key":             func(r *prefectclient.NewFlowRun) { r.IdempotencyKey = "" },
		"a label of objects": func(r *prefectclient.NewFlowRun) { r.Labels = map[string]any{"a": []int{1}} },
		"no JSON form":       func(r *prefectclient.NewFlowRun) { r.Parameters = map[string]any{"f": func() {}} },
		"creator without id": func(r *prefectclient.NewFlowRun) { r.CreatedBy = &prefectclient.CreatedBy{DisplayValue: "a"} },
		"creator unnamed":    func(r *prefectclient.NewFlowRun) { r.CreatedBy = &prefectclient.CreatedBy{ID: uuid.New()} },
	} {
		t.Run(name, func(t *testing.T) {
			run := newRun()
			change(&run)
			_, _, err := client.CreateFlowRun(context.Background(), s.first, run)
			require.Equal(t, prefectclient.ReasonRequestInvalid, prefectclient.ReasonOf(err))
		})
	}
	for _, name := range []string{"", ".", "..", "a/b", "a%2Fb"} {
		_, err := client.DeploymentByName(context.Background(), name, "prod")
		require.Equal(t, prefectclient.ReasonRequestInvalid, prefectclient.ReasonOf(err), name)
	}
	require.Empty(t, server.Requests())
}

// The creator and nothing but the documented fields goes out.
func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	run := prefectclient.NewFlowRun{IdempotencyKey: "k", Parameters: map[string]any{"x": 1},
		CreatedBy: &prefectclient.CreatedBy{ID: uuid.MustParse(strangeID), DisplayValue: "Zoë"}}
	_, _, err := newClient(t, hasty(s)).CreateFlowRun(context.Background(), s.first, run)
	require.NoError(t, err)
	sent := server.Requests()[0]
	require.JSONEq(t, `{"idempotency_key":"k","parameters":{"x":1}}`, string(sent.Body))
	require.Equal(t, strangeID, sent.Header.Get("Prefect-Automation-Id"))
	require.Equal(t, "Wm/Dqw==", sent.Header.Get("Prefect-Automation-Name"))
	require.Equal(t, "Basic YWRtaW46c2VjcmV0", sent.Header.Get("Authorization"))
}
