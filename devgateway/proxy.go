package devgateway

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// overridden are request headers that Kong writes itself, whatever a plugin or
// a client set. The length is the body's.
var overridden = []string{"connection", "transfer-encoding", "content-length", "keep-alive", "upgrade", "te", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-path", "x-forwarded-prefix", "x-real-ip", "host"}

// proxy sends the request to the route's service.
func (x *exchange) proxy(w http.ResponseWriter, r *http.Request) {
	for _, h := range x.response {
		w.Header().Add(h.name, h.value)
	}
	r.Body = x.bodyReader()
	if x.bodyRead {
		r.ContentLength = int64(len(x.body))
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       x.rewrite,
		FlushInterval: -1,
		ErrorLog:      log.New(errorLog{x}, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			x.gw.log.kong("error", "upstream: %v", err)
			x.message(w, http.StatusBadGateway, "An invalid response was received from the upstream server")
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set("Via", "1.1 devgateway")
			return nil
		},
	}
	proxy.ServeHTTP(w, r)
}

// rewrite runs after net/http took away what the client's Connection header
// names: what a plugin set can't be taken away by a client.
func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	route, service := x.match.route, x.match.route.Service
	target := x.match.upstreamURI
	if target == "" {
		target = upstreamURI(x.match, x.path)
	}
	address := net.JoinHostPort(service.Host, strconv.Itoa(service.Port))
	path, err := url.PathUnescape(target)
	if err != nil {
		path = target
	}
	p.Out.Method = x.method
	p.Out.URL = &url.URL{Scheme: service.Protocol, Host: address, Path: path, RawPath: target, RawQuery: x.query}
	if p.Out.Host = address; route.PreserveHost {
		p.Out.Host = x.request.Host
	}
	upgrade := p.Out.Header["Upgrade"]
	connection := p.Out.Header["Connection"]
	p.Out.Header = http.Header{}
	for _, h := range x.headers {
		if !isOverridden(h.name) {
			p.Out.Header[http.CanonicalHeaderKey(h.name)] = append(p.Out.Header[http.CanonicalHeaderKey(h.name)], h.value)
		}
	}
	if len(upgrade) > 0 {
		p.Out.Header["Upgrade"], p.Out.Header["Connection"] = upgrade, connection
	}
	x.forwarded(p.Out.Header)
}

// forwarded writes Kong's X-Forwarded-* and X-Real-IP; nobody is trusted to
// have sent them.
func (x *exchange) forwarded(h http.Header) {
	host, _ := splitHostPort(x.request.Host)
	h.Set("X-Forwarded-For", x.peer.Addr().String())
	h.Set("X-Forwarded-Proto", "http")
	h.Set("X-Forwarded-Host", host)
	h.Set("X-Forwarded-Path", x.rawPath)
	h.Set("X-Real-IP", x.peer.Addr().String())
	h.Set("X-Kong-Request-Id", x.requestID)
}

func isOverridden(name string) bool {
	for _, o := range overridden {
		if strings.EqualFold(o, name) {
			return true
		}
	}
	return false
}

// errorLog puts the proxy's own words into the gateway's log.
type errorLog struct{ x *exchange }

func (l errorLog) Write(p []byte) (int, error) {
	l.x.gw.log.kong("error", "%s", fmt.Sprintf("proxy: %s", p))
	return len(p), nil
}
