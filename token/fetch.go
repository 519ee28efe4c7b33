package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// HTTPOptions limits what is fetched from an issuer: discovery, key set and
// introspection. The zero value is safe.
type HTTPOptions struct {
	// Timeout is for one fetch, redirects and body included. Default 5 s, at
	// most 30 s.
	Timeout time.Duration
	// MaxBytes is the longest body that is read. Default 1 MiB.
	MaxBytes int64
	// CAFile is a PEM file with the certificate authorities to trust instead of
	// the system's. It is read once, when the issuer is first configured.
	CAFile string
	// InsecureAllowHTTP takes plain http for addresses other than loopback.
	// Danger: whoever is on the way can hand us keys of their own and so be
	// anybody.
	InsecureAllowHTTP bool
}

const (
	defaultFetchTimeout = 5 * time.Second
	maxFetchTimeout     = 30 * time.Second
	defaultMaxBytes     = 1 << 20
	maxRedirects        = 3
)

var (
	errLinkLocal   = errors.New("address is link-local, multicast or unspecified: refused, since cloud metadata services live there")
	errBodyTooLong = errors.New("body is longer than allowed")
	errRedirect    = errors.New("redirect refused: only to the same host, and never from https to http")
)

// statusError is an answer other than 200. Its body is never read.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("answered %d", e.status) }

// newFetchClient makes an HTTP client that reaches only what checkURL allows,
// for as long and as much as the options say. It takes no proxy from the
// environment: Kong gives its plugins none.
func newFetchClient(o HTTPOptions) (*http.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, _, err := smallfile.Read(o.CAFile, defaultMaxBytes)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca_file: holds no certificate in PEM")
		}
	}
	o = o.withDefaults()
	dialer := &net.Dialer{Timeout: o.Timeout, Control: refuseLinkLocal}
	return &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: checkRedirect,
		Transport: &limitedTransport{
			options: o,
			base: &http.Transport{
				DialContext:            dialer.DialContext,
				TLSClientConfig:        tlsConfig,
				TLSHandshakeTimeout:    o.Timeout,
				ForceAttemptHTTP2:      true,
				MaxIdleConnsPerHost:    4,
				MaxConnsPerHost:        32,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
		},
	}, nil
}

func (o HTTPOptions) withDefaults() HTTPOptions {
	if o.Timeout <= 0 {
		o.Timeout = defaultFetchTimeout
	}
	o.Timeout = min(o.Timeout, maxFetchTimeout)
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	return o
}

// refuseLinkLocal looks at the address that is really dialled, after name
// resolution: a name that resolves to a metadata service is refused too.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := ap.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip.WithZone("") == metadataV6 {
		return errLinkLocal
	}
	return nil
}

// metadataV6 is where AWS serves instance credentials over IPv6: a unique local
// address, not a link-local one.
var metadataV6 = netip.MustParseAddr("fd00:ec2::254")

func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > maxRedirects || req.URL.Host != first.Host {
		return errRedirect
	}
	if req.URL.Scheme != first.Scheme && req.URL.Scheme != "https" {
		return errRedirect
	}
	return nil
}

// limitedTransport checks every address on the way, redirects included, turns
// answers other than 200 into errors and cuts long bodies off.
type limitedTransport struct {
	options HTTPOptions
	base    *http.Transport
}

func (t *limitedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkScheme(req.URL, t.options.InsecureAllowHTTP); err != nil {
		return nil, err
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.Header.Get("Location") != "" {
		return resp, nil // the client follows it, or checkRedirect stops it
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, &statusError{resp.StatusCode}
	}
	if resp.ContentLength > t.options.MaxBytes {
		resp.Body.Close()
		return nil, errBodyTooLong
	}
	resp.Body = &limitedBody{body: resp.Body, left: t.options.MaxBytes}
	return resp, nil
}

// limitedBody fails at the limit instead of pretending that the body ends there.
type limitedBody struct {
	body io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errBodyTooLong
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errBodyTooLong
	}
	return n, err
}

func (b *limitedBody) Close() error { return b.body.Close() }

// get fetches one document.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}
