// Package kongside is Kong's side of the plugin server's socket, frame for
// frame and write for write as Kong's pb_rpc.lua does it: the length in one
// write and the bytes in another, one call answered after the other, the
// connection closed when a plugin answers the request itself.
//
// It refuses to be Kong: it has no routes, no HTTP and no schema, and it never
// repeats an event. It is for tests and benchmarks that look at the socket
// alone. Read [Conn.Event] first.
package kongside

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

// Patience is how long Kong waits for a plugin's next byte.
// Source: pb_rpc.lua, OpenResty's default socket timeout.
const Patience = 60 * time.Second

// MethodExit is the call that answers a request.
const MethodExit = "kong.response.exit"

// Conn is one connection. It is used by one goroutine.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte
	seq  int64
	sent bool // since the last time there was nothing to read
}

// Dial connects to a plugin server.
func Dial(socket string) (*Conn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Send writes one frame.
func (c *Conn) Send(frame []byte) error {
	c.sent = true
	var size [4]byte
	binary.LittleEndian.PutUint32(size[:], uint32(len(frame)))
	if _, err := c.conn.Write(size[:]); err != nil || len(frame) == 0 {
		return err
	}
	_, err := c.conn.Write(frame)
	return err
}

// frame reads one frame, valid until the next.
func (c *Conn) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(size[:]))
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	c.buf = c.buf[:n]
	_, err := io.ReadFull(c.in, c.buf)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return c.buf, err
}

// Command sends a command and gives it a sequence number.
func (c *Conn) Command(call *kong_plugin_protocol.RpcCall) error {
	c.seq++
	call.Sequence = c.seq
	data, err := proto.Marshal(call)
	if err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	return c.Send(data)
}

// Return reads the answer to a command.
func (c *Conn) Return() (*kong_plugin_protocol.RpcReturn, error) {
	data, err := c.frame()
	if err != nil {
		return nil, fmt.Errorf("reading the return: %w", err)
	}
	ret := new(kong_plugin_protocol.RpcReturn)
	if err := proto.Unmarshal(data, ret); err != nil {
		return nil, err
	}
	if ret.Sequence != c.seq {
		return nil, fmt.Errorf("return has sequence %d, the command had %d", ret.Sequence, c.seq)
	}
	return ret, nil
}

// Start starts an instance.
func (c *Conn) Start(plugin string, config []byte) (int32, error) {
	err := c.Command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: plugin, Config: config},
	}})
	if err != nil {
		return 0, err
	}
	ret, err := c.Return()
	return ret.GetInstanceStatus().GetInstanceId(), err
}

// Stop closes an instance.
func (c *Conn) Stop(id int32) error {
	err := c.Command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdCloseInstance{
		CmdCloseInstance: &kong_plugin_protocol.CmdCloseInstance{InstanceId: id},
	}})
	if err != nil {
		return err
	}
	_, err = c.Return()
	return err
}

// Ended is how an event ended.
type Ended struct {
	// Exited: the plugin answered the request, and Kong closed the connection.
	Exited bool
	// Flights is how often the plugin had to wait for Kong: once for the
	// command itself, and once more for each time that it sent something and
	// then had nothing else to send before it was answered.
	Flights int
}

// Event runs the access phase of one request. Kong answers each call; the
// arguments are valid during the call. An error means that Kong would have
// found the socket closed, or got no sense out of it.
func (c *Conn) Event(instance int32, kong func(method string, args []byte) []byte) (e Ended, err error) {
	err = c.Command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
		CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: instance, EventName: "access"},
	}})
	if err != nil {
		return e, err
	}
	for {
		if c.sent && c.in.Buffered() == 0 {
			e.Flights++
			c.sent = false
		}
		name, err := c.frame()
		if err != nil {
			return e, fmt.Errorf("reading a call: %w", err)
		}
		if len(name) == 0 {
			_, err := c.Return()
			return e, err
		}
		method := string(name)
		args, err := c.frame()
		if err != nil {
			return e, fmt.Errorf("reading the arguments of %s: %w", method, err)
		}
		reply := kong(method, args)
		if method == MethodExit {
			e.Exited = true
			return e, c.Close()
		}
		if err := c.Send(reply); err != nil {
			return e, fmt.Errorf("answering %s: %w", method, err)
		}
	}
}
