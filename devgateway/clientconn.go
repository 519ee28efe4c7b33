package devgateway

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	clientIdleTimeout = 75 * time.Second // nginx's keepalive_timeout
	clientHeadTimeout = 60 * time.Second // client_header_timeout and client_body_timeout
)

// clientConn is one client's connection.
type clientConn struct {
	gw       *Gateway
	net      net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	worker   *worker
	id       int64
	requests int
	idle     atomic.Bool
}

// serve answers requests until the connection ends.
func (c *clientConn) serve() {
	defer func() { _ = c.net.Close() }()
	for {
		_ = c.net.SetReadDeadline(time.Now().Add(clientIdleTimeout))
		// A worker that ends closes idle connections, but not those whose first
		// request is still on its way. Whoever is second here, the reload or
		// this connection, sees the other.
		c.idle.Store(c.requests > 0)
		if c.requests > 0 && (c.worker.retired.Load() || c.gw.stopping()) {
			return
		}
		if _, err := c.r.Peek(1); err != nil {
			return
		}
		c.idle.Store(false)
		_ = c.net.SetReadDeadline(time.Now().Add(clientHeadTimeout))
		if !c.one() {
			return
		}
	}
}

// one serves a single request and tells whether another may follow.
func (c *clientConn) one() bool {
	h, err := readHead(c.r)
	c.requests++
	var bad httpError
	switch {
	case errors.As(err, &bad):
		x := c.gw.newExchange(c, h)
		return x.finish(x.nginxError(bad.status), false)
	case err != nil:
		return false
	}
	_ = c.net.SetReadDeadline(time.Time{})
	x := c.gw.newExchange(c, h)
	x.body = newRequestBody(c.r, h, c.gw.bodyDir(), func() error { return c.continue100(h) })
	var ok bool
	if x.uri, ok = nginxURI(x.rawPath); !ok {
		return x.finish(x.nginxError(400), false)
	}
	return x.run()
}

// continue100 asks a waiting client for its body, as nginx does when it begins
// to read (or to discard) it.
func (c *clientConn) continue100(h *requestHead) error {
	if err := c.net.SetReadDeadline(time.Now().Add(clientHeadTimeout)); err != nil {
		return err
	}
	if v, ok := h.headers.first("Expect"); ok && strings.EqualFold(v, "100-continue") && h.version == "1.1" {
		if _, err := c.w.WriteString("HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
		return c.w.Flush()
	}
	return nil
}
