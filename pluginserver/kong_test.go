package pluginserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// testLimit bounds every wait of these tests.
const testLimit = 10 * time.Second

// kongSide is one connection as Kong's pb_rpc.lua drives it: strictly in
// order, one frame at a time.
type kongSide struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	seq  int64
}

// serveTest runs a server with the given plugins until the test ends.
func serveTest(t *testing.T, o Options) (dial func() *kongSide) {
	t.Helper()
	server, err := New(o)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, testLimit) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	return func() *kongSide {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(testLimit)))
		t.Cleanup(func() { _ = conn.Close() })
		return &kongSide{t: t, conn: conn, in: bufio.NewReader(conn)}
	}
}

func (k *kongSide) send(frames ...[]byte) {
	k.t.Helper()
	for _, f := range frames {
		_, err := k.conn.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(f))), f...))
		require.NoError(k.t, err)
	}
}

func (k *kongSide) frame() []byte {
	k.t.Helper()
	data, err := k.tryFrame()
	require.NoError(k.t, err)
	return data
}

func (k *kongSide) tryFrame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(k.in, size[:]); err != nil {
		return nil, err
	}
	data := make([]byte, binary.LittleEndian.Uint32(size[:]))
	_, err := io.ReadFull(k.in, data)
	return data, err
}

func (k *kongSide) command(call *kong_plugin_protocol.RpcCall) {
	k.t.Helper()
	k.seq++
	call.Sequence = k.seq
	data, err := proto.Marshal(call)
	require.NoError(k.t, err)
	k.send(data)
}

func (k *kongSide) returned() *kong_plugin_protocol.RpcReturn {
	k.t.Helper()
	ret := new(kong_plugin_protocol.RpcReturn)
	require.NoError(k.t, proto.Unmarshal(k.frame(), ret))
	require.Equal(k.t, k.seq, ret.Sequence)
	return ret
}

// start starts an instance and gives its id.
func (k *kongSide) start(plugin, config string) int32 {
	k.t.Helper()
	k.command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: plugin, Config: []byte(config)},
	}})
	return k.returned().GetInstanceStatus().GetInstanceId()
}

func (k *kongSide) closeInstance(id int32) {
	k.t.Helper()
	k.command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdCloseInstance{
		CmdCloseInstance: &kong_plugin_protocol.CmdCloseInstance{InstanceId: id},
	}})
	k.returned()
}

// call is a PDK call that a plugin made.
type call struct {
	method string
	args   []byte
}

// event runs an event: answers maps methods to replies, the others get the
// empty one. It returns the calls in their order; exited is true when the
// plugin answered the request, after which Kong closes the connection.
func (k *kongSide) event(id int32, answers map[string][]byte) (calls []call, exited bool) {
	k.t.Helper()
	k.handleEvent(id)
	for {
		method := k.frame()
		if len(method) == 0 {
			k.returned()
			return calls, false
		}
		calls = append(calls, call{string(method), k.frame()})
		if string(method) == "kong.response.exit" {
			require.NoError(k.t, k.conn.Close())
			return calls, true
		}
		k.send(answers[string(method)])
	}
}

func (k *kongSide) handleEvent(id int32) {
	k.t.Helper()
	k.command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
		CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: id, EventName: "access"},
	}})
}

func methods(calls []call) (names []string) {
	for _, c := range calls {
		names = append(names, c.method)
	}
	return names
}

// handle is a handler made of a function.
type handle func(ctx context.Context, e *Event)

func (h handle) Access(ctx context.Context, e *Event) { h(ctx, e) }

func plugin(h handle, reads ...Read) *Plugin {
	return &Plugin{Name: "p", Version: "1.0.0", Reads: reads, Compile: func([]byte) Handler { return h }}
}
