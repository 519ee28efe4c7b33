package pluginserver

import (
	"context"
	"fmt"
	"net"
	"time"
)

// link is one connection from Kong: frames in, and a buffer of frames that
// leave in one write.
type link struct {
	conn   net.Conn
	in     *frameReader
	out    []byte
	exited bool // an exit is on its way: Kong will close

	ctx      context.Context // of the events, ends with the link
	end      context.CancelFunc
	watchdog watchdog
}

// newLink has handlers that take too long answered for by overdue.
func newLink(conn net.Conn, overdue func(*Event)) *link {
	l := &link{conn: conn, in: newFrameReader(conn), watchdog: watchdog{overdue: overdue}}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// close ends the connection and what its event still does, in this order: a
// handler that gives up since it was told to must not be heard any more.
func (l *link) close() {
	_ = l.conn.Close()
	l.end()
	l.watchdog.close()
}

// goodbyeTime is how long Kong may take to close a connection that it was told
// is over; nginx does it at its next turn.
const goodbyeTime = time.Second

// sayGoodbye tells Kong that nothing more comes, and leaves the closing to it.
// Closing from here would fail what Kong is writing at this moment, the answers
// to queued calls or a command, and then the request with it. A command that
// comes all the same is read and not begun: Kong repeats it elsewhere.
func (l *link) sayGoodbye() {
	if c, ok := l.conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		_ = l.conn.Close()
		return
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(goodbyeTime))
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
