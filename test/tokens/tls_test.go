package tokens

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// eachProtocol runs a test over HTTP/1.1 and over HTTP/2, with Kong as the end of TLS.
func eachProtocol(t *testing.T, run func(t *testing.T, client func(certificates ...tls.Certificate) *http.Client)) {
	if !stack.OnKong() {
		t.Skip("SKIPPED: devgateway speaks neither TLS nor HTTP/2: make e2e KONG=kong")
	}
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, func(certificates ...tls.Certificate) *http.Client {
				protocols := &http.Protocols{}
				protocols.SetHTTP1(!h2)
				protocols.SetHTTP2(h2)
				transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{
					InsecureSkipVerify: true, // Kong made its certificate itself
					Certificates:       certificates,
				}}
				t.Cleanup(transport.CloseIdleConnections)
				return &http.Client{Transport: transport}
			})
		})
	}
}

// The proof names the URL with https and the port, as the client knows it.
func TestProofWhereKongEndsTLS(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, client func(...tls.Certificate) *http.Client) {
		c, h := client(), newHolder(t)
		address := s.gateway.TLSURL() + "/bound"
		headers := h.headers(t, "POST", address, nil)
		requireTaken(t, callAt(t, c, "POST", address+"?query=is-not-compared", headers), "svc")
		requireRefused(t, callAt(t, c, "POST", address, headers), http.StatusUnauthorized, "proof_replayed")
		requireRefused(t, callAt(t, c, "POST", address, h.headers(t, "POST", s.gateway.URL()+"/bound", nil)), http.StatusUnauthorized, "proof_mismatch")
	})
}

// The certificate is the connection's own; a header has no say.
func TestCertificateOfTheConnection(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, client func(...tls.Certificate) *http.Client) {
		pair := func(name string) tls.Certificate {
			key := tokentest.NewKey(t, name, "ES256")
			return tls.Certificate{Certificate: [][]byte{selfSigned(t, key.Private)}, PrivateKey: key.Private}
		}
		mine, stranger := pair("mine"), pair("stranger")
		der := mine.Certificate[0]
		sum := sha256.Sum256(der)
		token := forge(t, s.idp, map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
		forged := with(bearer(token), "Client-Cert", ":"+base64.StdEncoding.EncodeToString(der)+":")
		address := s.gateway.TLSURL() + "/certificate-connection"

		requireTaken(t, callAt(t, client(mine), "POST", address, bearer(token)), "svc")
		requireRefused(t, callAt(t, client(stranger), "POST", address, forged), http.StatusUnauthorized, "proof_mismatch")
		requireRefused(t, callAt(t, client(), "POST", address, forged), http.StatusUnauthorized, "proof_missing")
		requireTaken(t, callAt(t, client(), "POST", address, bearer(forge(t, s.idp, nil))), "svc")
	})
}

// HTTP/2 spells every name small, and has no Connection header to name ours in.
func TestSpoofedHeadersWhereKongEndsTLS(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, client func(...tls.Certificate) *http.Client) {
		headers := bearer(forge(t, s.idp, nil))
		for _, name := range []string{"X-Caller-Subject", "x-caller-subject", "X_Caller_Subject", "x_caller-subject", "X-Caller-Roles", "X_CALLER_ROLES"} {
			headers[name] = []string{"root"}
		}
		a := callAt(t, client(), "POST", s.gateway.TLSURL()+"/plain", headers)
		requireTaken(t, a, "svc")
		for name, values := range a.saw {
			require.NotContains(t, values, "root", name)
		}
		two := bearer(forge(t, s.idp, nil))
		two["Authorization"] = append(two["Authorization"], two["Authorization"]...)
		require.Equal(t, http.StatusBadRequest, statusOf(t, client(), s.gateway.TLSURL()+"/plain", two))
	})
}

// statusOf is for answers of nginx itself, which are no problem documents.
func statusOf(t *testing.T, client *http.Client, url string, headers http.Header) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	require.NoError(t, err)
	req.Header = headers
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}
