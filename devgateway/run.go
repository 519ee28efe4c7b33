package devgateway

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// run takes a request through Kong's phases; it tells whether the client's
// connection can be used again.
func (x *exchange) run() bool {
	defer x.end()
	x.rewritePhase()
	if x.answer == nil {
		x.accessPhase()
	}
	if x.answer != nil {
		return x.finish(x.answer, x.head.keepAlive())
	}
	return x.proxy()
}

// end closes what the request held and starts the log phase.
func (x *exchange) end() {
	for _, f := range x.atEnd {
		f()
	}
	x.atEnd = nil
	if x.body != nil {
		x.body.close()
	}
	plan := x.plan
	if plan == nil {
		plan = x.conf.globals()
	}
	for _, b := range plan {
		if b.kind.phases[phaseLog] {
			x.gw.background(func() { x.logPhase(b) })
		}
	}
}

// logPhase runs one plugin's log handler on a copy: Kong runs it in a timer,
// after the request.
func (x *exchange) logPhase(b *boundPlugin) {
	y := *x
	y.phase, y.atEnd, y.reruns = phaseLog, nil, 0
	b.kind.run(&y, b.plugin, phaseLog)
	for _, f := range y.atEnd {
		f()
	}
}

func (x *exchange) rewritePhase() {
	x.phase = phaseRewrite
	for _, b := range x.conf.globals() {
		if b.kind.phases[phaseRewrite] && x.answer == nil {
			b.kind.run(x, b.plugin, phaseRewrite)
		}
	}
}

func (x *exchange) accessPhase() {
	x.phase = phaseAccess
	if !x.findRoute() {
		return
	}
	x.plan = []*boundPlugin{}
	for _, k := range x.conf.order {
		p := x.conf.pick(k.name, routeID(x.route), serviceID(x.service))
		if p == nil {
			continue
		}
		b := &boundPlugin{p, k}
		x.plan = append(x.plan, b)
		// After an exit the others are collected for the log phase, but do
		// not run.
		if k.phases[phaseAccess] && x.answer == nil {
			k.run(x, p, phaseAccess)
		}
	}
	if x.answer == nil && x.service == nil {
		x.errorAnswer(503, "no Service found with those values", nil)
	}
}

func (x *exchange) findRoute() bool {
	x.cached = x.headers.table(defaultHeaderLimit)
	host, hasHost := x.hostHeader()
	q := &routeQuery{
		method: x.method, path: normalizePath(x.rawPath), host: host, hasHost: hasHost, scheme: "http",
		headers: x.headers, src: x.remote, srcPort: x.realPort, dstPort: x.gw.proxyPort(),
	}
	x.match = x.conf.router.find(q)
	if x.match == nil || (x.match.route.Service != nil && !x.match.route.Service.Enabled) {
		x.errorAnswer(404, "no Route matched with those values", nil)
		return false
	}
	x.route, x.service = x.match.route, x.match.route.Service
	x.forwarded()
	if !slices.Contains(x.route.Protocols, "http") && x.upstream.forwardedProto != "https" {
		x.redirectHTTPS()
		return false
	}
	x.prepareUpstream(host)
	return true
}

func (x *exchange) redirectHTTPS() {
	code := x.route.HTTPSRedirectStatusCode
	if code == 426 {
		x.errorAnswer(426, "Please use HTTPS protocol", headers{{"Connection", "Upgrade"}, {"Upgrade", "TLS/1.2, HTTP/1.1"}})
		return
	}
	x.resp.setHeader("Location", "https://"+x.upstream.forwardedHost+x.head.target)
	x.exitWith(&answer{status: code})
}

// forwarded sets the X-Forwarded-* values: a trusted peer's are believed.
func (x *exchange) forwarded() {
	u := &x.upstream
	u.forwardedProto, u.forwardedHost, u.forwardedPort = "http", x.host, strconv.Itoa(x.gw.proxyPort())
	if x.trusted(x.peer.Addr()) {
		believe := func(name string, into *string) {
			if v := tableLookup(x.cached, name); v != "" {
				*into = v
			}
		}
		believe("X-Forwarded-Proto", &u.forwardedProto)
		believe("X-Forwarded-Host", &u.forwardedHost)
		believe("X-Forwarded-Port", &u.forwardedPort)
		believe("X-Forwarded-Path", &u.forwardedPath)
		believe("X-Forwarded-Prefix", &u.forwardedPref)
	}
	if u.forwardedPath == "" {
		u.forwardedPath = x.rawPath
	}
	if u.forwardedPref == "" && x.match.hasPrefix && x.match.prefix != "/" {
		u.forwardedPref = x.match.prefix
	}
	u.forwardedFor = x.remote.String()
	if v := tableLookup(x.cached, "X-Forwarded-For"); v != "" {
		u.forwardedFor = v + ", " + x.peer.Addr().String()
	}
}

func (x *exchange) prepareUpstream(host string) {
	u := &x.upstream
	u.scheme = "http"
	if s := x.service; s != nil {
		u.scheme = s.Protocol
		_, err := netip.ParseAddr(s.Host)
		x.balancer = balancerData{host: s.Host, port: s.Port, isIP: err == nil}
	}
	u.uri = escapePath(x.match.upstreamURI)
	if x.route.PreserveHost {
		u.host = host
	}
	u.connection = "keep-alive"
	if strings.EqualFold(tableLookup(x.cached, "Upgrade"), "websocket") {
		u.connection, u.upgrade = "keep-alive, Upgrade", "websocket"
	}
	version := x.head.version
	if version == "1.0" {
		version = "1" // Lua writes the number 1.0 so
	}
	u.via = version + " " + kongVersion
	if v := tableLookup(x.cached, "Via"); v != "" {
		u.via = v + ", " + u.via
	}
}

// finish sends an answer made here.
func (x *exchange) finish(a *answer, keepAlive bool) bool {
	x.answer = a
	x.applyAnswer(a)
	x.kongHeaders()
	if a.status == 101 {
		// Kong sends no response at all and the connection hangs until nginx
		// closes it.
		x.hang()
		return false
	}
	if x.body != nil && !x.body.loaded && x.body.length != 0 {
		if err := x.conn.continue100(x.head); err != nil {
			return false
		}
	}
	status, body := a.status, a.body
	if err := x.writeHead(status, reasonPhrase(status), bodyLength, keepAlive); err != nil {
		return false
	}
	if n, err := strconv.Atoi(firstOf(x.resp.headers.first("Content-Length"))); err == nil && n < len(body) {
		body = body[:max(n, 0)]
	} else if err == nil && n > len(body) && x.method != "HEAD" {
		keepAlive = false
	}
	if x.method != "HEAD" && status != 204 && status != 304 {
		x.sent.bytes += int64(len(body))
		if _, err := x.conn.w.Write(body); err != nil {
			return false
		}
	}
	if err := x.conn.w.Flush(); err != nil {
		return false
	}
	return keepAlive && x.body.discard() == nil
}

func (x *exchange) hang() {
	select {
	case <-time.After(x.gw.hangTime):
	case <-x.gw.ctx.Done():
	}
}

func firstOf(s string, _ bool) string { return s }
