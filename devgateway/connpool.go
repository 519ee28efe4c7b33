package devgateway

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

const maxIdleConns = 256 // lua_socket_pool_size in Kong

var errStopping = errors.New("the gateway is stopping")

// connPool keeps a worker's connections to plugin servers; plugins that share
// a socket share connections.
type connPool struct {
	mu     sync.Mutex
	idle   map[string][]*net.UnixConn
	busy   map[*net.UnixConn]struct{}
	closed bool
	// retired: a worker that ends keeps no connection, so that each call meets
	// the process that has the path now (ngx_http_lua_socket_tcp.c).
	retired bool
}

func newConnPool() *connPool {
	return &connPool{idle: map[string][]*net.UnixConn{}, busy: map[*net.UnixConn]struct{}{}}
}

func (p *connPool) get(socket string) (*net.UnixConn, error) {
	for {
		c := p.take(socket)
		if c == nil {
			break
		}
		if quiet(c) {
			return c, nil
		}
		p.drop(c)
	}
	conn, err := net.DialTimeout("unix", socket, rpcDialTimeout)
	if err != nil {
		return nil, err
	}
	c := conn.(*net.UnixConn)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return nil, errStopping
	}
	p.busy[c] = struct{}{}
	return c, nil
}

func (p *connPool) take(socket string) *net.UnixConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[socket]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	p.idle[socket] = conns[:len(conns)-1]
	p.busy[c] = struct{}{}
	return c
}

// put gives a connection back; one with unread bytes is in a dubious state and
// is closed.
func (p *connPool) put(socket string, c *net.UnixConn) {
	ok := quiet(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, c)
	if p.closed || p.retired || !ok || len(p.idle[socket]) >= maxIdleConns {
		_ = c.Close()
		return
	}
	p.idle[socket] = append(p.idle[socket], c)
}

// drop closes a connection that is not given back.
func (p *connPool) drop(c *net.UnixConn) {
	p.mu.Lock()
	delete(p.busy, c)
	p.mu.Unlock()
	_ = c.Close()
}

// retire closes the idle connections, and keeps none from now on.
func (p *connPool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	p.closeIdle()
}

func (p *connPool) closeIdle() {
	for _, conns := range p.idle {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	p.idle = map[string][]*net.UnixConn{}
}

// close ends every connection, so that no event waits for a reply any more.
func (p *connPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.closeIdle()
	for c := range p.busy {
		_ = c.Close()
	}
}

// quiet tells whether an idle connection is open and has nothing to read.
func quiet(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, rerr := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ok = errors.Is(rerr, syscall.EAGAIN)
	})
	return err == nil && ok
}
