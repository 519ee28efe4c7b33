package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/token"
)

// nginx's variables that say how a request reached Kong. They are the
// connection's own: no X-Forwarded header has a say in them.
const (
	varMethod = "request_method"
	varURI    = "request_uri"
	varScheme = "scheme"
	varPeer   = "realip_remote_addr"
	varCert   = "ssl_client_raw_cert"
)

// arrival is a request's token and how it came.
type arrival struct {
	token.Located
	presentation token.Presentation
}

// arrivals finds a request's token and what proves that it is its sender's.
type arrivals struct {
	locator     token.Locator
	origins     []*url.URL
	certificate *certificateSource // nil: none is looked for
	crossSite   *http.CrossOriginProtection
}

func newArrivals(c IdentityConfig) (*arrivals, error) {
	a := &arrivals{
		locator:   token.Locator{Cookie: c.TokenCookie, Header: strings.ToLower(c.TokenHeader)},
		crossSite: http.NewCrossOriginProtection(),
	}
	var problems []error
	switch a.locator.Header {
	case "authorization", "cookie", "host", "dpop", "connection":
		problems = append(problems, fmt.Errorf("token_header: %s has a meaning of its own; name another header", a.locator.Header))
	}
	for n, raw := range c.PublicOrigins {
		u, err := url.Parse(raw)
		if err == nil {
			err = a.crossSite.AddTrustedOrigin(raw)
		}
		if err != nil || u.Scheme != "https" && u.Scheme != "http" {
			problems = append(problems, fmt.Errorf("public_origins[%d]: must be scheme://host, without a path", n+1))
			continue
		}
		a.origins = append(a.origins, u)
	}
	if c.ClientCertificate != nil {
		var err error
		if a.certificate, err = newCertificateSource(*c.ClientCertificate); err != nil {
			problems = append(problems, err)
		}
	}
	for n, is := range c.Issuers {
		if is.RequireBinding == string(token.BindingMTLS) && c.ClientCertificate == nil {
			problems = append(problems, fmt.Errorf("issuers[%d].require_binding: mtls needs client_certificate, or no token could pass", n+1))
		}
	}
	return a, errors.Join(problems...)
}

// find gives the request's token with its presentation. Only a request whose
// token needs it costs a second flight to Kong.
func (a *arrivals) find(ctx context.Context, e *pluginserver.Event, headers []pluginserver.Header) (arrival, *Problem) {
	named := make(map[string][]string, len(headers))
	for _, h := range headers {
		named[h.Name] = h.Values
	}
	located, err := a.locator.Find(named)
	if err != nil {
		return arrival{}, tokenProblem(err, strings.EqualFold(schemeOf(named["authorization"]), "dpop"))
	}
	found := arrival{Located: located, presentation: token.Presentation{DPoPScheme: located.DPoP, DPoP: named["dpop"]}}
	fromCookie := located.Source == "cookie"
	var reads []pluginserver.Read
	if located.DPoP || fromCookie {
		reads = append(reads, pluginserver.ReadVar(varMethod), pluginserver.ReadVar(varURI), pluginserver.ReadVar(varScheme))
	}
	if a.certificate != nil {
		reads = append(reads, a.certificate.read)
	}
	if err := e.Prefetch(ctx, reads...); err != nil {
		return arrival{}, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	if a.certificate != nil {
		if found.presentation.CertificateSHA256, err = a.certificate.thumbprint(ctx, e, named); err != nil {
			// A certificate that can't be read is none: a token that needs it is refused.
			e.Log(pluginserver.LevelWarn, err.Error())
		}
	}
	if !located.DPoP && !fromCookie {
		return found, nil
	}
	return found, a.readTarget(ctx, e, named, &found.presentation, fromCookie)
}

// readTarget fills in what the request was made for, and refuses one that
// another site made a browser send with its cookie.
func (a *arrivals) readTarget(ctx context.Context, e *pluginserver.Event, headers map[string][]string, p *token.Presentation, fromCookie bool) *Problem {
	method, err := e.Var(ctx, varMethod)
	uri, uriErr := e.Var(ctx, varURI)
	scheme, schemeErr := e.Var(ctx, varScheme)
	if err := errors.Join(err, uriErr, schemeErr); err != nil {
		return &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	host := ""
	if hosts := headers["host"]; len(hosts) == 1 {
		host = hosts[0]
	}
	p.Method, p.URL = method, a.publicURL(scheme, host, uri)
	if fromCookie && a.isCrossSite(method, host, headers) {
		return &Problem{Code: CodeCrossSite}
	}
	return nil
}

// publicURL is the URL as the client knows it: a proof names that. It is empty,
// and so fits no proof, for a host that isn't among the configured origins.
func (a *arrivals) publicURL(scheme, host, uri string) string {
	if host == "" || !strings.HasPrefix(uri, "/") {
		return ""
	}
	if len(a.origins) == 0 {
		return scheme + "://" + host + uri
	}
	for _, o := range a.origins {
		if strings.EqualFold(o.Host, host) {
			return o.Scheme + "://" + o.Host + uri
		}
	}
	return ""
}

// isCrossSite asks net/http's own defence (Sec-Fetch-Site, then Origin). The
// upgrade to a websocket counts as a request that changes something: browsers
// let any site make one, with the cookies.
func (a *arrivals) isCrossSite(method, host string, headers map[string][]string) bool {
	if len(headers["upgrade"]) > 0 {
		method = http.MethodPost
	}
	r := &http.Request{Method: method, Host: host, Header: http.Header{}}
	for _, name := range []string{"sec-fetch-site", "origin"} {
		for _, v := range headers[name] {
			r.Header.Add(name, v)
		}
	}
	return a.crossSite.Check(r) != nil
}

func schemeOf(authorization []string) string {
	if len(authorization) != 1 {
		return ""
	}
	scheme, _, _ := strings.Cut(authorization[0], " ")
	return scheme
}

// resembles tells that a header is the token's in another spelling, in which no
// token is looked for and which an upstream may take for it.
func (a *arrivals) resembles(name string) bool {
	return a.locator.Header != "" && name != a.locator.Header && fold(name) == a.locator.Header
}

// hide takes the token, and the proof that came with it, away from the request
// to the upstream.
func (a *arrivals) hide(e *pluginserver.Event, headers []pluginserver.Header, source string) {
	if slices.ContainsFunc(headers, func(h pluginserver.Header) bool { return h.Name == "dpop" }) {
		e.ClearHeader("dpop")
	}
	if source != "cookie" {
		if source != "" {
			e.ClearHeader(source)
		}
		return
	}
	for _, h := range headers {
		if h.Name != "cookie" {
			continue
		}
		rest := withoutCookie(h.Values, a.locator.Cookie)
		if rest == "" {
			e.ClearHeader("cookie")
			return
		}
		e.SetHeaders([]pluginserver.Header{header("Cookie", rest)})
	}
}

// withoutCookie leaves out all cookies of a name, and joins the others as RFC
// 9113, section 8.2.3, does.
func withoutCookie(lines []string, name string) string {
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if n, _, _ := strings.Cut(pair, "="); n != name && pair != "" {
				kept = append(kept, pair)
			}
		}
	}
	return strings.Join(kept, "; ")
}
