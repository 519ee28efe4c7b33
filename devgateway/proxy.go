package devgateway

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// proxy sends the request to its service and the answer to the client.
func (x *exchange) proxy() bool {
	if err := x.body.load(); err != nil {
		return x.finish(x.nginxError(400), false)
	}
	if !x.balance() {
		return x.finish(x.answer, x.head.keepAlive())
	}
	x.cleanHopByHop()
	x.proxied = true
	buffered := x.wantsBuffering()
	res, failed := x.try()
	if failed != nil {
		keep := x.head.keepAlive() && failed.status != 500
		return x.finish(x.nginxError(failed.status), keep)
	}
	x.upStatus = res.status
	if buffered {
		return x.bufferResponse(res)
	}
	if res.status == 101 {
		return x.tunnel(res)
	}
	return x.stream(res)
}

// balance picks the address and the Host header. It is false when an answer
// was made instead.
func (x *exchange) balance() bool {
	b := &x.balancer
	host, port := b.host, b.port
	if up := x.conf.upstreamByName(host); up != nil && len(up.Targets) > 0 {
		h, p, err := net.SplitHostPort(up.Targets[0])
		if n, perr := strconv.Atoi(p); err == nil && perr == nil {
			host, port = h, n
		}
	}
	b.address = net.JoinHostPort(host, strconv.Itoa(port))
	if x.upstream.host == "" {
		x.upstream.host = host
		if port != map[string]int{"http": 80, "https": 443}[x.upstream.scheme] {
			x.upstream.host = b.address
		}
	}
	return true
}

// cleanHopByHop drops what the client's Connection header names. Kong does so
// after the plugins, by the first Connection among the first 100 headers that
// the client sent (kong/runloop/handler.lua, access.after): a client can take
// away what a plugin set.
func (x *exchange) cleanHopByHop() {
	for _, name := range csv(tableLookup(x.cached, "connection")) {
		if name != "upgrade" || x.upstream.upgrade == "" {
			x.headers.del(name)
		}
	}
	if slices.Contains(csv(tableLookup(x.cached, "te")), "trailers") {
		x.upstream.te = "trailers"
	}
	x.headers.del("Proxy")
	x.headers.del("Proxy-Connection")
}

// csv splits a list as Kong does: in lower case, a list of one usual option is
// none at all, and white space goes only where a blank begins or ends it.
func csv(s string) []string {
	s = strings.ToLower(s)
	if s == "close" || s == "upgrade" || s == "keep-alive" {
		return nil
	}
	var out []string
	for name := range strings.SplitSeq(s, ",") {
		if strings.HasPrefix(name, " ") {
			name = strings.TrimLeft(name, " \t\n\v\f\r")
		}
		if strings.HasSuffix(name, " ") {
			name = strings.TrimRight(name, " \t\n\v\f\r")
		}
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// try sends until a service answers or the service's retries are used up. A
// request that may have reached the service is sent again only on a stale
// connection, or if its method is safe to repeat.
func (x *exchange) try() (*upstreamResponse, *upstreamError) {
	x.proxyTime = time.Since(x.start)
	began := time.Now()
	defer func() { x.waiting = time.Since(began) }()
	if x.needsName() {
		// The balancer settled for an address when the route matched and takes
		// a name for one.
		x.gw.log.kong("error", "failed to set the current peer (address: %s)", x.balancer.address)
		return nil, &upstreamError{500, false, errors.New("failed to set the current peer")}
	}
	var last *upstreamError
	for n := 0; n <= x.service.Retries; n++ {
		x.noteTry()
		res, err := x.send(x.balancer.address)
		if err == nil {
			return res, nil
		}
		x.gw.log.kong("error", "upstream %s: %s", x.balancer.address, err)
		last = err
		if err.sent && (x.method == "POST" || x.method == "PATCH" || x.method == "LOCK" || err.status == 504) {
			break
		}
		var dns *net.DNSError
		if errors.As(err.err, &dns) {
			return nil, &upstreamError{503, false, err}
		}
	}
	return nil, last
}

// needsName: set_target and set_upstream with a name do not work where the
// service's own host is an address.
func (x *exchange) needsName() bool {
	host, _, _ := net.SplitHostPort(x.balancer.address)
	isName := net.ParseIP(host) == nil
	named := net.ParseIP(x.balancer.host) == nil
	return x.balancer.isIP && (isName || named)
}

func (x *exchange) noteTry() {
	host, port, _ := net.SplitHostPort(x.balancer.address)
	n, _ := strconv.Atoi(port)
	now := time.Now()
	x.tries = append(x.tries, dict{"ip": host, "port": float64(n), "balancer_start": float64(now.UnixMilli()),
		"balancer_start_ns": float64(now.UnixNano()), "balancer_latency": 0.0, "balancer_latency_ns": 0.0})
}

// hopHeaders of a response are nginx's own to write.
var hopHeaders = []string{"connection", "keep-alive", "transfer-encoding", "proxy-connection", "upgrade"}

// takeHeaders puts the service's headers after those plugins set before.
func (x *exchange) takeHeaders(res *upstreamResponse) {
	drop := connectionTokens(res.headers)
	for _, l := range res.headers {
		low := strings.ToLower(l.name)
		if slices.Contains(hopHeaders, low) && (low != "upgrade" || res.status != 101) {
			continue
		}
		if low != "upgrade" && slices.Contains(drop, low) {
			continue
		}
		if strings.HasPrefix(low, "x-accel-") || (low == "trailer" && x.upstream.te == "") {
			continue
		}
		if low == "content-type" || low == "content-length" {
			x.resp.headers.set(l.name, l.value)
			continue
		}
		if low == "server" && x.resp.headers.has("Server") {
			continue
		}
		x.resp.headers = append(x.resp.headers, l)
	}
}

// stream passes a response on as it arrives.
func (x *exchange) stream(res *upstreamResponse) bool {
	x.takeHeaders(res)
	x.kongHeaders()
	mode, keep := res.mode, x.head.keepAlive()
	if mode == bodyUntilClose {
		mode = bodyChunked
	}
	if mode == bodyChunked && x.head.version == "1.0" {
		mode, keep = bodyUntilClose, false
	}
	if mode == bodyChunked || mode == bodyUntilClose {
		x.resp.headers.del("Content-Length")
	}
	if res.mode == bodyLength {
		x.moveLengthUp()
	}
	whole := false
	defer func() { res.done(x.gw.upstreams, whole) }()
	if x.writeHead(res.status, res.reason, mode, keep) != nil || x.conn.w.Flush() != nil {
		return false
	}
	stop := x.conn.watch(func() { res.conn.Close() })
	err := x.copyBody(res, mode)
	gone := stop()
	if err != nil || gone {
		x.gw.log.kong("info", "response of %s ended early: %v", x.balancer.address, err)
		return false
	}
	whole = true
	return keep
}

// moveLengthUp: nginx writes a service's Content-Length before the others.
func (x *exchange) moveLengthUp() {
	v, ok := x.resp.headers.first("Content-Length")
	if ok {
		x.resp.headers.del("Content-Length")
		x.resp.headers = append(headers{{"Content-Length", v}}, x.resp.headers...)
	}
}

func (x *exchange) copyBody(res *upstreamResponse, mode bodyMode) error {
	body := res.reader()
	buf := make([]byte, 32<<10)
	var read int64
	for {
		_ = res.conn.SetReadDeadline(time.Now().Add(time.Duration(x.service.ReadTimeout) * time.Millisecond))
		n, err := body.Read(buf)
		if n > 0 {
			x.sent.bytes += int64(n)
			read += int64(n)
			if werr := x.conn.writePart(buf[:n], mode); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if res.mode == bodyLength && read < res.length {
		return io.ErrUnexpectedEOF
	}
	if mode == bodyChunked {
		if _, err := x.conn.w.WriteString("0\r\n\r\n"); err != nil {
			return err
		}
	}
	return x.conn.w.Flush()
}
