package devgateway

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// phase is where a request is; PDK calls are allowed or refused by it.
type phase string

const (
	phaseRewrite  phase = "rewrite"
	phaseAccess   phase = "access"
	phaseResponse phase = "response"
	phaseHeader   phase = "header_filter"
	phaseLog      phase = "log"
)

// exchange is one request on its way: what Kong keeps in ngx.ctx and nginx in
// its request.
type exchange struct {
	gw     *Gateway
	conf   *generation
	worker *worker
	conn   *clientConn

	phase     phase
	start     time.Time
	requestID string // X-Kong-Request-Id
	nginxID   string // $request_id

	head     *requestHead
	method   string
	headers  headers // of the request, as plugins have changed them
	cached   dict    // the first 100 of them when the route was looked for
	body     *requestBody
	rawPath  string
	args     string // $args
	uri      string // $uri
	host     string // $host
	peer     netip.AddrPort
	remote   netip.Addr // after the real-IP header of a trusted peer
	realPort int        // 0 when the address came from a header

	match       *routeMatch
	route       *Route
	service     *Service
	balancer    balancerData
	upstream    upstreamVars
	consumer    dict
	credential  dict
	shared      dict
	ngxCtx      dict
	correlation *header

	plan       []*boundPlugin // plugins whose configuration was collected
	resp       responseState
	answer     *answer // set by an exit
	exited     bool
	unexpected bool
	proxied    bool
	buffered   *upstreamResponse
	serialize  dict
	reruns     int
	atEnd      []func() // run when the response is out
	sent       sentInfo
	waiting    time.Duration
	proxyTime  time.Duration
	latency    time.Duration
	tries      []dict
	upStatus   int
}

// sentInfo is what the log phase knows of the response.
type sentInfo struct {
	status  int
	headers headers
	bytes   int64
}

// balancerData is where the request goes.
type balancerData struct {
	host    string
	port    int
	isIP    bool   // decided when the route matched; set_target does not change it
	address string // host:port, once picked
}

// upstreamVars are nginx's $upstream_* variables.
type upstreamVars struct {
	scheme, uri, host, connection, upgrade      string
	forwardedFor, forwardedProto, forwardedHost string
	forwardedPort, forwardedPath, forwardedPref string
	via, te                                     string
	length                                      int64 // Content-Length set by a plugin; -1: the body's own
}

// answer is a response made by Kong or a plugin.
type answer struct {
	status  int
	body    []byte
	headers headers // set on top of what plugins set before
}

// newExchange begins a request; h is nil where not even its head was readable.
func (gw *Gateway) newExchange(c *clientConn, h *requestHead) *exchange {
	if h == nil {
		h = &requestHead{version: "1.1"}
	}
	x := &exchange{
		gw: gw, conn: c, head: h, start: time.Now(), phase: phaseRewrite, conf: gw.current(), worker: c.worker,
		requestID: randomHex(16), nginxID: randomHex(16), shared: dict{}, ngxCtx: dict{}, serialize: dict{},
		method: h.method, headers: slices.Clone(h.headers), body: &requestBody{loaded: true},
	}
	x.upstream.length = -1
	x.rawPath, x.args = h.split()
	x.setHost()
	x.peer = addrPortOf(c.net.RemoteAddr())
	x.remote, x.realPort = x.peer.Addr(), int(x.peer.Port())
	x.setRealIP()
	return x
}

// hostHeader is the Host header as sent, or the host of an absolute target.
func (x *exchange) hostHeader() (string, bool) {
	if x.head.absHost != "" {
		return x.head.absHost, true
	}
	return x.head.headers.first("Host")
}

func (x *exchange) setHost() {
	host, ok := x.hostHeader()
	if !ok {
		x.host = "kong" // nginx's server_name
		return
	}
	host, _ = splitHostPort(host)
	x.host = strings.TrimSuffix(strings.ToLower(host), ".")
}

// setRealIP is nginx's real_ip module with Kong's trusted_ips: the last
// address of the header counts, and the port is unknown then.
func (x *exchange) setRealIP() {
	v, ok := x.head.headers.first(x.gw.settings.RealIPHeader)
	if !ok || !x.trusted(x.peer.Addr()) {
		return
	}
	parts := strings.Split(v, ",")
	text := strings.TrimSpace(parts[len(parts)-1])
	if ap, err := netip.ParseAddrPort(text); err == nil {
		x.remote, x.realPort = ap.Addr(), int(ap.Port())
		return
	}
	if a, err := netip.ParseAddr(text); err == nil {
		x.remote, x.realPort = a, 0
	}
}

func (x *exchange) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(x.gw.settings.TrustedIPs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// headerVar is ngx.var.http_NAME: dash and underscore, upper and lower case
// are the same; several lines are joined.
func (x *exchange) headerVar(name string) (string, bool) {
	key := headerVar(name)
	sep := ", "
	if key == "cookie" {
		sep = "; "
	}
	var vals []string
	for _, l := range x.headers {
		if headerVar(l.name) == key {
			vals = append(vals, l.value)
		}
	}
	return strings.Join(vals, sep), vals != nil
}

func addrPortOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
