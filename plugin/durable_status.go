package plugin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// Accepted is what a caller is told of a request that was accepted while
// Prefect was away.
type Accepted struct {
	ID uuid.UUID `json:"id"`
	// Status is waiting, delivered, dead or dropped.
	Status     outbox.Status `json:"status"`
	Deployment string        `json:"deployment"`
	Accepted   time.Time     `json:"accepted"`
	// Expires is when it is given up if Prefect isn't back by then.
	Expires time.Time `json:"expires"`
	// Run is the delivered run's id.
	Run string `json:"run,omitempty"`
	// Reason is the code of why it is dead.
	Reason string        `json:"reason,omitempty"`
	Links  AcceptedLinks `json:"links"`
}

// AcceptedLinks say where to look.
type AcceptedLinks struct {
	// Status is a path of the gateway: this document, as it stands then.
	Status string `json:"status"`
	// Run, API and UI are the delivered run's, Run at this gateway.
	Run string `json:"run,omitempty"`
	API string `json:"api,omitempty"`
	UI  string `json:"ui,omitempty"`
}

// acceptedEntry finds the entry of the outbox that the request's path names
// and its caller owns. Another's is as one that isn't there.
func (h *trigger) acceptedEntry(ctx context.Context, o order) (outbox.Entry, bool, *Problem) {
	if h.process.Outbox == nil || !h.policy.MayAllow(o.caller.Roles) {
		return outbox.Entry{}, false, nil
	}
	e, err := h.process.Outbox.Entry(ctx, o.target.runID)
	if errors.Is(err, outbox.ErrUnknown) {
		return e, false, nil
	}
	if err != nil {
		return e, false, outboxProblem(err)
	}
	mine := e.Owner == stamp.CallerID(o.caller.Identity).String() && e.Server == h.config.Prefect.APIURL
	return e, mine, nil
}

// statusReply tells how an accepted request stands: 202 until it is delivered.
func (h *trigger) statusReply(o order, e outbox.Entry) (*reply, *Problem) {
	a := Accepted{
		ID: e.ID, Status: e.Status, Deployment: e.Deployment, Accepted: e.Accepted, Expires: e.Expires, Run: e.RunID, Reason: e.Reason,
		Links: AcceptedLinks{Status: o.target.below(e.ID.String())},
	}
	if e.RunID != "" {
		a.Links.Run = h.statusOf(o.target, e.RunID)
		a.Links.API, a.Links.UI = h.runLinks(e.RunID)
	}
	r, problem := jsonReply(a, header("Location", a.Links.Status))
	if problem == nil && e.Status == outbox.Waiting {
		r.status = http.StatusAccepted
		r.headers = append(r.headers, header("Retry-After", strconv.Itoa(int(statusRetryAfter/time.Second))))
	}
	return r, problem
}
