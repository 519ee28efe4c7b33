package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/signing"
)

// durableRig is a route that accepts requests while Prefect is away.
type durableRig struct {
	triggerRig
	store    *outbox.SQLite
	file     string
	auditDir string
}

const durableRoute = `"deployment":"report/prod","allow_roles":["runner"],"durable":{"enabled":true,"after_ms":300,"expire_hours":1}`

func newDurableRig(t *testing.T) durableRig {
	t.Helper()
	server := prefecttest.NewServer(prefecttest.Options{AuthStrings: []string{"admin:secret-4711"}})
	t.Cleanup(server.Close)
	server.AddDeployment(prefecttest.Deployment{Flow: "report", Name: "prod", ParameterSchema: reportSchema, WorkPool: "p", Parameters: map[string]any{"by": "default"}})
	r := durableRig{file: filepath.Join(t.TempDir(), "outbox.db"), auditDir: filepath.Join(t.TempDir(), "audit")}
	r.triggerRig = triggerRig{t: t, server: server}
	r.start()
	return r
}

// start is a process that starts; the one before goes on.
func (r *durableRig) start() {
	t := r.t
	p := startProcess(t)
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json"), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	p.Signing = keys
	p.Audit, err = audit.Open(audit.Options{Dir: r.auditDir, Signer: keys})
	require.NoError(t, err)
	store, err := outbox.OpenSQLite(outbox.SQLiteOptions{Path: r.file})
	require.NoError(t, err)
	p.Outbox, r.store = store, store
	t.Cleanup(func() {
		p.EndDelivery()
		require.NoError(t, store.Close())
		require.NoError(t, p.Audit.Close())
	})
	r.trigger, err = compileTrigger(p, []byte(`{"prefect":{"api_url":"`+r.server.URL+`","auth_string":"admin:secret-4711","timeout_ms":5000},`+durableRoute+`}`))
	require.NoError(t, err)
}

// away takes Prefect away for everything, until back.
func (r durableRig) away() {
	var faults []prefecttest.Fault
	for range 10_000 {
		faults = append(faults, prefecttest.Fault{Reset: true})
	}
	r.server.Script(faults...)
}

func (r durableRig) back() { r.server.Clear() }

// ask sends a request and gives what its caller reads.
func (r durableRig) ask(a ask) (*reply, Accepted, *Problem) {
	r.t.Helper()
	o := r.order(a)
	ctx := context.WithValue(r.t.Context(), trailKey{}, &trail{log: r.process.Audit, began: time.Now()})
	trailOf(ctx).caller(o, AuditConfig{Durable: true})
	got, problem := r.serve(ctx, o)
	var read Accepted
	if problem == nil {
		require.NoError(r.t, json.Unmarshal(got.body, &read))
	}
	return got, read, problem
}

func keyed(key, body string) ask {
	return ask{body: body, headers: map[string][]string{"idempotency-key": {key}}}
}

func (r durableRig) status(a Accepted, as claims.Identity) (*reply, Accepted, *Problem) {
	r.t.Helper()
	return r.ask(ask{method: http.MethodGet, path: a.Links.Status, caller: as})
}

func (r durableRig) await(a Accepted, want outbox.Status) Accepted {
	r.t.Helper()
	var now Accepted
	require.Eventually(r.t, func() bool {
		_, read, problem := r.status(a, claims.Identity{})
		require.Nil(r.t, problem)
		now = read
		return now.Status == want
	}, testLimit, 10*time.Millisecond)
	return now
}

// records are those of a request, by type.
func (r durableRig) records(requestID string) (types []audit.Type) {
	r.t.Helper()
	require.NoError(r.t, audit.Records(r.auditDir, 0, func(one audit.Record) bool {
		if one.RequestID == requestID {
			require.Equal(r.t, "svc", one.Caller.Subject)
			types = append(types, one.Type)
		}
		return true
	}))
	return types
}

func TestAcceptedWhilePrefectIsAway(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	first, _, problem := r.ask(keyed("before", emea))
	require.Nil(t, problem)
	require.Equal(t, http.StatusCreated, first.status, "Prefect is there: nothing is accepted")

	r.away()
	var all []Accepted
	for i := range 5 {
		got, a, problem := r.ask(keyed(fmt.Sprint("key-", i), fmt.Sprintf(`{"region":"emea","level":%d}`, i)))
		require.Nil(t, problem)
		require.Equal(t, http.StatusAccepted, got.status)
		require.Equal(t, outbox.Waiting, a.Status)
		require.Contains(t, got.headers, header("Location", "/run/report/"+a.ID.String()))
		all = append(all, a)
	}
	_, again, problem := r.ask(keyed("key-0", `{"region":"emea","level":0}`))
	require.Nil(t, problem)
	require.Equal(t, all[0].ID, again.ID, "the same request again is the same entry")
	_, _, problem = r.ask(keyed("key-0", `{"region":"apac"}`))
	require.NotNil(t, problem)
	require.Equal(t, CodeIdempotencyKeyReused, problem.Code)

	kept, err := r.store.Entry(t.Context(), all[0].ID)
	require.NoError(t, err)
	for _, name := range []string{r.file, r.file + "-wal"} {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NotContains(t, string(data), "secret-4711", "no credential is on the disk")
	}
	stranger := claims.Identity{Subject: "other", Issuer: "https://idp", Kind: claims.Service}
	_, _, problem = r.status(all[0], stranger)
	require.NotNil(t, problem, "another's is as one that isn't there")

	r.back()
	var runs []string
	for _, a := range all {
		now := r.await(a, outbox.Delivered)
		runs = append(runs, now.Run)
		require.Contains(t, now.Links.UI, now.Run)
		require.Equal(t, "/run/report/"+now.Run, now.Links.Run)
	}
	have := r.server.Runs()
	require.Len(t, have, 6)
	for i, run := range runs {
		require.Equal(t, have[i+1].String(), run, "in the order in which they were accepted")
	}
	require.Equal(t, []audit.Type{audit.AccessAllowed, audit.RunAccepted, audit.RunCreated}, r.records(kept.RequestID))
	require.Equal(t, kept.Fingerprint, fingerprintIn(t, r, runs[0]), "it is the run that was stamped when it was accepted")

	got, _, problem := r.ask(keyed("key-1", `{"region":"emea","level":1}`))
	require.Nil(t, problem)
	require.Equal(t, http.StatusOK, got.status)
	require.Len(t, r.server.Runs(), 6, "and no second run")
}

func fingerprintIn(t *testing.T, r durableRig, run string) any {
	found, err := r.client.FlowRun(t.Context(), uuid.MustParse(run))
	require.NoError(t, err)
	require.Contains(t, found.Context, "kong_prefect")
	require.NotNil(t, found.CreatedBy)
	return found.Context["request_fingerprint"]
}

// What a lost answer leaves open is settled by the delivery: under the same
// key there is one run.
func TestALostAnswerIsAcceptedAndDeliveredOnce(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.server.Script(prefecttest.Fault{Route: prefecttest.CreateRoute, Carried: true, Reset: true})
	r.away()
	got, a, problem := r.ask(keyed("lost", emea))
	require.Nil(t, problem)
	require.Equal(t, http.StatusAccepted, got.status)
	require.Len(t, r.server.Runs(), 2)
	r.back()
	now := r.await(a, outbox.Delivered)
	require.Equal(t, r.server.Runs()[1].String(), now.Run)
	require.Len(t, r.server.Runs(), 2)
	kept, err := r.store.Entry(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, []audit.Type{audit.AccessAllowed, audit.RunAccepted, audit.RunCreated}, r.records(kept.RequestID), "its own run, though Prefect had it")
}

// A Prefect that answers nobody takes every slot: who waits in vain for one is
// accepted like those who got one.
func TestAcceptedWithoutASlot(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	var err error
	r.trigger, err = compileTrigger(r.process, []byte(`{"prefect":{"api_url":"`+r.server.URL+`","auth_string":"admin:secret-4711","max_concurrent_per_route":1},`+durableRoute+`}`))
	require.NoError(t, err)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	for range 100 {
		r.server.Script(prefecttest.Fault{Route: prefecttest.CreateRoute, Delay: time.Minute})
	}
	var callers sync.WaitGroup
	answers := make(chan string, 4)
	for i := range cap(answers) {
		callers.Go(func() {
			got, problem := r.serve(context.WithValue(t.Context(), trailKey{}, &trail{began: time.Now()}), r.order(keyed(fmt.Sprint(i), emea)))
			if problem != nil {
				answers <- problem.Code
				return
			}
			answers <- http.StatusText(got.status)
		})
	}
	callers.Wait()
	for range cap(answers) {
		require.Equal(t, http.StatusText(http.StatusAccepted), <-answers)
	}
}

func TestARefusalIsNotAccepted(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]prefecttest.Fault{
		"parameters": {Status: http.StatusConflict, Body: `{"detail":"Error creating flow run: Validation failed for field 'region'. Failure reason: 1 is not of type 'string'"}`},
		"credential": {Status: http.StatusUnauthorized, Body: `{"exception_message":"Unauthorized"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newDurableRig(t)
			fault.Route = prefecttest.CreateRoute
			r.server.Script(fault)
			_, _, problem := r.ask(ask{body: emea})
			require.NotNil(t, problem)
			waiting, err := r.store.List(t.Context(), outbox.Waiting, 10)
			require.NoError(t, err)
			require.Empty(t, waiting)
		})
	}
}

// A refusal at the delivery makes a dead letter, which holds up nobody.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.away()
	_, bad, problem := r.ask(keyed("bad", emea))
	require.Nil(t, problem)
	_, good, problem := r.ask(keyed("good", emea))
	require.Nil(t, problem)
	r.process.EndDelivery()
	r.back()
	r.server.Script(prefecttest.Fault{Route: prefecttest.CreateRoute, Status: http.StatusConflict,
		Body: `{"detail":"Error creating flow run: Validation failed for field 'region'. Failure reason: 'x' is not of type 'string'"}`})
	r.start() // a new process, which learns of the server by its route
	now := r.await(bad, outbox.Dead)
	require.Equal(t, CodeParametersInvalid, now.Reason)
	r.await(good, outbox.Delivered)
	kept, err := r.store.Entry(t.Context(), bad.ID)
	require.NoError(t, err)
	require.Equal(t, []audit.Type{audit.AccessAllowed, audit.RunAccepted, audit.RunDead}, r.records(kept.RequestID))
	require.NoError(t, r.store.Settle(t.Context(), bad.ID, outbox.Dead, outbox.Settlement{Status: outbox.Waiting, Expires: kept.GoodUntil}))
	r.await(bad, outbox.Delivered)
	require.Len(t, r.server.Runs(), 3)
}

// A request whose time runs out is not said to have failed where an attempt at
// it, whose answer was lost, made the run.
func TestExpiredThoughStarted(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.process.EndDelivery()
	accept := func(key string) outbox.Entry {
		_, a, problem := r.ask(keyed(key, emea))
		require.Nil(t, problem)
		require.Equal(t, outbox.Waiting, a.Status)
		e, err := r.store.Entry(t.Context(), a.ID)
		require.NoError(t, err)
		return e
	}
	expire := func(e outbox.Entry) outbox.Settlement {
		end, err := newCourier(r.process).Expired(t.Context(), e)
		require.NoError(t, err)
		return end
	}
	r.server.Script(prefecttest.Fault{Route: prefecttest.CreateRoute, Carried: true, Reset: true})
	r.away()
	lost, behind := accept("lost"), accept("behind") // of which nobody asked Prefect
	require.Equal(t, outbox.ReasonExpired, expire(behind).Reason, "nobody can be asked, and nothing was started")
	require.Equal(t, CodeOutcomeUnknown, expire(lost).Reason, "nobody can be asked, and something may have been")
	r.back()
	require.Eventually(t, func() bool { // the breaker closes again
		_, err := r.client.DeploymentByName(t.Context(), "report", "prod")
		return err == nil
	}, testLimit, 20*time.Millisecond)
	require.Equal(t, outbox.ReasonExpired, expire(behind).Reason)
	end := expire(lost)
	require.Equal(t, outbox.Delivered, end.Status)
	require.Equal(t, r.server.Runs()[1].String(), end.RunID)
	require.Equal(t, []audit.Type{audit.AccessAllowed, audit.RunAccepted, audit.RunDead, audit.RunCreated}, r.records(lost.RequestID))
}

// A process that is started while Prefect is away checks and stamps by what
// the one before knew.
func TestAProcessThatNeverSawPrefectAccepts(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.away()
	r.start()
	got, a, problem := r.ask(keyed("second", emea))
	require.Nil(t, problem)
	require.Equal(t, http.StatusAccepted, got.status)
	_, _, problem = r.ask(keyed("wrong", `{"region":7}`))
	require.NotNil(t, problem)
	require.Equal(t, CodeParametersInvalid, problem.Code, "checked as ever")
	r.back()
	r.await(a, outbox.Delivered)
}

// A process that starts goes on delivering before any request, where no secret
// has to be kept for that.
func TestDeliveryGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	path := filepath.Join(t.TempDir(), "auth")
	require.NoError(t, os.WriteFile(path, []byte("admin:secret-4711"), 0o600))
	var err error
	r.trigger, err = compileTrigger(r.process, []byte(`{"prefect":{"api_url":"`+r.server.URL+`","auth_file":"`+path+`","timeout_ms":5000},`+durableRoute+`}`))
	require.NoError(t, err)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.away()
	_, _, problem = r.ask(keyed("second", emea))
	require.Nil(t, problem)
	require.Eventually(t, func() bool {
		data, err := r.store.Kept(t.Context(), keptServers)
		return err == nil && data != nil
	}, testLimit, 5*time.Millisecond)
	r.process.EndDelivery()
	r.back()
	next := startProcess(t)
	next.Outbox = r.store
	next.ResumeDelivery()
	t.Cleanup(next.EndDelivery)
	require.Eventually(t, func() bool { return len(r.server.Runs()) == 2 }, testLimit, 5*time.Millisecond)
	next.rememberServer(t.Context(), PrefectConfig{APIURL: r.server.URL, AuthString: "admin:secret-4711"})
	data, err := r.store.Kept(t.Context(), keptServers)
	require.NoError(t, err)
	require.Equal(t, "{}", string(data), "a secret is never kept")
}

// The servers of all routes are remembered, though all are met at once.
func TestEveryServerIsRemembered(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	const servers = 8
	for i := range servers {
		_, err := compileTrigger(r.process, fmt.Appendf(nil, `{"prefect":{"api_url":"http://127.0.0.1:9/%d/api"},%s}`, i, durableRoute))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		known, err := r.process.knownServers(t.Context())
		return err == nil && len(known) == servers
	}, testLimit, 10*time.Millisecond)
}

func TestNobodyKnowsTheDeployment(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	r.away()
	_, _, problem := r.ask(keyed("first", emea))
	require.NotNil(t, problem)
	require.Equal(t, CodePrefectUnavailable, problem.Code)
	require.Positive(t, problem.RetryAfter)
}

func TestLaterRequestsQueueBehind(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.process.EndDelivery() // nothing is delivered here
	r.away()
	_, _, problem = r.ask(keyed("second", emea))
	require.Nil(t, problem)
	r.back()
	require.Eventually(t, func() bool { // the breaker closes again
		_, err := r.client.DeploymentByName(t.Context(), "report", "prod")
		return err == nil
	}, testLimit, 20*time.Millisecond)
	got, _, problem := r.ask(keyed("third", emea))
	require.Nil(t, problem)
	require.Equal(t, http.StatusAccepted, got.status, "behind the one that waits")
	got, _, problem = r.ask(ask{body: emea, caller: claims.Identity{Subject: "other", Issuer: "https://idp", Kind: claims.Service}})
	require.Nil(t, problem)
	require.Equal(t, http.StatusCreated, got.status, "another caller's aren't held up")
}

func TestOutboxThatIsFullOrAway(t *testing.T) {
	t.Parallel()
	require.Equal(t, CodeOutboxFull, outboxProblem(fmt.Errorf("add: %w", outbox.ErrFull)).Code)
	r := newDurableRig(t)
	_, _, problem := r.ask(keyed("first", emea))
	require.Nil(t, problem)
	r.process.EndDelivery()
	require.NoError(t, r.store.Close())
	_, _, problem = r.ask(keyed("second", emea))
	require.NotNil(t, problem)
	require.Equal(t, CodeOutboxUnavailable, problem.Code, "whether something waits can't be told")
	require.Len(t, r.server.Runs(), 1)
}

func TestBrokenDurableRoutesNameTheField(t *testing.T) {
	t.Parallel()
	r := newDurableRig(t)
	compile := func(p *Process, durable string) error {
		_, err := compileTrigger(p, []byte(`{"prefect":{"api_url":"http://p/api"},"deployment":"a/b","allow_roles":["r"],"durable":`+durable+`}`))
		return err
	}
	without := startProcess(t)
	without.Signing = r.process.Signing
	require.ErrorContains(t, compile(without, `{"enabled":true}`), "durable.enabled: this process was started without --outbox")
	require.NoError(t, compile(without, `{"enabled":false}`))
	require.ErrorContains(t, compile(r.process, `{"enabled":true,"expire_hours":169}`), "durable.expire_hours: 169 is longer than a stamp is good")
	require.NoError(t, compile(r.process, `{"enabled":true,"expire_hours":168}`))
}

func TestQueuesAreOfACallerAndADeployment(t *testing.T) {
	t.Parallel()
	d := uuid.New()
	require.Equal(t, queueOf("a", d), queueOf("a", d))
	require.NotEqual(t, queueOf("a", d), queueOf("b", d))
	require.NotEqual(t, queueOf("a", d), queueOf("a", uuid.New()))
	require.False(t, strings.ContainsAny(queueOf("a", d), "/ "))
}
