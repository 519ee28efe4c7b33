package plugin

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// certificateSource finds the SHA-256 of the client's certificate: in the TLS
// connection that Kong ended, or in a header, which is believed only from the
// proxies that are configured to write it. The peer is the connection's own,
// not what X-Forwarded-For says of it.
type certificateSource struct {
	read    pluginserver.Read
	header  string // "": from the connection
	format  string
	proxies []netip.Prefix
}

func newCertificateSource(c ClientCertificateConfig) (*certificateSource, error) {
	if c.From != "header" {
		if len(c.TrustedProxies) > 0 {
			return nil, errors.New("client_certificate.trusted_proxies: has no effect unless from is header")
		}
		return &certificateSource{read: pluginserver.ReadVar(varCert)}, nil
	}
	s := &certificateSource{read: pluginserver.ReadVar(varPeer), header: strings.ToLower(c.Header), format: c.HeaderFormat}
	if len(c.TrustedProxies) == 0 {
		return nil, errors.New("client_certificate.trusted_proxies: required where from is header, or any client could name a certificate")
	}
	var problems []error
	for n, text := range c.TrustedProxies {
		prefix, err := parsePrefix(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("client_certificate.trusted_proxies[%d]: must be an address or a CIDR", n+1))
		}
		s.proxies = append(s.proxies, prefix)
	}
	return s, errors.Join(problems...)
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		return netip.PrefixFrom(addr, addr.BitLen()), err
	}
	return netip.ParsePrefix(text)
}

// thumbprint gives the certificate's SHA-256 in base64url, "" without one.
func (s *certificateSource) thumbprint(ctx context.Context, e *pluginserver.Event, headers map[string][]string) (string, error) {
	if s.header == "" {
		text, err := e.Var(ctx, varCert)
		if err != nil || text == "" {
			return "", err
		}
		return pemThumbprint(text)
	}
	peer, err := e.Var(ctx, varPeer)
	if err != nil || !s.trusts(peer) {
		return "", err
	}
	switch values := headers[s.header]; len(values) {
	case 0:
		return "", nil
	case 1:
		return s.parse(values[0])
	default:
		return "", fmt.Errorf("client certificate: more than one header %s", s.header)
	}
}

func (s *certificateSource) trusts(peer string) bool {
	addr, err := netip.ParseAddr(peer)
	if err != nil {
		return false
	}
	for _, p := range s.proxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

func (s *certificateSource) parse(value string) (string, error) {
	switch s.format {
	case "sha256":
		if len(value) != 43 && len(value) != 64 {
			return "", fmt.Errorf("client certificate: the header %s holds no SHA-256", s.header)
		}
		return value, nil
	case "pem_urlencoded":
		text, err := url.PathUnescape(value)
		if err != nil {
			return "", fmt.Errorf("client certificate: the header %s isn't URL-encoded", s.header)
		}
		return pemThumbprint(text)
	default: // RFC 9440 section 2.1: a byte sequence of RFC 8941, :BASE64:
		inner, ok := strings.CutPrefix(value, ":")
		inner, closed := strings.CutSuffix(inner, ":")
		der, err := base64.StdEncoding.DecodeString(inner)
		if !ok || !closed || err != nil {
			return "", fmt.Errorf("client certificate: the header %s isn't what RFC 9440 says", s.header)
		}
		return derThumbprint(der)
	}
}

func pemThumbprint(text string) (string, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return "", errors.New("client certificate: is not in PEM")
	}
	return derThumbprint(block.Bytes)
}

func derThumbprint(der []byte) (string, error) {
	if _, err := x509.ParseCertificate(der); err != nil {
		return "", errors.New("client certificate: can't be parsed")
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
