package plugin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// durable is what a route needs that accepts requests while Prefect is away.
type durable struct {
	store  outbox.Store
	known  knownDeployments
	after  time.Duration
	expire time.Duration
}

// durable is nil for a route that doesn't want it, and in a process that only
// looks. Whatever the route wants, what was accepted for its server before is
// delivered.
func (p *Process) durable(c TriggerConfig) (*durable, error) {
	if p.Outbox != nil {
		p.deliver(c.Prefect)
	}
	switch {
	case !c.Durable.Enabled:
		return nil, nil
	case c.Durable.ExpireHours > c.Stamp.LifetimeHours:
		return nil, fmt.Errorf("expire_hours: %d is longer than a stamp is good: stamp.lifetime_hours is %d", c.Durable.ExpireHours, c.Stamp.LifetimeHours)
	case p.Withhold != nil:
		return nil, nil
	case p.Outbox == nil:
		return nil, errors.New("enabled: this process was started without --outbox and --outbox-redis")
	}
	return &durable{
		store: p.Outbox, known: knownDeployments{store: p.Outbox, server: c.Prefect.APIURL, log: p.log},
		after: time.Duration(c.Durable.AfterMS) * time.Millisecond, expire: time.Duration(c.Durable.ExpireHours) * time.Hour,
	}, nil
}

// accepted is what an entry of the outbox carries: the run as it was stamped
// for its caller, and what the audit knows of the request. No credential is in
// it; the run's parameters are.
type accepted struct {
	DeploymentID uuid.UUID                `json:"deployment_id"`
	Run          prefectclient.NewFlowRun `json:"run"`
	Event        audit.Event              `json:"event"`
	// DurableAudit is the route's audit.durable.
	DurableAudit bool `json:"durable_audit"`
}

func readAccepted(payload []byte) (a accepted, err error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber() // parameters keep every digit
	return a, d.Decode(&a)
}

// createOrAccept asks Prefect for the run, and accepts the request where
// Prefect is away: not where it refuses. While one of the caller's requests
// for the deployment waits, later ones queue behind it.
func (h *trigger) createOrAccept(ctx context.Context, o order, d *resolved, w wanted, s stamp.Stamp, asked prefectclient.NewFlowRun) (*reply, *Problem) {
	e, err := h.entry(ctx, o, d, w, s, asked)
	if err != nil {
		return nil, &Problem{Code: CodeStampFailed, Cause: err}
	}
	waits, err := h.durable.store.Waits(ctx, e.Server, e.Queue)
	if err != nil {
		return nil, outboxProblem(err)
	}
	var away error
	if !waits {
		trying, cancel := context.WithTimeout(ctx, h.durable.after)
		run, created, err := h.createNow(trying, d, asked)
		cancel()
		if err == nil || !isAway(err) || ctx.Err() != nil {
			return h.outcome(ctx, o, d, w, run, created, err)
		}
		away = err
	}
	e.Uncertain = prefectclient.ReasonOf(away) == prefectclient.ReasonOutcomeUnknown
	held, added, err := h.durable.store.Add(ctx, e)
	if err != nil && e.Uncertain {
		// The run may be there, which is what its caller has to know.
		return h.outcome(ctx, o, d, w, prefectclient.FlowRun{}, false, errors.Join(away, err))
	}
	if err != nil {
		return nil, outboxProblem(err)
	}
	if !added {
		if isRecent(&held.Accepted) {
			w.place.WasThere(ctx)
		}
		return h.statusReply(o, held)
	}
	w.place.Made(ctx)
	h.process.wake(e.Server)
	if err := trailOf(ctx).accepted(ctx); err != nil {
		h.process.log.Error("a request was accepted and can't be put on record", "request", o.requestID, "error", err)
	}
	r, problem := h.statusReply(o, held)
	if problem == nil {
		r.line = fmt.Sprintf("accepted: id=%s deployment=%q caller=%q issuer=%q kind=%s request_id=%s",
			e.ID, w.name, o.caller.Identity.Display(), o.caller.Identity.Issuer, o.caller.Identity.Kind, o.requestID)
	}
	return r, problem
}

// isAway tells a Prefect that gave no answer, or too late, from one that
// refuses. That the time to try it ran out, in the queue for a slot even, counts
// as too late: its callers look themselves whether the request's own did.
func isAway(err error) bool {
	switch prefectclient.ReasonOf(err) {
	case prefectclient.ReasonUnavailable, prefectclient.ReasonBusy, prefectclient.ReasonOutcomeUnknown, prefectclient.ReasonCanceled:
		return true
	}
	return false
}

func outboxProblem(err error) *Problem {
	switch {
	case errors.Is(err, outbox.ErrOther):
		return &Problem{Code: CodeIdempotencyKeyReused, Cause: err}
	case errors.Is(err, outbox.ErrFull):
		return &Problem{Code: CodeOutboxFull, RetryAfter: time.Minute, Cause: err}
	}
	return &Problem{Code: CodeOutboxUnavailable, RetryAfter: unavailableRetryAfter, Cause: err}
}

// acceptedNamespace makes ids of idempotency keys: one request has one id, how
// often it is sent.
var acceptedNamespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/kong-prefect/kong-prefect/accepted"))

// entry is the request as the outbox keeps it.
func (h *trigger) entry(ctx context.Context, o order, d *resolved, w wanted, s stamp.Stamp, asked prefectclient.NewFlowRun) (outbox.Entry, error) {
	trail := trailOf(ctx)
	payload, err := json.Marshal(accepted{DeploymentID: d.id, Run: asked, Event: trail.event, DurableAudit: trail.config.Durable})
	if err != nil {
		return outbox.Entry{}, err
	}
	server, owner := h.config.Prefect.APIURL, stamp.CallerID(o.caller.Identity).String()
	now := time.Now().UTC()
	e := outbox.Entry{
		ID: uuid.NewSHA1(acceptedNamespace, []byte(server+"\x00"+asked.IdempotencyKey)), Server: server, Queue: queueOf(owner, d.id), Owner: owner,
		Caller: o.caller.Identity.Display(), Deployment: w.name, RequestID: o.requestID, Fingerprint: asked.Fingerprint,
		Accepted: now, Expires: now.Add(h.durable.expire), GoodUntil: s.Claims.ExpiresAt.UTC(), Payload: payload,
	}
	if e.Expires.After(e.GoodUntil) {
		e.Expires = e.GoodUntil
	}
	return e, nil
}

// queueOf is the ordering key: one caller's requests for one deployment.
func queueOf(owner string, deployment uuid.UUID) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{owner, deployment.String()}, "\x00")))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
