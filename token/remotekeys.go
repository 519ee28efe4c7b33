package token

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// remoteKeys are the keys of an issuer on the network. Their life by age:
//
//	up to RefreshAfter   used
//	up to MaxAge         used; fetched again in the background
//	up to MaxStale       fetched first; if that failed, used while retries go on
//	beyond               fetched first; if that failed, refused
//
// At most one fetch is under way. It is no x/sync/singleflight, because whether
// one is under way decides what an unknown kid may cause, under the same lock.
type remoteKeys struct {
	cache  *KeyCache
	remote remote
	client *http.Client

	mu         sync.RWMutex
	flight     *flight
	set        *KeySet
	fetchedAt  time.Time
	refreshAt  time.Time
	failures   int
	lastError  error
	retryAt    time.Time // no fetch before, after failures
	unknownAt  time.Time // when a fetch was last caused by an unknown kid
	generation uint64
	// fetched and failed count the fetches that have ended.
	fetched, failed uint64
}

// flight is a fetch under way. err is set before done is closed.
type flight struct {
	done chan struct{}
	err  error
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *remoteKeys) current(ctx context.Context) (*KeySet, error) {
	o := &k.cache.options
	now := o.Now()
	k.mu.RLock()
	set, due := k.set, !now.Before(k.refreshAt)
	k.mu.RUnlock()
	if set != nil && !due {
		return set, nil
	}

	k.mu.Lock()
	age := now.Sub(k.fetchedAt)
	if now.Before(k.retryAt) {
		defer k.mu.Unlock()
		return k.stale(age)
	}
	f := k.startLocked()
	usable := k.set != nil && (age < o.MaxAge || k.failures > 0 && age < o.MaxStale)
	set = k.set
	k.mu.Unlock()
	if usable {
		return set, nil
	}
	err := f.wait(ctx)
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err != nil {
		return k.stale(age)
	}
	return k.set, nil
}

// stale decides what holds when no fetch succeeds: bounded use of what is there,
// then nothing. The lock is held.
func (k *remoteKeys) stale(age time.Duration) (*KeySet, error) {
	if k.set != nil && age < k.cache.options.MaxStale {
		return k.set, nil
	}
	return nil, k.unavailable()
}

func (k *remoteKeys) unavailable() error {
	cause := k.lastError
	if cause == nil {
		cause = errors.New("the fetch did not end in time")
	}
	return unavailable(ReasonKeysUnavailable, "the issuer's keys can't be fetched, so its tokens can't be verified; try again shortly", ErrKeysUnavailable, cause)
}

// newer fetches at most once a cool-down, however many tokens with made-up key
// ids come. A caller that meets a fetch under way waits for it; if that one
// began too early to see the new key, the caller may cause one more.
func (k *remoteKeys) newer(ctx context.Context, than *KeySet) (*KeySet, error) {
	o := &k.cache.options
	for joined := true; joined; {
		now := o.Now()
		k.mu.Lock()
		f := k.flight
		joined = f != nil
		switch {
		case k.set != than:
			defer k.mu.Unlock()
			return k.set, nil
		case joined:
		case !k.unknownAt.IsZero() && now.Sub(k.unknownAt) < o.UnknownKeyCooldown:
			defer k.mu.Unlock()
			if k.failures > 0 {
				return nil, k.unavailable() // whether the key exists can't be told
			}
			return k.set, nil
		default:
			k.unknownAt = now
			f = k.startLocked()
		}
		k.mu.Unlock()
		if err := f.wait(ctx); err != nil {
			k.mu.RLock()
			defer k.mu.RUnlock()
			return nil, k.unavailable()
		}
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.set, nil
}

// startLocked begins a fetch or gives the one under way. The fetch belongs to
// the cache, not to the request that caused it: that one may give up while
// others wait. The lock is held.
func (k *remoteKeys) startLocked() *flight {
	if k.flight != nil {
		return k.flight
	}
	f := &flight{done: make(chan struct{})}
	if !k.cache.begin() {
		f.err = errors.New("the key cache is closed")
		close(f.done)
		return f
	}
	k.flight = f
	go func() {
		defer k.cache.running.Done()
		ctx, cancel := context.WithTimeout(k.cache.ctx, k.remote.http.withDefaults().Timeout)
		defer cancel()
		set, refused, err := k.fetchSafely(ctx)
		k.done(f, set, refused, err)
	}()
	return f
}

// fetchSafely turns a panic over foreign bytes into a failed fetch: this
// goroutine has no caller that could recover it.
func (k *remoteKeys) fetchSafely(ctx context.Context) (set *KeySet, refused []Refused, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, fmt.Errorf("panic while reading the issuer's keys: %v", p)
		}
	}()
	return k.remote.fetch(ctx, k.client)
}

func (k *remoteKeys) done(f *flight, set *KeySet, refused []Refused, err error) {
	o := &k.cache.options
	now := o.Now()
	log := o.Logger.With("issuer", k.remote.issuer)
	for _, r := range refused {
		log.Warn("a key of the issuer was not let in", "kid", r.KeyID, "why", r.Why)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(f.done)
	k.flight, f.err = nil, err
	if err != nil {
		k.lastError = err
		k.retryAt = now.Add(o.RetryAfter << min(k.failures, 4))
		k.failures++
		k.failed++
		log.Error("the issuer's keys could not be fetched", "error", err, "failures", k.failures)
		return
	}
	k.failures, k.lastError, k.retryAt = 0, nil, time.Time{}
	k.fetched++
	k.fetchedAt = now
	k.refreshAt = now.Add(o.RefreshAfter*3/4 + rand.N(o.RefreshAfter/4+1))
	if k.set == nil || k.set.digest != set.digest {
		k.set = set
		k.generation++
		log.Info("the issuer's keys changed", "keys", set.Len(), "generation", k.generation)
		o.changed(k.remote.issuer, set)
	}
}
