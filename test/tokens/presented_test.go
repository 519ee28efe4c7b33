package tokens

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// newFront is the proxy that operators put before Kong: it ends TLS, asks for a certificate without asking who signed
// it (RFC 8705, section 3), and writes it into Client-Cert (RFC 9440) in place of what the client sent there.
func newFront() *httptest.Server {
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := url.Parse(s.gateway.URL())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
			p.Out.Header.Del("Client-Cert")
			for _, certificate := range p.In.TLS.PeerCertificates[:min(1, len(p.In.TLS.PeerCertificates))] {
				p.Out.Header.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(certificate.Raw)+":")
			}
		}}
		proxy.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	front.StartTLS()
	return front
}

// holder is somebody with a key of their own and a token that is bound to it.
type holder struct {
	key   *tokentest.Key
	token string
}

func newHolder(t *testing.T) holder {
	t.Helper()
	key := tokentest.NewKey(t, "holder", "ES256")
	return holder{key, forge(t, s.idp, map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint(t)}})}
}

// headers are those of a request with a proof (RFC 9449, section 7.1).
func (h holder) headers(t *testing.T, method, target string, change map[string]any) http.Header {
	t.Helper()
	claims := map[string]any{"htm": method, "htu": target, "iat": time.Now().Unix()}
	maps.Copy(claims, change)
	return http.Header{"Authorization": {"DPoP " + h.token}, "Dpop": {h.key.Proof(t, h.token, nil, claims)}}
}

func TestTokenBoundToAKey(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	target := s.gateway.URL() + "/bound/x"
	send := func(headers http.Header) answer { return call(t, "/bound/x?query=is-not-compared", headers) }

	used := h.headers(t, "POST", target, nil)
	requireTaken(t, send(used), "svc")
	replayed := send(used)
	requireRefused(t, replayed, http.StatusUnauthorized, "proof_replayed")
	require.Regexp(t, `^DPoP realm="kong-prefect", error="invalid_dpop_proof".*algs="`, replayed.header.Get("WWW-Authenticate"))
	requireTaken(t, send(h.headers(t, "POST", target, nil)), "svc")

	thief := newHolder(t)
	thief.token = h.token
	unbound := holder{thief.key, forge(t, s.idp, nil)}
	two := h.headers(t, "POST", target, nil)
	two["Dpop"] = append(two["Dpop"], h.headers(t, "POST", target, nil)["Dpop"]...)
	for name, c := range map[string]struct {
		headers http.Header
		code    string
	}{
		"as a bearer token":         {http.Header{"Authorization": {"Bearer " + h.token}, "Dpop": h.headers(t, "POST", target, nil)["Dpop"]}, "proof_missing"},
		"without a proof":           {http.Header{"Authorization": {"DPoP " + h.token}}, "proof_missing"},
		"with two proofs":           {two, "proof_invalid"},
		"with another's key":        {thief.headers(t, "POST", target, nil), "proof_mismatch"},
		"for another method":        {h.headers(t, "GET", target, nil), "proof_mismatch"},
		"for another path":          {h.headers(t, "POST", s.gateway.URL()+"/bound/y", nil), "proof_mismatch"},
		"for another host":          {h.headers(t, "POST", "http://evil.example/bound/x", nil), "proof_mismatch"},
		"for another token":         {h.headers(t, "POST", target, map[string]any{"ath": "AAAA"}), "proof_mismatch"},
		"an hour old":               {h.headers(t, "POST", target, map[string]any{"iat": time.Now().Add(-time.Hour).Unix()}), "proof_invalid"},
		"a token that isn't bound":  {http.Header{"Authorization": {"Bearer " + unbound.token}}, "token_not_bound"},
		"X-HTTP-Method-Override":    {with(h.headers(t, "GET", target, nil), "X-Http-Method-Override", "GET"), "proof_mismatch"},
		"X-Forwarded-Host and path": {with(h.headers(t, "POST", "http://evil.example/bound/x", nil), "X-Forwarded-Host", "evil.example"), "proof_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRefused(t, send(c.headers), http.StatusUnauthorized, c.code)
		})
	}
}

func with(h http.Header, name, value string) http.Header {
	h.Set(name, value)
	return h
}

// A proof is remembered by the process: another route, with a configuration of its own, knows its id too.
func TestProofIsTakenOnceByTheWholeProcess(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	headers := h.headers(t, "POST", s.gateway.URL()+"/plain", nil)
	requireTaken(t, call(t, "/plain", headers), "svc")
	requireRefused(t, call(t, "/plain", headers), http.StatusUnauthorized, "proof_replayed")
	headers = h.headers(t, "POST", s.gateway.URL()+"/places", nil)
	requireTaken(t, call(t, "/places", headers), "svc")
	one := map[string]any{"jti": "one", "iat": time.Now().Unix()} // the memory goes by id and time
	headers["Dpop"] = h.headers(t, "POST", s.gateway.URL()+"/plain", one)["Dpop"]
	requireTaken(t, call(t, "/plain", headers), "svc")
	headers["Dpop"] = h.headers(t, "POST", s.gateway.URL()+"/places", one)["Dpop"]
	requireRefused(t, call(t, "/places", headers), http.StatusUnauthorized, "proof_replayed")
}

func TestProofBehindAProxyThatEndsTLS(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	client := s.front.Client()
	requireTaken(t, callAt(t, client, "POST", s.front.URL+"/public", h.headers(t, "POST", s.front.URL+"/public", nil)), "svc")
	asKongSeesIt := h.headers(t, "POST", s.gateway.URL()+"/public", nil)
	strange := with(h.headers(t, "POST", "https://evil.example/public", nil), "Host", "evil.example")
	for _, headers := range []http.Header{asKongSeesIt, strange} {
		requireRefused(t, callAt(t, client, "POST", s.front.URL+"/public", headers), http.StatusUnauthorized, "proof_mismatch")
		requireRefused(t, call(t, "/public", headers), http.StatusUnauthorized, "proof_mismatch")
	}
}

func TestTokenBoundToACertificate(t *testing.T) {
	t.Parallel()
	mine, client := newClient(t)
	_, stranger := newClient(t)
	sum := sha256.Sum256(mine)
	token := forge(t, s.idp, map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	address := s.front.URL + "/certificate"
	forged := with(bearer(token), "Client-Cert", ":"+base64.StdEncoding.EncodeToString(mine)+":")

	requireTaken(t, callAt(t, client, "POST", address, bearer(token)), "svc")
	requireRefused(t, callAt(t, stranger, "POST", address, bearer(token)), http.StatusUnauthorized, "proof_mismatch")
	requireRefused(t, callAt(t, stranger, "POST", address, forged), http.StatusUnauthorized, "proof_mismatch")
	requireRefused(t, callAt(t, s.front.Client(), "POST", address, bearer(token)), http.StatusUnauthorized, "proof_missing")
	requireRefused(t, callAt(t, client, "POST", address, bearer(forge(t, s.idp, nil))), http.StatusUnauthorized, "token_not_bound")

	// The header is a client's word where the peer isn't the proxy, or where the connection is to be asked.
	for _, path := range []string{"/certificate-far", "/certificate-connection", "/plain"} {
		requireRefused(t, call(t, path, forged), http.StatusUnauthorized, "proof_missing")
		requireTaken(t, call(t, path, bearer(forge(t, s.idp, nil))), "svc")
	}
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip"} {
		requireRefused(t, call(t, "/certificate-far", with(forged.Clone(), name, "192.0.2.1")), http.StatusUnauthorized, "proof_missing")
	}
}

// newClient is a client with a certificate that nobody signed but itself.
func newClient(t *testing.T) (certificate []byte, client *http.Client) {
	t.Helper()
	key := tokentest.NewKey(t, rand.Text(), "ES256")
	certificate = selfSigned(t, key.Private)
	transport := s.front.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key.Private}}
	t.Cleanup(transport.CloseIdleConnections)
	return certificate, &http.Client{Transport: transport}
}

func TestPlacesOfAToken(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, s.idp, "svc")
	cookie := http.Header{"Cookie": {"a=b; __Host-token=" + token}}
	for name, c := range map[string]struct {
		headers http.Header
		status  int
		code    string
	}{
		"Authorization":               {bearer(token), 200, ""},
		"cookie":                      {cookie, 200, ""},
		"named header":                {http.Header{"X-Token": {token}}, 200, ""},
		"named header with Bearer":    {http.Header{"X-Token": {"Bearer " + token}}, 200, ""},
		"cookie and Authorization":    {with(cookie.Clone(), "Authorization", "Bearer "+token), 400, "token_duplicate"},
		"cookie and named header":     {with(cookie.Clone(), "X-Token", token), 400, "token_duplicate"},
		"the cookie twice":            {http.Header{"Cookie": {"__Host-token=" + token + "; __Host-token=" + token}}, 400, "token_duplicate"},
		"the named header twice":      {http.Header{"X-Token": {token, token}}, 400, "token_duplicate"},
		"another cookie":              {http.Header{"Cookie": {"token=" + token}}, 401, "token_missing"},
		"cookie, from another site":   {with(cookie.Clone(), "Sec-Fetch-Site", "cross-site"), 403, "cross_site_request"},
		"cookie, from another origin": {with(cookie.Clone(), "Origin", "https://evil.example"), 403, "cross_site_request"},
		"cookie, from our own page":   {with(cookie.Clone(), "Sec-Fetch-Site", "same-origin"), 200, ""},
		"header, from another site":   {with(bearer(token), "Sec-Fetch-Site", "cross-site"), 200, ""},
		"another scheme beside it":    {with(cookie.Clone(), "Authorization", "Basic YTpi"), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := call(t, "/places", c.headers)
			if c.code == "" {
				requireTaken(t, a, "svc")
				return
			}
			requireRefused(t, a, c.status, c.code)
		})
	}
	for name, path := range map[string]string{
		"the query": "/places?access_token=" + token, "the query of a plain route": "/plain?access_token=" + token + "&token=" + token,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRefused(t, call(t, path, nil), http.StatusUnauthorized, "token_missing")
		})
	}
	t.Run("a place that isn't configured", func(t *testing.T) {
		t.Parallel()
		requireRefused(t, call(t, "/plain", cookie), http.StatusUnauthorized, "token_missing")
		requireRefused(t, call(t, "/plain", http.Header{"X-Token": {token}}), http.StatusUnauthorized, "token_missing")
	})
}
