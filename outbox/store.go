package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// Errors of a [Store]. Any other means that the store can't be used now.
var (
	// ErrFull: the disk is full, or as many entries wait as may.
	ErrFull = errors.New("the outbox is full")
	// ErrUnknown: there is no such entry.
	ErrUnknown = errors.New("no such entry in the outbox")
	// ErrChanged: the entry isn't in the status that it was thought to be in.
	ErrChanged = errors.New("the entry's status is another one")
	// ErrOther: the entry's id belongs to one that asks for something else.
	ErrOther = errors.New("the entry's id belongs to another request")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("the outbox is closed")
)

var errForgetsWaiting = errors.New("outbox: what waits isn't forgotten")

// Store keeps entries where they outlive the process. It is safe for
// concurrent use, by several processes too.
type Store interface {
	// Add takes a waiting entry; once it has returned, the entry is on the
	// disk. Where the entry's id is known it returns the one that is held, and
	// false; one that is dead or dropped is replaced by the new one.
	Add(ctx context.Context, e Entry) (held Entry, added bool, err error)
	// Entry finds one, with its payload.
	Entry(ctx context.Context, id uuid.UUID) (Entry, error)
	// List gives the oldest entries of a status, without their payloads.
	List(ctx context.Context, status Status, limit int) ([]Entry, error)
	// Waits tells whether an entry of the queue waits.
	Waits(ctx context.Context, server, queue string) (bool, error)
	// Heads gives the oldest waiting entry of each of a server's queues, those
	// that have waited longest first.
	Heads(ctx context.Context, server string, limit int) ([]Entry, error)
	// Settle changes the status of an entry that is in the status from. One
	// that waits again does so at its queue's end.
	Settle(ctx context.Context, id uuid.UUID, from Status, s Settlement) error
	// Forget removes the entries of a status that were settled before a time,
	// and the oldest of those beyond the newest so many.
	Forget(ctx context.Context, status Status, before time.Time, newest int) (int, error)

	// Lead waits until nobody else delivers to the server. The context that it
	// returns ends when somebody else may. The caller releases it.
	Lead(ctx context.Context, server string) (leading context.Context, release func(), err error)

	// Keep puts something small beside the entries, and Kept gives it back:
	// nil where there is none. It is what a new process needs to know of a
	// server that is away.
	Keep(ctx context.Context, name string, value []byte) error
	Kept(ctx context.Context, name string) ([]byte, error)

	Close() error
}

// Limits bound what waits in a store.
type Limits struct {
	// MaxWaiting is how many entries may wait. Default: 10,000.
	MaxWaiting int
	// MaxWaitingPerQueue is how many of one queue may. Default: 1,000.
	MaxWaitingPerQueue int
}

// SetDefaults fills in what is not given.
func (l *Limits) SetDefaults() {
	if l.MaxWaiting <= 0 {
		l.MaxWaiting = 10_000
	}
	if l.MaxWaitingPerQueue <= 0 {
		l.MaxWaitingPerQueue = 1_000
	}
}
