package token

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// CacheOptions bounds the cache of verified tokens that every [Verifier] has.
type CacheOptions struct {
	// MaxEntries is the number of tokens kept. Default 10,000; negative keeps
	// none.
	MaxEntries int
	// MaxAge is how long a token is taken without verifying it again, if it
	// doesn't expire before. Default 5 min.
	MaxAge time.Duration
	// Counters is where it counts. Default: counters of its own. Several caches
	// may count in one place.
	Counters *CacheCounters
}

// CacheCounters counts what caches of verified tokens do.
type CacheCounters struct{ hits, misses, dropped, evictions atomic.Uint64 }

// Stats gives the counts so far.
func (c *CacheCounters) Stats() CacheStats {
	return CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load(), Evictions: c.evictions.Load(), Dropped: c.dropped.Load()}
}

// CacheStats are the counts of a cache of verified tokens since it was made.
type CacheStats struct {
	// Hits are tokens that needed no verification, Misses those that were not
	// there, Evictions those that went because there was no more room.
	Hits, Misses, Evictions uint64
	// Dropped are tokens that were there and no longer held: expired, or
	// verified with keys that are not the issuer's any more.
	Dropped uint64
	// Entries is about how many tokens it holds now.
	Entries int
}

// tokenHash identifies a compact token. The whole token is hashed, signature
// included: two tokens with the same claims are two tokens.
type tokenHash [sha256.Size]byte

func hashToken(compact string) tokenHash {
	var buffer [4 << 10]byte // on the stack: a usual token costs no allocation
	return sha256.Sum256(append(buffer[:0], compact...))
}

// tokenCache belongs to one Verifier, so that a token one configuration takes
// says nothing to another. It holds verified tokens only: a refusal costs one
// verification each time, and an attacker can't fill the cache with them.
type tokenCache struct {
	*CacheCounters
	entries *otter.Cache[tokenHash, cached] // nil: switched off
	maxAge  time.Duration
}

type cached struct {
	token *verified
	until time.Time
}

func newTokenCache(o CacheOptions) (*tokenCache, error) {
	c := &tokenCache{CacheCounters: o.Counters, maxAge: o.MaxAge}
	if c.CacheCounters == nil {
		c.CacheCounters = &CacheCounters{}
	}
	if o.MaxEntries < 0 {
		return c, nil
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 10_000
	}
	setDefault(&c.maxAge, 5*time.Minute)
	var err error
	c.entries, err = otter.New(&otter.Options[tokenHash, cached]{
		MaximumSize: o.MaxEntries,
		// Expiry is decided by the Verifier's clock; this only gives the memory
		// back.
		ExpiryCalculator: otter.ExpiryWriting[tokenHash, cached](c.maxAge),
		OnDeletion: func(e otter.DeletionEvent[tokenHash, cached]) {
			if e.Cause == otter.CauseOverflow {
				c.evictions.Add(1)
			}
		},
	})
	return c, err
}

func (c *tokenCache) put(sum tokenHash, t *verified, now time.Time) {
	if c.entries == nil {
		return
	}
	until := now.Add(c.maxAge)
	if !t.recheckAt.IsZero() && t.recheckAt.Before(until) {
		until = t.recheckAt
	}
	c.entries.Set(sum, cached{token: t, until: until})
}

// cached gives a token that was verified before and still holds: not expired,
// and verified with the very keys that its issuer has now.
func (v *Verifier) cached(ctx context.Context, sum tokenHash, now time.Time) *verified {
	c := v.cache
	if c.entries == nil {
		return nil
	}
	e, ok := c.entries.GetIfPresent(sum)
	if !ok {
		c.misses.Add(1)
		return nil
	}
	t := e.token
	if now.Before(e.until) && now.Before(t.expiry.Add(t.state.leeway)) {
		if t.keys == nil { // introspected: no keys to change
			c.hits.Add(1)
			return t
		}
		if keys, err := t.state.keys.current(ctx); err == nil && keys == t.keys {
			c.hits.Add(1)
			return t
		}
	}
	c.dropped.Add(1)
	c.entries.Invalidate(sum)
	return nil
}

// CacheStats tells how the cache of verified tokens does: the counts are those
// of its Counters.
func (v *Verifier) CacheStats() CacheStats {
	s := v.cache.Stats()
	if v.cache.entries != nil {
		s.Entries = v.cache.entries.EstimatedSize()
	}
	return s
}
