package devgateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	upstreamIdleTimeout = 60 * time.Second
	upstreamPoolSize    = 512
	maxUpstreamHead     = 64 << 10
)

// upstreamError is a failed try; status is what the client gets for it.
type upstreamError struct {
	status int
	sent   bool // the request may have reached the service
	err    error
}

func (e *upstreamError) Error() string { return e.err.Error() }
func (e *upstreamError) Unwrap() error { return e.err }

func tryError(err error, sent bool) *upstreamError {
	status := 502
	var ne net.Error
	if errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &ne) && ne.Timeout()) {
		status = 504
	}
	return &upstreamError{status, sent, err}
}

func (x *exchange) dial(addr string) (*upstreamConn, error) {
	key := x.upstream.scheme + "|" + addr
	if x.upstream.scheme == "https" {
		key += "|" + x.upstream.host
	}
	if c := x.gw.upstreams.take(key); c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(x.gw.ctx, time.Duration(x.service.ConnectTimeout)*time.Millisecond)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, tryError(err, false)
	}
	c := &upstreamConn{Conn: conn, raw: conn.(*net.TCPConn), key: key}
	if x.upstream.scheme == "https" {
		name, _ := splitHostPort(x.upstream.host)
		// As nginx by default, and so Kong: the service's certificate is not
		// verified unless tls_verify says so, which is refused here.
		t := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // see above
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, tryError(err, false)
		}
		c.Conn = t
	}
	c.r = bufio.NewReaderSize(c.Conn, 16<<10)
	return c, nil
}

// upstreamResponse is a service's answer as it arrived.
type upstreamResponse struct {
	conn    *upstreamConn
	status  int
	reason  string
	version string
	headers headers
	mode    bodyMode
	length  int64
	body    []byte // only when buffered
}

// send makes one try: head, body, and the response's head.
func (x *exchange) send(addr string) (*upstreamResponse, *upstreamError) {
	c, err := x.dial(addr)
	if err != nil {
		var ue *upstreamError
		if errors.As(err, &ue) {
			return nil, ue
		}
		return nil, tryError(err, false)
	}
	_ = c.SetDeadline(time.Now().Add(time.Duration(x.service.WriteTimeout) * time.Millisecond))
	body, berr := x.body.open()
	if berr != nil {
		c.Close()
		return nil, &upstreamError{500, true, berr}
	}
	defer body.Close()
	head := x.upstreamHead()
	if _, err := io.Copy(c, io.MultiReader(strings.NewReader(head), body)); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		c.Close()
		return nil, tryError(err, true)
	}
	_ = c.SetWriteDeadline(time.Time{})
	_ = c.SetReadDeadline(time.Now().Add(time.Duration(x.service.ReadTimeout) * time.Millisecond))
	res, err := readResponseHead(c, x.method)
	if err != nil {
		c.Close()
		return nil, tryError(err, true)
	}
	return res, nil
}

// upstreamHead is the request as Kong's nginx sends it: its own headers
// first, then what is left of the client's.
func (x *exchange) upstreamHead() string {
	u := &x.upstream
	var b strings.Builder
	uri := u.uri
	if x.args != "" || strings.HasSuffix(x.head.target, "?") {
		uri += "?" + x.args
	}
	b.WriteString(x.method + " " + uri + " HTTP/1.1\r\n")
	line := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	line("TE", u.te)
	line("Via", u.via)
	line("Host", u.host)
	line("Upgrade", u.upgrade)
	line("Connection", u.connection)
	line("X-Forwarded-For", u.forwardedFor)
	line("X-Forwarded-Proto", u.forwardedProto)
	line("X-Forwarded-Host", u.forwardedHost)
	line("X-Forwarded-Port", u.forwardedPort)
	line("X-Forwarded-Path", u.forwardedPath)
	line("X-Forwarded-Prefix", u.forwardedPref)
	line("X-Real-IP", x.remote.String())
	line("X-Kong-Request-Id", x.requestID)
	if x.upstream.length >= 0 {
		line("Content-Length", strconv.FormatInt(x.upstream.length, 10))
	} else if x.body.size > 0 || x.body.length != 0 || x.head.headers.has("Content-Length") {
		line("Content-Length", strconv.FormatInt(x.body.size, 10))
	}
	for _, l := range x.headers {
		if !slices.Contains(ownUpstreamHeaders, strings.ToLower(l.name)) {
			b.WriteString(l.name + ": " + l.value + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// ownUpstreamHeaders are set by Kong alone, whatever a client or a plugin says.
var ownUpstreamHeaders = []string{"te", "via", "host", "upgrade", "connection", "x-forwarded-for", "x-forwarded-proto",
	"x-forwarded-host", "x-forwarded-port", "x-forwarded-path", "x-forwarded-prefix", "x-real-ip", "x-kong-request-id",
	"content-length", "transfer-encoding", "keep-alive", "expect"}

func readResponseHead(c *upstreamConn, method string) (*upstreamResponse, error) {
	for {
		res, err := readOneHead(c)
		if err != nil {
			return nil, err
		}
		if res.status >= 100 && res.status < 200 && res.status != 101 {
			continue
		}
		res.setMode(method)
		return res, nil
	}
}

func readOneHead(c *upstreamConn) (*upstreamResponse, error) {
	budget := maxUpstreamHead
	readL := func() (string, error) {
		line, err := c.r.ReadString('\n')
		if budget -= len(line); budget < 0 {
			return "", errors.New("upstream sent too big header")
		}
		return strings.TrimRight(line, "\r\n"), err
	}
	line, err := readL()
	if err != nil {
		return nil, err
	}
	version, rest, ok := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !ok || err != nil || !strings.HasPrefix(version, "HTTP/1.") || status < 100 {
		return nil, fmt.Errorf("upstream sent no valid HTTP/1.x header: %.60q", line)
	}
	res := &upstreamResponse{conn: c, status: status, reason: reason, version: strings.TrimPrefix(version, "HTTP/")}
	for {
		line, err := readL()
		if err != nil {
			return nil, err
		}
		if line == "" {
			return res, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("upstream sent invalid header: %.60q", line)
		}
		res.headers.add(name, strings.Trim(value, " \t"))
	}
}

func (r *upstreamResponse) setMode(method string) {
	te, _ := r.headers.first("Transfer-Encoding")
	cl, hasCL := r.headers.first("Content-Length")
	n, err := strconv.ParseInt(cl, 10, 64)
	switch {
	case method == "HEAD", r.status == 204, r.status == 304, r.status == 101:
		r.mode = bodyNone
	case strings.EqualFold(te, "chunked"):
		r.mode = bodyChunked
	case hasCL && err == nil:
		r.mode, r.length = bodyLength, n
	default:
		r.mode = bodyUntilClose
	}
}

// reader gives the response's body without its framing.
func (r *upstreamResponse) reader() io.Reader {
	switch r.mode {
	case bodyChunked:
		return &chunkedBody{r: r.conn.r, chunks: httputil.NewChunkedReader(r.conn.r)}
	case bodyLength:
		return io.LimitReader(r.conn.r, r.length)
	case bodyUntilClose:
		return r.conn.r
	}
	return strings.NewReader("")
}

// done gives the connection back if the service lets it live.
func (r *upstreamResponse) done(pool *upstreamPool, whole bool) {
	tokens := connectionTokens(r.headers)
	keep := whole && r.mode != bodyUntilClose && r.status != 101 && !slices.Contains(tokens, "close") &&
		(r.version == "1.1" || slices.Contains(tokens, "keep-alive"))
	if !keep {
		r.conn.Close()
		return
	}
	_ = r.conn.SetDeadline(time.Time{})
	pool.put(r.conn)
}
