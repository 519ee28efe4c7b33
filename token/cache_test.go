package token_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
)

func TestCacheHitsMissesAndExpiry(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	compact := s.issuer.Mint(t, map[string]any{"exp": s.clock.Now().Add(2 * time.Minute).Unix()})
	for range 5 {
		_, err := s.verify(compact)
		require.NoError(t, err)
	}
	stats := s.verifier.CacheStats()
	require.Equal(t, uint64(4), stats.Hits)
	require.Equal(t, uint64(1), stats.Misses)
	s.clock.Advance(2*time.Minute + 29*time.Second)
	s.accepts(t, compact) // within the leeway
	s.clock.Advance(time.Second)
	s.refuses(t, token.ReasonExpired, compact)
	require.Equal(t, uint64(1), s.verifier.CacheStats().Dropped)
}

func TestCacheEntriesAge(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.Cache.MaxAge = time.Minute })
	compact := s.issuer.Mint(t, nil)
	s.accepts(t, compact)
	s.clock.Advance(time.Minute)
	s.accepts(t, compact)
	require.Equal(t, uint64(1), s.verifier.CacheStats().Dropped)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.Cache.MaxEntries = 50 })
	for range 500 {
		_, err := s.verify(s.issuer.Mint(t, nil))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		stats := s.verifier.CacheStats()
		return stats.Entries <= 50 && stats.Evictions >= 450
	}, 5*time.Second, time.Millisecond)
}

func TestCacheHoldsNoRefusals(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for range 100 {
		_, err := s.verify(s.issuer.Mint(t, map[string]any{"aud": "other"}))
		require.Error(t, err)
	}
	require.Zero(t, s.verifier.CacheStats().Entries)
}

func TestCachesCountInOnePlace(t *testing.T) {
	t.Parallel()
	var counters token.CacheCounters
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.Cache.Counters = &counters })
	second, err := token.NewVerifier(s.options)
	require.NoError(t, err)
	compact := s.issuer.Mint(t, nil)
	s.accepts(t, compact)
	_, err = second.Verify(t.Context(), compact)
	require.NoError(t, err)
	require.Equal(t, token.CacheStats{Hits: 1, Misses: 2}, counters.Stats())
}

func TestCacheSwitchedOff(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.Cache.MaxEntries = -1 })
	s.accepts(t, s.issuer.Mint(t, nil))
	require.Zero(t, s.verifier.CacheStats())
}

// What one configuration accepted must say nothing to another.
func TestCacheBelongsToOneVerifier(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	compact := s.issuer.Mint(t, nil)
	s.accepts(t, compact)
	s.options.Issuers[0].Audiences = []string{"other"}
	stricter, err := token.NewVerifier(s.options)
	require.NoError(t, err)
	s.verifier = stricter
	s.refuses(t, token.ReasonAudience, compact)
}
