package outbox

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Status is how an entry stands.
type Status string

// The statuses.
const (
	Waiting   Status = "waiting"   // for its turn, and for the server
	Delivered Status = "delivered" // the server has its run
	Dead      Status = "dead"      // it can't be delivered; an operator may retry or drop it
	Dropped   Status = "dropped"   // given up by an operator
)

// Statuses is all of them.
var Statuses = []Status{Waiting, Delivered, Dead, Dropped}

// Entry is one accepted request.
type Entry struct {
	ID uuid.UUID `json:"id"`
	// Server is the address that it goes to.
	Server string `json:"server"`
	// Queue is the ordering key: entries of one queue and server are delivered
	// in the order in which they were accepted.
	Queue string `json:"queue"`
	// Owner is who may ask how it stands.
	Owner string `json:"owner"`
	// Caller, Deployment and RequestID are for people.
	Caller     string `json:"caller"`
	Deployment string `json:"deployment"`
	RequestID  string `json:"request_id"`
	// Fingerprint stands for what was asked for: an id that comes back with
	// another one is refused.
	Fingerprint string `json:"fingerprint"`

	Accepted time.Time `json:"accepted"`
	// Expires is when it is given up, never behind GoodUntil, at which what it
	// carries is no longer good.
	Expires   time.Time `json:"expires"`
	GoodUntil time.Time `json:"good_until"`

	Status Status `json:"status"`
	// Settled is when it came to this status; zero while it waits.
	Settled time.Time `json:"settled,omitzero"`
	// RunID is the delivered run's.
	RunID string `json:"run_id,omitempty"`
	// Reason is the stable code of why it is dead, Detail is for people.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`

	// Uncertain: it was accepted after an attempt whose answer was lost, so that
	// the server may have it.
	Uncertain bool `json:"uncertain,omitempty"`

	// Payload is what is delivered. It is gone once there is nothing to
	// deliver any more, and not in lists.
	Payload []byte `json:"-"`
}

// ReasonExpired is why an entry is dead whose time ran out.
const ReasonExpired = "expired"

// Expiry is the end of an entry whose time ran out.
func Expiry() Settlement {
	return Settlement{Status: Dead, Reason: ReasonExpired, Detail: "its time ran out before it could be delivered"}
}

// Settlement is how an entry's status changes.
type Settlement struct {
	Status         Status
	At             time.Time
	RunID          string
	Reason, Detail string
	// Expires, where set, is the entry's new end.
	Expires time.Time
}

// settle returns the entry with a new status.
func (e Entry) settle(s Settlement) Entry {
	e.Status, e.Settled, e.RunID, e.Reason, e.Detail = s.Status, s.At, s.RunID, s.Reason, s.Detail
	if s.Status == Waiting {
		e.Settled = time.Time{}
	}
	if !s.Expires.IsZero() {
		e.Expires = s.Expires
	}
	if !e.deliverable() {
		e.Payload = nil
	}
	return e
}

// deliverable tells whether the payload may still be needed.
func (e Entry) deliverable() bool { return e.Status == Waiting || e.Status == Dead }

// replaceable tells whether a new request takes the place of an entry with its
// id: one that was given up may be asked for again.
func (e Entry) replaceable() bool { return e.Status == Dead || e.Status == Dropped }

func (e Entry) encode() ([]byte, error) { return json.Marshal(e) }

func decodeEntry(data, payload []byte) (Entry, error) {
	var e Entry
	err := json.Unmarshal(data, &e)
	e.Payload = payload
	return e, err
}
