package pluginserver

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// script is a connection on which Kong says the same thing n times over.
type script struct {
	net.Conn
	once []byte
	left int
	in   bytes.Reader
}

func (s *script) Read(b []byte) (int, error) {
	if s.in.Len() == 0 {
		if s.left == 0 {
			return 0, io.EOF
		}
		s.left--
		s.in.Reset(s.once)
	}
	return s.in.Read(b)
}

func (s *script) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkEvent is what an event costs beside the socket: two reads in one
// flight, three writes in another.
func BenchmarkEvent(b *testing.B) {
	server, err := New(Options{Plugins: []*Plugin{plugin(func(ctx context.Context, e *Event) {
		if _, err := e.Headers(ctx); err != nil {
			panic(err)
		}
		id, err := e.Var(ctx, "kong_request_id")
		if err != nil {
			panic(err)
		}
		e.ClearHeader("x_caller_name")
		e.SetHeaders([]Header{{"X-Seen", []string{id}}})
		e.SetShared("key", "value")
	}, ReadHeaders(), ReadVar("kong_request_id"))}})
	require.NoError(b, err)
	command, err := proto.Marshal(&kong_plugin_protocol.RpcCall{Sequence: 1000, Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
		CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: server.instances.start(server.plugins["p"], []byte(`{}`)), EventName: "access"},
	}})
	require.NoError(b, err)
	said := appendFrame(nil, command)
	said = appendFrame(said, appendHeaders(nil, []Header{{"host", []string{"example.com"}}, {"authorization", []string{"Bearer x"}}, {"accept", []string{"*/*"}}}))
	said = appendFrame(said, appendStringField(nil, 1, "0123456789abcdef"))
	for range 3 {
		said = appendFrame(said, "")
	}
	b.ReportAllocs()
	b.ResetTimer()
	server.serveLink(newLink(&script{once: said, left: b.N}, server.overdue))
}
