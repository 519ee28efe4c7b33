package token_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

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
		"html":           body("text/html", "<html>login</html>"),
		"empty keys":     body("application/json", `{"keys":[]}`),
		"keys null":      body("application/json", `{"keys":null}`),
		"no keys":        body("application/json", `{}`),
		"keys twice":     body("application/json", `{"keys":[],"keys":[]}`),
		"truncated":      body("application/json", `{"keys":[{"kty":"EC"`),
		"symmetric only": body("application/json", `{"keys":[{"kty":"oct","k":"AAAA","kid":"key-1"}]}`),
		"10 MB":          body("application/json", huge),
		"500":            func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"204":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"nothing":        body("application/json", ""),
		"redirect off host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/keys", http.StatusFound)
		},
		"redirect to link-local": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		},
		"redirect loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, tokentest.KeysPath, http.StatusFound)
		},
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
