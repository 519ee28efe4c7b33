package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// deliveries are the goroutines that deliver what was accepted, one for each
// Prefect server of this process's routes.
type deliveries struct {
	mu      sync.Mutex
	ended   bool
	end     context.CancelFunc
	ctx     context.Context
	wakes   map[string]chan struct{}
	told    map[string]prefectKey // how each server is reached, as far as it is remembered
	open    map[string]bool       // servers that a route reaches without a secret of its own
	running sync.WaitGroup

	// remembering is held while what is kept of the servers is read, changed
	// and written again.
	remembering sync.Mutex
}

// begin runs work until deliveries end.
func (d *deliveries) begin(work func(ctx context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	if d.ctx == nil {
		d.ctx, d.end = context.WithCancel(context.Background())
	}
	d.running.Go(func() { work(d.ctx) })
}

// news notes how a route reaches a server, and says whether that is news.
func (d *deliveries) news(c PrefectConfig) bool {
	key, err := keyOf(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told == nil {
		d.told, d.open = map[string]prefectKey{}, map[string]bool{}
	}
	changed := err == nil && d.told[c.APIURL] != key
	d.told[c.APIURL] = key
	if !c.holdsSecret() {
		d.open[c.APIURL] = true
	}
	return changed
}

// wakeOf is what wakes a server's deliverer; first: it has none yet.
func (d *deliveries) wakeOf(server string) (wake chan struct{}, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wakes == nil {
		d.wakes = map[string]chan struct{}{}
	}
	if first = d.wakes[server] == nil; first {
		d.wakes[server] = make(chan struct{}, 1)
	}
	return d.wakes[server], first
}

// has says whether the server has a deliverer.
func (d *deliveries) has(server string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wakes[server] != nil
}

// reachesOpenly says whether a route reaches the server without a secret of its
// own.
func (d *deliveries) reachesOpenly(server string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[server]
}

// deliver begins to deliver to a route's server.
func (p *Process) deliver(c PrefectConfig) {
	if p.deliveries.news(c) {
		p.deliveries.begin(func(ctx context.Context) { p.rememberServer(ctx, c) })
	}
	p.deliverTo(c.APIURL)
}

func (p *Process) deliverTo(server string) {
	wake, first := p.deliveries.wakeOf(server)
	if first {
		p.deliveries.begin(func(ctx context.Context) {
			outbox.Run(ctx, outbox.Options{Store: p.Outbox, Server: server, Courier: newCourier(p), Wake: wake, Logger: p.log})
		})
	}
}

// wake has a server's deliverer look at once.
func (p *Process) wake(server string) {
	p.deliveries.mu.Lock()
	wake := p.deliveries.wakes[server]
	p.deliveries.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default:
	}
}

// EndDelivery stops delivering. What was under way is delivered again by the
// next process.
func (p *Process) EndDelivery() {
	d := &p.deliveries
	d.mu.Lock()
	d.ended = true
	if d.end != nil {
		d.end()
	}
	d.mu.Unlock()
	d.running.Wait()
}

// courier carries entries to one Prefect.
type courier struct {
	process *Process
	// unasked is until when it isn't asked again about runs of requests whose
	// time ran out, in Unix nanoseconds.
	unasked *atomic.Int64
}

func newCourier(p *Process) courier { return courier{p, new(atomic.Int64)} }

// deliveryRoute is whose slots deliveries take, so that they leave room for
// the callers that wait.
const deliveryRoute = "kong-prefect outbox"

// Deliver asks Prefect for the run, under the key and with the stamp of the
// request that was accepted.
func (c courier) Deliver(ctx context.Context, e outbox.Entry) (outbox.Settlement, error) {
	client := c.process.clientOf(e.Server)
	if client == nil {
		return outbox.Settlement{}, fmt.Errorf("%w: no route of this process calls %s", outbox.ErrAway, e.Server)
	}
	a, err := readAccepted(e.Payload)
	if err != nil {
		return outbox.Settlement{Status: outbox.Dead, Reason: CodeOutboxUnavailable, Detail: "what was kept can't be read"}, nil
	}
	run, created, err := client.Route(deliveryRoute).CreateFlowRun(ctx, a.DeploymentID, a.Run)
	if err == nil {
		return outbox.Settlement{Status: outbox.Delivered, RunID: run.ID.String()}, c.delivered(e, a, run, created)
	}
	if !isFinal(err) {
		return outbox.Settlement{}, fmt.Errorf("%w: %w", outbox.ErrAway, err)
	}
	end := outbox.Settlement{Status: outbox.Dead, Reason: prefectCode(prefectclient.ReasonOf(err)), Detail: detailOf(err)}
	return end, c.dead(a, end)
}

// isFinal tells a refusal of this very run from troubles that pass, or that an
// operator mends: a credential, an address.
func isFinal(err error) bool {
	switch prefectclient.ReasonOf(err) {
	case prefectclient.ReasonDeploymentNotFound, prefectclient.ReasonNotFound, prefectclient.ReasonParametersInvalid,
		prefectclient.ReasonRequestInvalid, prefectclient.ReasonRefused, prefectclient.ReasonIdempotencyConflict,
		prefectclient.ReasonIdempotencyKeyReused:
		return true
	}
	return false
}

func detailOf(err error) string {
	var failed *prefectclient.Error
	if !errors.As(err, &failed) {
		return ""
	}
	if failed.Field != "" {
		return failed.Field + ": " + failed.Detail
	}
	return failed.Detail
}

// delivered puts the run on record. Where a process died right after it had
// done so, the run is on record already.
func (c courier) delivered(e outbox.Entry, a accepted, run prefectclient.FlowRun, created bool) error {
	kind := audit.RunRepeated
	switch {
	case created:
		kind = audit.RunCreated
	case a.Run.Owns(run):
		kind = audit.RunCreated
		if c.process.Audit == nil {
			return nil
		}
		known, err := c.process.Audit.Has(audit.Query{Types: []audit.Type{audit.RunCreated}, RunID: run.ID.String()})
		if err != nil || known {
			return err
		}
	}
	return c.record(a, kind, func(event *audit.Event) {
		event.RunID = run.ID.String()
		event.Detail = "accepted at " + e.Accepted.Format(time.RFC3339) + " and delivered"
	})
}

// Expired looks the run up before it gives the request up: an earlier attempt,
// whose answer was lost, may have made it. Where that can't be told, it is said.
func (c courier) Expired(ctx context.Context, e outbox.Entry) (outbox.Settlement, error) {
	end := outbox.Expiry()
	a, err := readAccepted(e.Payload)
	if err != nil {
		return end, nil //nolint:nilerr // there is nothing that could be put on record, and it is dead all the same
	}
	run, found, err := c.made(ctx, e, a)
	switch {
	case ctx.Err() != nil:
		return end, ctx.Err()
	case found:
		return outbox.Settlement{Status: outbox.Delivered, RunID: run.ID.String()}, c.delivered(e, a, run, false)
	case err != nil && e.Uncertain:
		end.Reason, end.Detail = CodeOutcomeUnknown, "its time ran out, and the run may be there from the first attempt: Prefect can't be asked now"
	}
	return end, c.dead(a, end)
}

const (
	// lookUpLimit is for a Prefect that doesn't answer, and lookUpRest is how
	// long it isn't asked again then: many may wait behind it.
	lookUpLimit = 3 * time.Second
	lookUpRest  = 30 * time.Second
)

// made finds the run that an earlier attempt made.
func (c courier) made(ctx context.Context, e outbox.Entry, a accepted) (run prefectclient.FlowRun, found bool, err error) {
	client := c.process.clientOf(e.Server)
	if client == nil || time.Now().UnixNano() < c.unasked.Load() {
		return run, false, outbox.ErrAway
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpLimit)
	defer cancel()
	run, found, err = client.Route(deliveryRoute).FlowRunOfDeployment(ctx, a.DeploymentID, a.Run.IdempotencyKey)
	if err != nil {
		c.unasked.Store(time.Now().Add(lookUpRest).UnixNano())
	}
	return run, found && a.Run.Owns(run), err
}

// dead puts on record that a request is given up.
func (c courier) dead(a accepted, end outbox.Settlement) error {
	return c.record(a, audit.RunDead, func(event *audit.Event) { event.Reason, event.Detail = end.Reason, end.Detail })
}

// record puts an event on record under the identity of the request that was
// accepted.
func (c courier) record(a accepted, kind audit.Type, set func(*audit.Event)) error {
	if c.process.Audit == nil {
		return nil
	}
	event := a.Event
	event.Type, event.Time = kind, time.Time{}
	set(&event)
	ctx, cancel := context.WithTimeout(context.Background(), recordLimit)
	defer cancel()
	return c.process.Audit.Append(ctx, event, a.DurableAudit)
}

// recordLimit is for what the disk needs.
const recordLimit = 10 * time.Second
