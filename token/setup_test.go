package token_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// setup is a verifier and the issuer it trusts.
type setup struct {
	issuer   *tokentest.Issuer
	clock    *clock
	keys     *token.KeyCache
	options  token.Options
	verifier *token.Verifier
}

type change func(*token.Issuer, *token.Options)

func newSetup(t testing.TB, changes ...change) *setup {
	t.Helper()
	return newSetupFor(t, tokentest.New(t, "ES256"), token.KeyCacheOptions{}, changes...)
}

func newSetupFor(t testing.TB, issuer *tokentest.Issuer, ko token.KeyCacheOptions, changes ...change) *setup {
	t.Helper()
	s := &setup{issuer: issuer, clock: newClock()}
	issuer.Now = s.clock.Now
	ko.Now = s.clock.Now
	s.keys = token.NewKeyCache(ko)
	t.Cleanup(s.keys.Close)
	i := token.Issuer{URL: issuer.URL, Audiences: []string{tokentest.Audience}}
	s.options = token.Options{Keys: s.keys, Now: s.clock.Now}
	for _, c := range changes {
		c(&i, &s.options)
	}
	s.options.Issuers = append([]token.Issuer{i}, s.options.Issuers...)
	v, err := token.NewVerifier(s.options)
	require.NoError(t, err)
	s.verifier = v
	return s
}

func (s *setup) verify(compact string) (token.Verified, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.verifier.Verify(ctx, compact)
}

// accepts and refuses verify twice: what a cache holds must not change it.
func (s *setup) accepts(t testing.TB, compact string) token.Verified {
	t.Helper()
	_, err := s.verify(compact)
	require.NoError(t, err)
	v, err := s.verify(compact)
	require.NoError(t, err)
	return v
}

func (s *setup) refuses(t testing.TB, reason, compact string) *token.Error {
	t.Helper()
	for range 2 {
		_, err := s.verify(compact)
		requireReason(t, reason, err)
	}
	_, err := s.verify(compact)
	var e *token.Error
	require.ErrorAs(t, err, &e)
	return e
}

func requireReason(t testing.TB, reason string, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, reason, token.ReasonOf(err), "%v", err)
	var e *token.Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Detail)
}
