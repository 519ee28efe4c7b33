package pluginserver

import (
	"fmt"
	"net"
)

// link is one connection from Kong: frames in, and a buffer of frames that
// leave in one write.
type link struct {
	conn   net.Conn
	in     *frameReader
	out    []byte
	exited bool // an exit is on its way: Kong will close
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, in: newFrameReader(conn)}
}

// call appends a PDK call: the method's name and its arguments, a frame each.
func (l *link) call(method string, args func([]byte) []byte) {
	l.out = appendFrame(l.out, method)
	var at int
	l.out, at = beginFrame(l.out)
	if args != nil {
		l.out = args(l.out)
	}
	l.out = endFrame(l.out, at)
}

// flush sends what is in out, in one write.
func (l *link) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.conn.Write(l.out)
	if cap(l.out) > keepBufferBytes {
		l.out = nil
	}
	l.out = l.out[:0]
	return err
}

// drain reads the empty answers of n queued calls.
func (l *link) drain(n int) error {
	for range n {
		frame, err := l.in.next()
		if err != nil {
			return fmt.Errorf("reading the answer to a queued call: %w", err)
		}
		if len(frame) != 0 {
			return fmt.Errorf("%w: %d bytes", errUnexpectedReply, len(frame))
		}
	}
	return nil
}
