package devgateway

import (
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

func (c *clientConn) writePart(b []byte, mode bodyMode) error {
	if mode == bodyChunked {
		if _, err := c.w.WriteString(strconv.FormatInt(int64(len(b)), 16) + "\r\n"); err != nil {
			return err
		}
	}
	if _, err := c.w.Write(b); err != nil {
		return err
	}
	if mode == bodyChunked {
		if _, err := c.w.WriteString("\r\n"); err != nil {
			return err
		}
	}
	return c.w.Flush()
}

// watch calls gone when the client closes while a response is under way. The
// returned function ends the watch.
func (c *clientConn) watch(gone func()) (stop func() bool) {
	done := make(chan bool, 1)
	go func() {
		_, err := c.r.Peek(1)
		var ne net.Error
		left := err != nil && (!errors.As(err, &ne) || !ne.Timeout())
		if left {
			gone()
		}
		done <- left
	}()
	return func() bool {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
		left := <-done
		_ = c.net.SetReadDeadline(time.Time{})
		return left
	}
}

// tunnel joins client and service after a 101.
func (x *exchange) tunnel(res *upstreamResponse) bool {
	x.takeHeaders(res)
	x.kongHeaders()
	defer res.conn.Close()
	if x.writeHead(101, "Switching Protocols", bodyNone, true) != nil || x.conn.w.Flush() != nil {
		return false
	}
	_ = res.conn.SetDeadline(time.Time{})
	ended := make(chan struct{}, 2)
	pipe := func(dst net.Conn, src io.Reader) {
		_, _ = io.Copy(dst, src)
		ended <- struct{}{}
	}
	go pipe(res.conn.Conn, x.conn.r)
	go pipe(x.conn.net, res.conn.r)
	<-ended
	res.conn.Close()
	x.conn.net.Close()
	<-ended
	return false
}
