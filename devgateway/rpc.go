package devgateway

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of RpcCall and RpcReturn in go-pdk's pluginsocket.proto.
const (
	fieldSequence       = 1
	fieldStartInstance  = 33
	fieldCloseInstance  = 35
	fieldHandleEvent    = 36
	fieldInstanceStatus = 33
)

const (
	maxFrameBytes   = 256 << 20
	rpcDialTimeout  = 10 * time.Second
	rpcWriteTimeout = time.Minute
)

var (
	// errClosed is a plugin server that closed the connection: Kong starts the
	// instance again and runs the event again.
	errClosed = errors.New("closed")
	// errExit ends an event because the plugin answered the request.
	errExit = errors.New("the plugin answered")
)

// luaError is an error Kong's Lua code would have raised: it ends the event
// without a reply and the request with 500.
type luaError struct{ msg string }

func (e luaError) Error() string { return e.msg }

func raise(format string, a ...any) error { return luaError{fmt.Sprintf(format, a...)} }

// pluginRPC is one worker's side of one external plugin's socket. Its
// sequence is counted for each plugin, not for each connection.
type pluginRPC struct {
	name    string
	socket  string
	pool    *connPool
	timeout time.Duration // of each read
	seq     atomic.Int64
}

// bridge answers one PDK call of an event.
type bridge func(method string, args []byte) ([]byte, error)

// call sends one command and reads its return. answer serves the PDK calls of
// an event; release takes over a connection that the call was left on.
func (r *pluginRPC) call(field protowire.Number, body []byte, answer bridge, release func(*net.UnixConn)) (message, error) {
	seq := r.seq.Add(1) + 1
	c, err := r.pool.get(r.socket)
	if err != nil {
		return nil, err
	}
	ret, err := r.converse(c, appendMessage(appendInt(nil, fieldSequence, seq), field, body), answer)
	if err != nil {
		release(c)
		return nil, err
	}
	r.pool.put(r.socket, c)
	m, err := parseMessage(ret)
	if err != nil {
		return nil, raise("malformed RpcReturn")
	}
	if m.int(fieldSequence) != seq {
		return nil, raise("sequence %d was answered as %d", seq, m.int(fieldSequence))
	}
	return m, nil
}

func (r *pluginRPC) converse(c *net.UnixConn, msg []byte, answer bridge) ([]byte, error) {
	if err := writeFrame(c, msg); err != nil {
		return nil, raise("%s", err)
	}
	for answer != nil {
		method, err := r.readFrame(c)
		if err != nil {
			return nil, err
		}
		if len(method) == 0 {
			break
		}
		args, err := r.readFrame(c)
		if err != nil {
			return nil, err
		}
		reply, err := answer(string(method), args)
		if err != nil {
			return nil, err
		}
		if err := writeFrame(c, reply); err != nil {
			return nil, raise("%s", err)
		}
	}
	return r.readFrame(c)
}

// readFrame reads a length and its bytes; Kong's 60 s hold for each read.
func (r *pluginRPC) readFrame(c *net.UnixConn) ([]byte, error) {
	var length [4]byte
	if err := r.readFull(c, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > maxFrameBytes {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	b := make([]byte, n)
	return b, r.readFull(c, b)
}

func (r *pluginRPC) readFull(c *net.UnixConn, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return errClosed
	}
	_, err := io.ReadFull(c, b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("timeout")
	}
	return err
}

func writeFrame(c *net.UnixConn, msg []byte) error {
	buf := make([]byte, 0, 4+len(msg))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(msg)))
	buf = append(buf, msg...)
	if err := c.SetWriteDeadline(time.Now().Add(rpcWriteTimeout)); err != nil {
		return err
	}
	_, err := c.Write(buf)
	return err
}

// startInstance asks the server to start an instance of a configuration.
func (r *pluginRPC) startInstance(config dict) (int64, error) {
	raw, err := json.Marshal(toJSON(config))
	if err != nil {
		return 0, err
	}
	body := appendMessage(appendBytes(nil, 1, r.name), 2, raw)
	m, err := r.call(fieldStartInstance, body, nil, r.pool.drop)
	if err != nil {
		return 0, err
	}
	f, ok := m.last(fieldInstanceStatus)
	if !ok {
		return 0, raise("attempt to index field 'instance_status' (a nil value)")
	}
	status, err := parseMessage(f.bytes)
	if err != nil {
		return 0, raise("malformed InstanceStatus")
	}
	return int64(int32(status.int(2))), nil
}

func (r *pluginRPC) closeInstance(id int64) error {
	_, err := r.call(fieldCloseInstance, appendInt(nil, 1, id), nil, r.pool.drop)
	return err
}

// closedByPeer: Kong looks for these words in the error's text.
func closedByPeer(err error) bool {
	s := strings.ToLower(err.Error())
	return errors.Is(err, errClosed) || strings.Contains(s, "no plugin instance")
}
