package token_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

func TestStormOfUnknownKeyIDs(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.accepts(t, s.issuer.Mint(t, nil))
	require.Equal(t, 1, s.issuer.KeyRequests())
	storm := func() {
		var wg sync.WaitGroup
		for n := range 200 {
			compact := s.issuer.MintWith(t, map[string]any{"kid": fmt.Sprintf("made-up-%d", n)}, nil)
			wg.Go(func() {
				_, err := s.verify(compact)
				requireReason(t, token.ReasonKeyUnknown, err)
			})
		}
		wg.Wait()
	}
	storm()
	require.Equal(t, 2, s.issuer.KeyRequests(), "one fetch a cool-down")
	s.clock.Advance(9 * time.Second)
	storm()
	require.Equal(t, 2, s.issuer.KeyRequests())
	s.clock.Advance(2 * time.Second)
	storm()
	require.Equal(t, 3, s.issuer.KeyRequests())
	s.accepts(t, s.issuer.Mint(t, nil))
}

func TestConcurrentFirstRequestsShareOneFetch(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	hold, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.issuer.Fault(tokentest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(entered) })
		<-hold
		writeJSON(w, s.issuer.KeySet())
	})
	compact := s.issuer.Mint(t, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := s.verify(compact)
			require.NoError(t, err)
		})
	}
	<-entered
	close(hold)
	wg.Wait()
	require.Equal(t, 1, s.issuer.KeyRequests())
	require.Equal(t, 1, s.issuer.DiscoveryRequests())
}

func TestAFetchOutlivesTheRequestThatCausedIt(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	hold, entered := make(chan struct{}), make(chan struct{}, 1)
	s.issuer.Fault(tokentest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-hold
		writeJSON(w, s.issuer.KeySet())
	})
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	compact := s.issuer.Mint(t, nil)
	go func() {
		_, err := s.verifier.Verify(ctx, compact)
		gone <- err
	}()
	<-entered
	cancel()
	require.ErrorIs(t, <-gone, token.ErrKeysUnavailable)
	close(hold)
	s.accepts(t, compact)
	require.Equal(t, 1, s.issuer.KeyRequests())
}

func TestRotationWithOverlap(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	old := s.issuer.Mint(t, nil)
	s.accepts(t, old)
	s.issuer.Rotate(t, true)
	s.accepts(t, s.issuer.Mint(t, nil))
	s.accepts(t, old)
	require.Equal(t, 2, s.issuer.KeyRequests())
}

func TestChangesOfKeysAreTold(t *testing.T) {
	t.Parallel()
	var told []token.KeyChange
	s := newSetupFor(t, tokentest.New(t, "ES256"), token.KeyCacheOptions{OnChange: func(c token.KeyChange) { told = append(told, c) }})
	s.accepts(t, s.issuer.Mint(t, nil))
	s.issuer.Rotate(t, true)
	s.accepts(t, s.issuer.Mint(t, nil))
	s.clock.Advance(time.Hour)
	s.accepts(t, s.issuer.Mint(t, nil)) // fetched again, the same
	require.Len(t, told, 2)
	require.Equal(t, s.issuer.URL, told[1].Source)
	require.Equal(t, []int{1, 2}, []int{told[0].Keys, told[1].Keys})
	require.Len(t, told[1].KeyIDs, 2)
	require.NotEqual(t, told[0].Digest, told[1].Digest)
}

func TestRotationWithoutOverlap(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	old := s.issuer.Mint(t, nil)
	s.accepts(t, old)
	s.issuer.Rotate(t, false)
	s.accepts(t, s.issuer.Mint(t, nil))
	s.refuses(t, token.ReasonKeyUnknown, old) // although it was cached
	require.Positive(t, s.verifier.CacheStats().Dropped)
}

func TestRotationWithoutKeyIDs(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	noKID := map[string]any{"kid": tokentest.Absent}
	s.accepts(t, s.issuer.MintWith(t, noKID, nil))
	s.issuer.Rotate(t, false)
	s.accepts(t, s.issuer.MintWith(t, noKID, nil))
}

// No good request may be refused while keys rotate under load.
func TestRotationWhileRequestsRun(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.accepts(t, s.issuer.Mint(t, nil))
	for range 5 {
		s.clock.Advance(11 * time.Second)
		var wg sync.WaitGroup
		s.issuer.Rotate(t, true)
		for range 20 {
			wg.Go(func() {
				_, err := s.verify(s.issuer.Mint(t, nil))
				require.NoError(t, err)
			})
		}
		wg.Wait()
	}
}

func TestRemovedKeyIsRefusedAfterTheCachesAge(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	old := s.issuer.Mint(t, map[string]any{"exp": s.clock.Now().Add(time.Hour).Unix()})
	s.accepts(t, old)
	s.issuer.Rotate(t, false)
	s.accepts(t, old) // nobody asked about a new key yet
	s.clock.Advance(10*time.Minute + time.Second)
	s.refuses(t, token.ReasonKeyUnknown, old)
}

func TestRefreshInTheBackground(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	compact := s.issuer.Mint(t, map[string]any{"exp": s.clock.Now().Add(time.Hour).Unix()})
	s.accepts(t, compact)
	s.clock.Advance(3*time.Minute + 44*time.Second)
	s.accepts(t, compact)
	require.Equal(t, 1, s.issuer.KeyRequests(), "no refresh before three quarters of the age")
	hold := make(chan struct{})
	s.issuer.Fault(tokentest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		writeJSON(w, s.issuer.KeySet())
	})
	s.clock.Advance(90 * time.Second)
	s.accepts(t, compact) // doesn't wait for the fetch that is held
	require.Eventually(t, func() bool { return s.issuer.KeyRequests() == 2 }, 5*time.Second, time.Millisecond)
	close(hold)
}

func TestIssuerDownStaleThenClosedThenRecovered(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	compact := s.issuer.Mint(t, map[string]any{"exp": s.clock.Now().Add(10 * time.Hour).Unix()})
	s.accepts(t, compact)
	s.issuer.Down()
	for s.clock.Advance(6 * time.Minute); s.clock.Now().Before(time.Unix(1_800_000_000, 0).Add(time.Hour)); s.clock.Advance(6 * time.Minute) {
		s.accepts(t, compact) // stale, within bounds
	}
	s.clock.Advance(time.Minute)
	require.Eventually(t, func() bool {
		_, err := s.verify(compact)
		return errors.Is(err, token.ErrKeysUnavailable)
	}, 5*time.Second, time.Millisecond)
	_, err := s.verify(s.issuer.Mint(t, nil))
	requireReason(t, token.ReasonKeysUnavailable, err)
	s.issuer.Up()
	s.clock.Advance(20 * time.Second)
	s.accepts(t, compact)
}

// Keys that are old and can't be had anew go on being used, and no request waits for each further try; the tries
// become rare.
func TestTriesWhileTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	compact := s.issuer.Mint(t, map[string]any{"exp": s.clock.Now().Add(10 * time.Hour).Unix()})
	s.accepts(t, compact)
	failing := func() int { return s.keys.Stats()[0].Failing }
	tried := func(n int) {
		require.Eventually(t, func() bool { return failing() == n }, 10*time.Second, time.Millisecond)
	}
	s.issuer.Down()
	s.clock.Advance(11 * time.Minute)
	s.accepts(t, compact)
	tried(1)
	for n, wait := range []time.Duration{1, 2, 4, 8, 16, 16} {
		s.clock.Advance(wait*time.Second - time.Millisecond)
		s.accepts(t, compact)
		require.Equal(t, n+1, failing(), "the next try has its time")
		s.clock.Advance(time.Millisecond)
		s.accepts(t, compact)
		tried(n + 2)
	}

	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	s.issuer.Fault(tokentest.DiscoveryPath, func(http.ResponseWriter, *http.Request) { <-hold })
	s.clock.Advance(time.Minute)
	before := failing()
	s.accepts(t, compact)
	require.Equal(t, before, failing(), "taken while the try was still under way")
}

func TestUnknownKeyWhileTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.accepts(t, s.issuer.Mint(t, nil))
	s.issuer.Rotate(t, true)
	s.issuer.Down()
	for range 3 { // whether the key exists can't be known: 503, not 401
		_, err := s.verify(s.issuer.Mint(t, nil))
		requireReason(t, token.ReasonKeysUnavailable, err)
	}
	s.issuer.Up()
	s.clock.Advance(11 * time.Second)
	s.accepts(t, s.issuer.Mint(t, nil))
}

func TestVerifiersShareKeys(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	compact := s.issuer.Mint(t, nil)
	for range 10 {
		v, err := token.NewVerifier(s.options)
		require.NoError(t, err)
		_, err = v.Verify(context.Background(), compact)
		require.NoError(t, err)
	}
	require.Equal(t, 1, s.issuer.KeyRequests())
}

func TestClosedKeyCache(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.keys.Close()
	s.keys.Close()
	_, err := s.verify(s.issuer.Mint(t, nil))
	requireReason(t, token.ReasonKeysUnavailable, err)
}

func TestStaticKeysFromAFile(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"jwks", "pem"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			issuer := tokentest.New(t, "ES256")
			path := filepath.Join(t.TempDir(), "keys")
			write := func(k *tokentest.Key) {
				der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
				require.NoError(t, err)
				data := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
				if form == "jwks" {
					data = mustJSON(t, map[string]any{"keys": []any{k.JWK()}})
				}
				require.NoError(t, os.WriteFile(path+".new", data, 0o600))
				require.NoError(t, os.Rename(path+".new", path))
			}
			write(issuer.Key())
			s := newSetupFor(t, issuer, token.KeyCacheOptions{}, func(i *token.Issuer, _ *token.Options) {
				if i.JWKSFile = path; form == "pem" {
					i.JWKSFile, i.PEMFile = "", path
				}
			})
			old := issuer.Mint(t, map[string]any{"exp": s.clock.Now().Add(5 * time.Hour).Unix()})
			s.accepts(t, old)
			write(issuer.Rotate(t, false))
			s.clock.Advance(time.Second)
			s.accepts(t, issuer.Mint(t, nil))
			_, err := s.verify(old)
			require.Error(t, err)
			require.Contains(t, []string{token.ReasonKeyUnknown, token.ReasonSignature}, token.ReasonOf(err))
			require.Zero(t, issuer.DiscoveryRequests()+issuer.KeyRequests())

			require.NoError(t, os.WriteFile(path, []byte("half a fi"), 0o600))
			s.clock.Advance(time.Second)
			s.accepts(t, issuer.Mint(t, nil)) // the last good version, for a time
			s.clock.Advance(2 * time.Hour)
			_, err = s.verify(issuer.Mint(t, nil))
			requireReason(t, token.ReasonKeysUnavailable, err)
			write(issuer.Key())
			s.clock.Advance(time.Second)
			s.accepts(t, issuer.Mint(t, nil))
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.JWKSFile = "/nowhere/keys.json" })
		_, err := s.verify(s.issuer.Mint(t, nil))
		requireReason(t, token.ReasonKeysUnavailable, err)
	})
}

func TestAClockThatIsSetBackPutsNoFileOff(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	path := filepath.Join(t.TempDir(), "keys.json")
	write := func() { require.NoError(t, os.WriteFile(path, mustJSON(t, issuer.KeySet()), 0o600)) }
	write()
	s := newSetupFor(t, issuer, token.KeyCacheOptions{}, func(i *token.Issuer, _ *token.Options) { i.JWKSFile = path })
	s.accepts(t, issuer.Mint(t, nil))
	s.clock.Advance(-time.Hour)
	issuer.Rotate(t, false)
	write()
	s.accepts(t, issuer.Mint(t, nil))
}

func TestNewVerifierNamesEveryProblem(t *testing.T) {
	t.Parallel()
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	defer keys.Close()
	_, err := token.NewVerifier(token.Options{Keys: keys, Issuers: []token.Issuer{
		{URL: "http://idp.example.com", Algorithms: []string{"HS256", "none"}, Leeway: time.Hour},
		{URL: "https://a@idp.example.com#x", Audiences: []string{""}, JWKSURL: "ftp://x", JWKSFile: "f", MaxLifetime: -1},
		{URL: "https://idp.example.com", Audiences: []string{"a"}},
		{URL: "https://idp.example.com", Audiences: []string{"b"}},
		{URL: "", Audiences: []string{"a"}, Introspection: &token.Introspection{URL: "https://idp.example.com/i"}},
		{URL: "https://ca.example.com", Audiences: []string{"a"}, HTTP: token.HTTPOptions{CAFile: "/nowhere"}},
	}})
	require.Error(t, err)
	for _, part := range []string{
		"issuers[1].issuer: must be https", "issuers[1].audiences", `issuers[1].algorithms: "HS256"`, `issuers[1].algorithms: "none"`,
		"issuers[1].leeway_seconds", "issuers[2].issuer: must not hold a user name", "issuers[2].audiences", "issuers[2].jwks_url", "issuers[2].issuer: only one",
		"issuers[2].max_lifetime_seconds", "issuers[4].issuer: the same issuer", "issuers[5].issuer: is required",
		"issuers[5].introspection.client_id", "issuers[5].introspection.client_secret", "issuers[6].ca_file",
	} {
		require.ErrorContains(t, err, part)
	}
	_, err = token.NewVerifier(token.Options{Keys: keys})
	require.ErrorContains(t, err, "issuers: at least one")
	_, err = token.NewVerifier(token.Options{})
	require.ErrorContains(t, err, "keys:")
}

// The address counts that is dialled, not the one that was named.
