package prefectclient

import (
	"context"
	"sync/atomic"
	"time"
)

// standing is what is known of a client's credential, as a rank: more is
// better. 1: the server took it last. 0: not known. Less: it was refused or
// couldn't be had, and the longer ago the better.
type standing struct{ rank atomic.Int64 }

// judge notes what an attempt says about the credential. A server that failed
// or was away says nothing, and neither does a caller that left.
func (s *standing) judge(ctx context.Context, failed *failure) {
	switch {
	case failed == nil:
		s.rank.Store(1)
	case ctx.Err() == nil && (failed.Reason == ReasonUnauthorized || failed.Reason == ReasonCredentialUnavailable):
		s.rank.Store(-time.Now().UnixNano())
	}
}

// Accepted chooses among clients of one server, oldest first, one whose
// credential it took last. Failing that it is one that wasn't tried yet, then
// the one that was refused the longest ago, so that each has its turn; of equal
// ones the newest. nil: there are no clients.
func Accepted(clients ...*Client) (best *Client) {
	for _, c := range clients {
		if best == nil || c.standing.rank.Load() >= best.standing.rank.Load() {
			best = c
		}
	}
	return best
}
