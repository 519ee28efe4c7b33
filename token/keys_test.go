package token_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

func TestUnusableKeySets(t *testing.T) {
	t.Parallel()
	body := func(contentType, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write([]byte(text))
		}
	}
	huge := `{"keys":[` + strings.Repeat(" ", 10<<20) + `]}`
	for name, fault := range map[string]http.HandlerFunc{
		"html":              body("text/html", "<html>login</html>"),
		"empty keys":        body("application/json", `{"keys":[]}`),
		"keys null":         body("application/json", `{"keys":null}`),
		"no keys":           body("application/json", `{}`),
		"keys twice":        body("application/json", `{"keys":[],"keys":[]}`),
		"truncated":         body("application/json", `{"keys":[{"kty":"EC"`),
		"symmetric only":    body("application/json", `{"keys":[{"kty":"oct","k":"AAAA","kid":"key-1"}]}`),
		"10 MB":             body("application/json", huge),
		"500":               func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) },
		"204":               func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"nothing":           body("application/json", ""),
		"redirect off host": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://example.com/keys", 302) },
		"redirect to link-local": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", 302)
		},
		"redirect loop":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, tokentest.KeysPath, 302) },
		"connection cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.issuer.Fault(tokentest.KeysPath, fault)
			compact := s.issuer.Mint(t, nil)
			_, err := s.verify(compact)
			requireReason(t, token.ReasonKeysUnavailable, err)
			require.ErrorIs(t, err, token.ErrKeysUnavailable)
			var e *token.Error
			require.ErrorAs(t, err, &e)
			require.True(t, e.Temporary())
			asked := s.issuer.KeyRequests()
			for range 20 {
				_, err = s.verify(compact)
				requireReason(t, token.ReasonKeysUnavailable, err)
			}
			require.Equal(t, asked, s.issuer.KeyRequests(), "no fetch for each request while the issuer fails")
			s.issuer.Up()
			s.clock.Advance(2 * time.Second)
			s.accepts(t, compact)
		})
	}
}

func TestSlowKeySet(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.HTTP.Timeout = 50 * time.Millisecond })
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.issuer.Fault(tokentest.KeysPath, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"keys":`))
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	begin := time.Now()
	_, err := s.verify(s.issuer.Mint(t, nil))
	requireReason(t, token.ReasonKeysUnavailable, err)
	require.Less(t, time.Since(begin), 5*time.Second)
}

func TestRedirectOnTheSameHostIsFollowed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.issuer.Fault(tokentest.KeysPath, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			http.Redirect(w, r, tokentest.KeysPath+"?v=2", http.StatusFound)
			return
		}
		writeJSON(w, s.issuer.KeySet())
	})
	s.accepts(t, s.issuer.Mint(t, nil))
}

func TestRedirectFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/keys", http.StatusFound)
	}))
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	s := newSetup(t, func(i *token.Issuer, _ *token.Options) {
		i.JWKSURL, i.HTTP.CAFile = secure.URL, ca
	})
	_, err := s.verify(s.issuer.Mint(t, nil))
	requireReason(t, token.ReasonKeysUnavailable, err)
	require.ErrorContains(t, err, "redirect refused")
	require.False(t, reached.Load())
}

func TestDiscoveryOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]func(url string) map[string]any{
		"issuer differs": func(u string) map[string]any {
			return map[string]any{"issuer": "https://evil.example", "jwks_uri": u + "/keys"}
		},
		"trailing slash": func(u string) map[string]any { return map[string]any{"issuer": u + "/", "jwks_uri": u + "/keys"} },
		"no issuer":      func(u string) map[string]any { return map[string]any{"jwks_uri": u + "/keys"} },
		"no jwks_uri":    func(u string) map[string]any { return map[string]any{"issuer": u} },
		"jwks over http": func(u string) map[string]any { return map[string]any{"issuer": u, "jwks_uri": "http://keys.example/"} },
		"jwks by file":   func(u string) map[string]any { return map[string]any{"issuer": u, "jwks_uri": "file:///etc/passwd"} },
		"jwks link-local": func(u string) map[string]any {
			return map[string]any{"issuer": u, "jwks_uri": "https://169.254.169.254/"}
		},
		"jwks link-local, v6": func(u string) map[string]any { return map[string]any{"issuer": u, "jwks_uri": "https://[fe80::1]/"} },
		"jwks unspecified":    func(u string) map[string]any { return map[string]any{"issuer": u, "jwks_uri": "https://0.0.0.0/"} },
		"jwks with userinfo": func(u string) map[string]any {
			return map[string]any{"issuer": u, "jwks_uri": "https://a:b@keys.example/"}
		},
	} {
		for _, direct := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, discovery_url %v", name, !direct), func(t *testing.T) {
				t.Parallel()
				s := newSetup(t, func(i *token.Issuer, _ *token.Options) {
					if !direct {
						i.DiscoveryURL = i.URL + "/"
					}
				})
				s.issuer.Fault(tokentest.DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, doc(s.issuer.URL)) })
				_, err := s.verify(s.issuer.Mint(t, nil))
				requireReason(t, token.ReasonKeysUnavailable, err)
				require.Zero(t, s.issuer.KeyRequests())
			})
		}
	}
}

func TestDiscoveryAtAnotherAddress(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	public := "https://login.example/realms/acme"
	issuer.Fault(tokentest.DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"issuer": public, "jwks_uri": issuer.URL + tokentest.KeysPath})
	})
	s := newSetupFor(t, issuer, token.KeyCacheOptions{}, func(i *token.Issuer, _ *token.Options) {
		i.URL, i.DiscoveryURL = public, issuer.URL
	})
	s.accepts(t, issuer.Mint(t, map[string]any{"iss": public}))
	s.refuses(t, token.ReasonIssuer, issuer.Mint(t, nil))
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
		"issuers[0].url: must be https", "issuers[0].audiences", `issuers[0].algorithms: "HS256"`, `issuers[0].algorithms: "none"`,
		"issuers[0].leeway", "issuers[1].url: must not hold a user name", "issuers[1].audiences", "issuers[1].jwks_url", "issuers[1].jwks:",
		"issuers[1].max_lifetime", "issuers[3].url: the same issuer", "issuers[4].url: is required", "issuers[4].introspection",
		"issuers[5].ca_file",
	} {
		require.ErrorContains(t, err, part)
	}
	_, err = token.NewVerifier(token.Options{Keys: keys})
	require.ErrorContains(t, err, "issuers: at least one")
	_, err = token.NewVerifier(token.Options{})
	require.ErrorContains(t, err, "keys:")
}

func TestPlainHTTPOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	defer keys.Close()
	for url, good := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://localhost/realms/x": true, "http://[::1]:1": true, "https://idp.example.com/": true,
		"http://10.0.0.1": false, "http://127.0.0.1.evil.example": false, "http://localhost.evil.example": false, "http://idp": false,
	} {
		_, err := token.NewVerifier(token.Options{Keys: keys, Issuers: []token.Issuer{{URL: url, Audiences: []string{"a"}}}})
		require.Equal(t, good, err == nil, url)
		_, err = token.NewVerifier(token.Options{Keys: keys, Issuers: []token.Issuer{
			{URL: url, Audiences: []string{"a"}, HTTP: token.HTTPOptions{InsecureAllowHTTP: true}},
		}})
		require.NoError(t, err, url)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// The address counts that is dialled, not the one that was named.
func TestNamesOfLinkLocalAddressesAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := net.LookupHost("localhost"); err != nil {
		t.Skip("localhost does not resolve here")
	}
	for _, host := range []string{"169.254.169.254", "[fe80::1%25lo]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "224.0.0.1", "0.0.0.0", "[::]"} {
		s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.JWKSURL = "https://" + host + "/keys" })
		_, err := s.verify(s.issuer.Mint(t, nil))
		requireReason(t, token.ReasonKeysUnavailable, err)
		require.ErrorContains(t, err, "link-local", host)
	}
}
