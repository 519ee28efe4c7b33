package plugin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func newTestArrivals(t *testing.T, c IdentityConfig) *arrivals {
	t.Helper()
	a, err := newArrivals(c)
	require.NoError(t, err)
	return a
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	behindProxy := []string{"https://api.example.com", "https://b.example.com:8443"}
	for name, c := range map[string]struct {
		origins           []string
		scheme, host, uri string
		want              string
	}{
		"as it reached Kong":           {nil, "http", "api.example.com", "/run?x=1", "http://api.example.com/run?x=1"},
		"behind a proxy":               {behindProxy, "http", "api.example.com", "/run", "https://api.example.com/run"},
		"host in another case":         {behindProxy, "http", "API.example.com", "/run", "https://api.example.com/run"},
		"second origin":                {behindProxy, "http", "b.example.com:8443", "/run", "https://b.example.com:8443/run"},
		"a host that isn't ours":       {behindProxy, "https", "evil.example", "/run", ""},
		"our host, another port":       {behindProxy, "https", "api.example.com:444", "/run", ""},
		"no host":                      {nil, "http", "", "/run", ""},
		"absolute form":                {nil, "http", "a", "http://evil.example/run", ""},
		"two slashes name no host":     {behindProxy, "http", "api.example.com", "//evil.example/run", "https://api.example.com//evil.example/run"},
		"an at sign is part of a path": {behindProxy, "http", "api.example.com", "/@evil.example/run", "https://api.example.com/@evil.example/run"},
	} {
		a := newTestArrivals(t, IdentityConfig{PublicOrigins: c.origins})
		require.Equal(t, c.want, a.publicURL(c.scheme, c.host, c.uri), name)
	}
}

func TestCookieOfAnotherSite(t *testing.T) {
	t.Parallel()
	a := newTestArrivals(t, IdentityConfig{PublicOrigins: []string{"https://app.example.com"}})
	for name, c := range map[string]struct {
		method  string
		headers map[string][]string
		refused bool
	}{
		"no browser":                       {"POST", nil, false},
		"same origin":                      {"POST", map[string][]string{"sec-fetch-site": {"same-origin"}}, false},
		"typed into the address bar":       {"POST", map[string][]string{"sec-fetch-site": {"none"}}, false},
		"cross site":                       {"POST", map[string][]string{"sec-fetch-site": {"cross-site"}}, true},
		"same site, other host":            {"POST", map[string][]string{"sec-fetch-site": {"same-site"}}, true},
		"cross site read":                  {"GET", map[string][]string{"sec-fetch-site": {"cross-site"}}, false},
		"cross site delete":                {"DELETE", map[string][]string{"sec-fetch-site": {"cross-site"}}, true},
		"cross site websocket":             {"GET", map[string][]string{"sec-fetch-site": {"cross-site"}, "upgrade": {"websocket"}}, true},
		"own websocket":                    {"GET", map[string][]string{"sec-fetch-site": {"same-origin"}, "upgrade": {"websocket"}}, false},
		"origin alone, another":            {"POST", map[string][]string{"origin": {"https://evil.example"}}, true},
		"origin alone, ours":               {"POST", map[string][]string{"origin": {"https://api.example.com"}}, false},
		"origin null":                      {"POST", map[string][]string{"origin": {"null"}}, true},
		"cross site, but a public origin":  {"POST", map[string][]string{"sec-fetch-site": {"cross-site"}, "origin": {"https://app.example.com"}}, false},
		"origin that begins like ours":     {"POST", map[string][]string{"origin": {"https://api.example.com.evil.example"}}, true},
		"made-up method":                   {"X", map[string][]string{"sec-fetch-site": {"cross-site"}}, true},
		"override by header doesn't count": {"POST", map[string][]string{"sec-fetch-site": {"cross-site"}, "x-http-method-override": {"GET"}}, true},
	} {
		require.Equal(t, c.refused, a.isCrossSite(c.method, "api.example.com", c.headers), name)
	}
}

// certificate is a certificate in DER, and its SHA-256 in base64url.
func testCertificate(t *testing.T) (der []byte, thumbprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	sum := sha256.Sum256(der)
	return der, base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestCertificateInAHeader(t *testing.T) {
	t.Parallel()
	der, thumbprint := testCertificate(t)
	asPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	sum := sha256.Sum256(der)
	for name, c := range map[string]struct{ format, value, want string }{
		"RFC 9440":                   {"rfc9440", ":" + base64.StdEncoding.EncodeToString(der) + ":", thumbprint},
		"RFC 9440, open":             {"rfc9440", base64.StdEncoding.EncodeToString(der), ""},
		"RFC 9440, url-safe":         {"rfc9440", ":" + base64.URLEncoding.EncodeToString(der) + "_:", ""},
		"RFC 9440, no certificate":   {"rfc9440", ":AAAA:", ""},
		"RFC 9440, more behind it":   {"rfc9440", ":" + base64.StdEncoding.EncodeToString(append(der, 0)) + ":", ""},
		"RFC 9440, empty":            {"rfc9440", "", ""},
		"nginx":                      {"pem_urlencoded", url.PathEscape(asPEM), thumbprint},
		"AWS, which leaves + / =":    {"pem_urlencoded", strings.NewReplacer("%2B", "+", "%2F", "/", "%3D", "=").Replace(url.PathEscape(asPEM)), thumbprint},
		"PEM of a key":               {"pem_urlencoded", url.PathEscape(strings.ReplaceAll(asPEM, "CERTIFICATE", "PUBLIC KEY")), ""},
		"PEM, wrongly encoded":       {"pem_urlencoded", "%zz", ""},
		"SHA-256 in hex":             {"sha256", hex.EncodeToString(sum[:]), hex.EncodeToString(sum[:])},
		"SHA-256 in base64url":       {"sha256", thumbprint, thumbprint},
		"SHA-1":                      {"sha256", strings.Repeat("a", 40), ""},
		"another format than is set": {"rfc9440", thumbprint, ""},
	} {
		s, err := newCertificateSource(ClientCertificateConfig{
			From: "header", Header: "Client-Cert", HeaderFormat: c.format, TrustedProxies: []string{"10.0.0.0/8"},
		})
		require.NoError(t, err)
		got, err := s.parse(c.value)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.want == "", err != nil, name)
	}
}

func TestCertificateOfTheConnection(t *testing.T) {
	t.Parallel()
	der, thumbprint := testCertificate(t)
	got, err := pemThumbprint(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	require.NoError(t, err)
	require.Equal(t, thumbprint, got)
	_, err = pemThumbprint("no certificate")
	require.Error(t, err)
}

func TestHeaderOfACertificateCountsFromItsProxiesAlone(t *testing.T) {
	t.Parallel()
	s, err := newCertificateSource(ClientCertificateConfig{
		From: "header", Header: "client-cert", TrustedProxies: []string{"10.1.0.0/16", "192.0.2.7", "2001:db8::/32"},
	})
	require.NoError(t, err)
	for peer, want := range map[string]bool{
		"10.1.2.3": true, "192.0.2.7": true, "2001:db8::1": true, "::ffff:10.1.2.3": true,
		"10.2.0.1": false, "192.0.2.8": false, "2001:db9::1": false, "127.0.0.1": false, "unix:": false, "": false, "10.1.2.3:80": false,
	} {
		require.Equal(t, want, s.trusts(peer), peer)
	}
}

func TestChallengeOfADPoPToken(t *testing.T) {
	t.Parallel()
	challengeOf := func(p *Problem) string {
		for _, h := range p.Answer("r").Headers {
			if h.Name == "WWW-Authenticate" {
				return h.Values[0]
			}
		}
		return ""
	}
	require.Regexp(t, `^DPoP realm="r", error="invalid_dpop_proof", error_description="[^"]+", algs="RS256 [A-Za-z0-9 ]+"$`,
		challengeOf(&Problem{Code: "proof_replayed", DPoP: true}))
	require.Regexp(t, `^DPoP realm="r", error="invalid_token", .*algs="`, challengeOf(&Problem{Code: "token_expired", DPoP: true}))
	require.Regexp(t, `^Bearer realm="r", error="invalid_token"`, challengeOf(&Problem{Code: "proof_missing"}))
}
