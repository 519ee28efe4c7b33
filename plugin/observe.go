package plugin

import (
	"context"
	"time"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// Hooks are told what happens in the process, for its metrics. They are called
// in the request's own goroutine and must return at once. Each may be nil.
type Hooks struct {
	// Done is told of every plugin's event, when its answer is ready.
	Done func(Done)
	// PrefectSent is told of every request to a Prefect server, and
	// PrefectEvent of what else its client does.
	PrefectSent  func(prefectclient.Sent)
	PrefectEvent func(prefectclient.Event)
}

// Done is one plugin's event for one request.
type Done struct {
	Plugin string
	// Reason is the refusal's code, the same as in answer, log and audit;
	// empty: the request was let pass or answered.
	Reason string
	Status int // HTTP, of a refusal
	// Started says that Prefect has a run because of the request: [RunCreated]
	// or [RunRepeated]. Empty: none was asked for.
	Started string
	Began   time.Time
	Took    time.Duration
	// Steps are in the order of their end.
	Steps []Step
}

// What may be said of a run in [Done.Started].
const (
	RunCreated  = "created"
	RunRepeated = "repeated" // Prefect had it, under the same idempotency key
)

// Stage is a part of a request's way.
type Stage string

// The stages.
const (
	StageToken      Stage = "token"      // is it true
	StageCaller     Stage = "caller"     // the token's identity, roles and consumer
	StageDeployment Stage = "deployment" // which one; Prefect is asked where it isn't known
	StagePolicy     Stage = "policy"     // may they, and with these parameters
	StageStamp      Stage = "stamp"      // what is written onto the run
	StageAudit      Stage = "audit"      // it is on record
	StagePrefect    Stage = "prefect"    // Prefect has the run
	StageWait       Stage = "wait"       // for the run's end
)

// Stages are all there are.
var Stages = []Stage{StageToken, StageCaller, StageDeployment, StagePolicy, StageStamp, StageAudit, StagePrefect, StageWait}

// Step is one stage of one event.
type Step struct {
	Stage Stage
	Began time.Time
	Took  time.Duration
}

// observe runs the event's handler and tells what became of it. A panic goes
// on to the server, which answers.
func (t *trail) observe(ctx context.Context, next pluginserver.Handler, e *pluginserver.Event, done func(Done)) {
	reason := pluginserver.ReasonPanic
	defer func() {
		if done != nil {
			done(Done{
				Plugin: t.event.Plugin, Reason: reason, Status: t.event.Status, Started: t.started,
				Began: t.began, Took: time.Since(t.began), Steps: t.steps,
			})
		}
	}()
	next.Access(context.WithValue(ctx, trailKey{}, t), e)
	reason = t.event.Reason
}

// step notes a stage that ends now.
func (t *trail) step(s Stage, began time.Time) {
	t.steps = append(t.steps, Step{Stage: s, Began: began, Took: time.Since(began)})
}

// sent hands a request to Prefect on.
func (p *Process) sent(_ context.Context, r prefectclient.Sent) {
	if p.Hooks.PrefectSent != nil {
		p.Hooks.PrefectSent(r)
	}
}

// Broken says that the configuration can't work.
func (h *audited) Broken() bool {
	_, broken := h.next.(*broken)
	return broken
}

// PrefectStats tells how the process stands with its Prefect servers, one
// entry for each configuration of one.
func (p *Process) PrefectStats() []prefectclient.Stats {
	p.mu.Lock()
	clients := make([]*prefectclient.Client, 0, len(p.clients))
	for _, c := range p.clients {
		clients = append(clients, c)
	}
	p.mu.Unlock()
	all := make([]prefectclient.Stats, len(clients))
	for i, c := range clients {
		all[i] = c.Stats()
	}
	return all
}

// Waiting is how many answers wait for a run's end.
func (p *Process) Waiting() int { return int(p.waiters.Load()) }

// Refusals are the codes of all refusals, with their HTTP status.
func Refusals() map[string]int {
	all := make(map[string]int, len(kinds))
	for code, k := range kinds {
		all[code] = k.status
	}
	return all
}
