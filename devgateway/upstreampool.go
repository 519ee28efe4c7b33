package devgateway

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// upstreamConn is a connection to a service.
type upstreamConn struct {
	net.Conn
	raw    *net.TCPConn
	r      *bufio.Reader
	key    string
	reused bool
	since  time.Time
}

// upstreamPool keeps connections to services for reuse.
type upstreamPool struct {
	mu     sync.Mutex
	idle   map[string][]*upstreamConn
	closed bool
}

func newUpstreamPool() *upstreamPool { return &upstreamPool{idle: map[string][]*upstreamConn{}} }

func (p *upstreamPool) take(key string) *upstreamConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conns := p.idle[key]; len(conns) > 0; conns = p.idle[key] {
		c := conns[len(conns)-1]
		p.idle[key] = conns[:len(conns)-1]
		if time.Since(c.since) < upstreamIdleTimeout && c.r.Buffered() == 0 && quiet(c.raw) {
			c.reused = true
			return c
		}
		c.Close()
	}
	return nil
}

func (p *upstreamPool) put(c *upstreamConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[c.key]) >= upstreamPoolSize {
		c.Close()
		return
	}
	c.since = time.Now()
	p.idle[c.key] = append(p.idle[c.key], c)
}

func (p *upstreamPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, conns := range p.idle {
		for _, c := range conns {
			c.Close()
		}
	}
	p.idle = nil
}
