package devgateway

import (
	"bytes"
	"io"
	"net"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

const (
	endOK     = "ok"
	endKong   = "connection closed by Kong"
	endClosed = "recorder closed the connection"
)

func (r *recorder) play(c net.Conn, s *recorderScript, e *recordedEvent, seq int64) (end string, keep bool) {
	if s.Misbehave == "close_before" && r.still(s) {
		return endClosed, false
	}
	var calls []scriptedCall
	for _, call := range s.Calls {
		if call.Phase == e.Phase || (call.Phase == "" && e.Phase == "access") {
			calls = append(calls, call)
		}
	}
	if s.Pipeline {
		return r.pipeline(c, s, e, calls, seq)
	}
	for _, call := range calls {
		if call.Method == "@sleep" {
			if r.sleep(call.Args) {
				return r.ended(c, e, "write error: broken pipe")
			}
			continue
		}
		if !writeTestFrames(c, []byte(call.Method), encodeArgs(call)) || !r.reply(c, e, call.Method) {
			return endKong, false
		}
	}
	if s.Misbehave == "close_after" && r.still(s) {
		return endClosed, false
	}
	return r.finish(c, s, e, seq)
}

// sleep scales Kong's 60 s to the gateway's limit; it is true for one that is
// too long.
func (r *recorder) sleep(ms string) bool {
	if len(ms) > 4 && ms > "60000" {
		return true
	}
	time.Sleep(r.readLimit / 3)
	return false
}

// ended waits until Kong has closed the connection.
func (r *recorder) ended(c net.Conn, _ *recordedEvent, how string) (string, bool) {
	_, _ = io.Copy(io.Discard, c)
	return how, false
}

func (r *recorder) reply(c net.Conn, e *recordedEvent, method string) bool {
	reply, err := readTestFrame(c)
	e.Calls = append(e.Calls, recordedCall{method, reply, err != nil})
	return err == nil
}

func (r *recorder) finish(c net.Conn, s *recorderScript, e *recordedEvent, seq int64) (string, bool) {
	ret := &kong_plugin_protocol.RpcReturn{Sequence: seq}
	ok := true
	switch s.Misbehave {
	case "bad_seq":
		ret.Sequence = seq + 1
	case "no_seq":
		ret.Sequence = 0
	case "with_status":
		ret.Return = &kong_plugin_protocol.RpcReturn_InstanceStatus{InstanceStatus: &kong_plugin_protocol.InstanceStatus{Name: s.plugin}}
	case "empty_return":
		return endOK, writeTestFrames(c, nil, nil)
	case "garbage_return":
		return endOK, writeTestFrames(c, nil, []byte{0xff, 0xff, 0xff})
	case "no_end_frame":
		return endOK, sendReturn(c, ret)
	case "short_frame":
		if !writeTestFrames(c, nil) {
			return endKong, false
		}
		_, err := c.Write([]byte{50, 0, 0, 0, 1})
		if err != nil {
			return endKong, false
		}
		return r.ended(c, e, endOK)
	}
	ok = writeTestFrames(c, nil) && sendReturn(c, ret)
	return endOK, ok
}

// pipeline writes everything at once and drains the replies after.
func (r *recorder) pipeline(c net.Conn, s *recorderScript, e *recordedEvent, calls []scriptedCall, seq int64) (string, bool) {
	var buf bytes.Buffer
	for _, call := range calls {
		appendTestFrame(&buf, []byte(call.Method))
		appendTestFrame(&buf, encodeArgs(call))
	}
	appendTestFrame(&buf, nil)
	ret, _ := proto.Marshal(&kong_plugin_protocol.RpcReturn{Sequence: seq})
	appendTestFrame(&buf, ret)
	if _, err := c.Write(buf.Bytes()); err != nil {
		return endKong, false
	}
	answered := true
	for _, call := range calls {
		answered = r.reply(c, e, call.Method)
	}
	if !answered {
		return endKong, false
	}
	return endOK, true
}
