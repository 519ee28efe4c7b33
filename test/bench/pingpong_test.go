package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Two servers that do nothing: what the sockets alone cost.

const bareBytes = 64

// serveBarePingPong answers each message of 64 bytes with the same.
func serveBarePingPong() error {
	return serveEach(func(conn net.Conn) error {
		message := make([]byte, bareBytes)
		for {
			if _, err := io.ReadFull(conn, message); err != nil {
				return err
			}
			if _, err := conn.Write(message); err != nil {
				return err
			}
		}
	})
}

// servePingPong plays ping-pong with Kong's own frames: to the byte what our
// server is sent and sends, in as many flights and writes, with a client that
// can't tell the two apart. Kong sends each frame in two writes and an empty
// answer in one, and whoever speaks its protocol is woken by them.
func servePingPong() error {
	return serveEach(func(conn net.Conn) error {
		p := pingPongConn{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
		for {
			if err := p.command(); err != nil {
				return err
			}
		}
	})
}

func serveEach(serve func(net.Conn) error) error {
	l, err := net.Listen("unix", ownSocket())
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_ = serve(conn) // the client is done
			_ = conn.Close()
		}()
	}
}

type pingPongConn struct {
	conn  net.Conn
	in    *bufio.Reader
	frame [4096]byte
	out   []byte
	owed  int // answers to the event before
}

func (p *pingPongConn) next() ([]byte, error) {
	if _, err := io.ReadFull(p.in, p.frame[:4]); err != nil {
		return nil, err
	}
	frame := p.frame[:binary.LittleEndian.Uint32(p.frame[:4])]
	_, err := io.ReadFull(p.in, frame)
	return frame, err
}

func (p *pingPongConn) skip(n int) error {
	for range n {
		if _, err := p.next(); err != nil {
			return err
		}
	}
	return nil
}

// command serves one command. The instance of a plugin with n calls has the id
// n+1.
func (p *pingPongConn) command() error {
	if err := p.skip(p.owed); err != nil {
		return err
	}
	frame, err := p.next()
	if err != nil {
		return err
	}
	sequence, rest := cut(frame)
	field, _, n := protowire.ConsumeTag(rest)
	message, _ := protowire.ConsumeBytes(rest[n:])
	const handleEvent = 36 // kong_plugin_protocol.RpcCall
	if field != handleEvent {
		return p.start(frame)
	}
	id, _ := protowire.ConsumeVarint(message[1:])
	sequence = append([]byte(nil), sequence...) // the frame is read over
	flights := canned[id-1]
	if len(flights.asks) > 0 {
		if _, err := p.conn.Write(flights.asks); err != nil {
			return err
		}
		if err := p.skip(reads(int(id - 1))); err != nil {
			return err
		}
	}
	p.out = append(p.out[:0], flights.tells...)
	p.out = appendFrame(p.out, sequence) // an RpcReturn begins as an RpcCall does
	p.owed = int(id-1) - reads(int(id-1))
	_, err = p.conn.Write(p.out)
	return err
}

// cut cuts off the first field, the sequence number.
func cut(message []byte) (first, rest []byte) {
	n := protowire.ConsumeFieldValue(1, protowire.VarintType, message[1:])
	return message[:1+n], message[1+n:]
}

func (p *pingPongConn) start(frame []byte) error {
	var call kong_plugin_protocol.RpcCall
	if err := proto.Unmarshal(frame, &call); err != nil {
		return err
	}
	var calls int32
	if _, err := fmt.Sscanf(string(call.GetCmdStartInstance().GetConfig()), `{"calls":%d}`, &calls); err != nil {
		return err
	}
	p.owed = 0
	data, err := proto.Marshal(&kong_plugin_protocol.RpcReturn{Sequence: call.GetSequence(), Return: &kong_plugin_protocol.RpcReturn_InstanceStatus{
		InstanceStatus: &kong_plugin_protocol.InstanceStatus{InstanceId: calls + 1},
	}})
	if err != nil {
		return err
	}
	_, err = p.conn.Write(appendFrame(nil, data))
	return err
}

// canned are the two flights of an event with n calls.
var canned = func() (all []struct{ asks, tells []byte }) {
	argument := func(s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
	}
	for n := range callCounts[len(callCounts)-1] + 1 {
		var flights struct{ asks, tells []byte }
		for i := range reads(n) {
			flights.asks = appendFrame(appendFrame(flights.asks, []byte("kong.nginx.get_var")), argument(variable(i)))
		}
		for range n - reads(n) {
			flights.tells = appendFrame(appendFrame(flights.tells, []byte("kong.service.request.clear_header")), argument("x-header"))
		}
		flights.tells = appendFrame(flights.tells, nil) // the end of the event
		all = append(all, flights)
	}
	return all
}()

func appendFrame(b, data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}
