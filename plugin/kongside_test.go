package plugin

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// testLimit bounds every wait of these tests.
const testLimit = 10 * time.Second

// kongSide is Kong's side of the real socket for one instance of a plugin: it
// answers the plugin's calls from a request and notes what it was told.
type kongSide struct {
	t        *testing.T
	conn     net.Conn
	in       *bufio.Reader
	seq      int64
	instance int32

	consumers []*kong_plugin_protocol.Consumer
}

// kongRequest is what Kong knows of one request.
type kongRequest struct {
	headers map[string][]string
	path    string

	method, query, body string
	vars                map[string]string // by default each is "a request id"
	shared              map[string]string
}

// kongSaw is what a plugin did to one request.
type kongSaw struct {
	// flights are how often Kong had to wait for the plugin: once for each
	// write of its, however many calls were in it.
	flights  int
	methods  []string
	cleared  []string
	set      map[string]string
	shared   map[string]any
	consumer *kong_plugin_protocol.AuthenticateArgs
	exit     *kong_plugin_protocol.ExitArgs
	body     string
}

// kongWith serves the plugins of a process and starts one instance.
func kongWith(t *testing.T, p *Process, plugin, config string) *kongSide {
	t.Helper()
	server, err := pluginserver.New(pluginserver.Options{Plugins: p.Plugins(), Refusal: Refusal, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := pluginserver.Listen(path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, testLimit) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	k := &kongSide{t: t}
	k.dial(path)
	k.send(k.command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: plugin, Config: []byte(config)},
	}}))
	ret := new(kong_plugin_protocol.RpcReturn)
	require.NoError(t, proto.Unmarshal(k.frame(), ret))
	k.instance = ret.GetInstanceStatus().GetInstanceId()
	return k
}

func (k *kongSide) dial(path string) {
	var err error
	k.conn, err = net.Dial("unix", path)
	require.NoError(k.t, err)
	require.NoError(k.t, k.conn.SetDeadline(time.Now().Add(testLimit)))
	k.t.Cleanup(func() { _ = k.conn.Close() })
	k.in = bufio.NewReaderSize(k.conn, 1<<20)
}

func (k *kongSide) command(call *kong_plugin_protocol.RpcCall) []byte {
	k.seq++
	call.Sequence = k.seq
	return k.encode(call)
}

func (k *kongSide) encode(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	require.NoError(k.t, err)
	return data
}

func (k *kongSide) send(frame []byte) {
	_, err := k.conn.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	require.NoError(k.t, err)
}

func (k *kongSide) frame() []byte {
	k.t.Helper()
	var size [4]byte
	_, err := io.ReadFull(k.in, size[:])
	require.NoError(k.t, err)
	data := make([]byte, binary.LittleEndian.Uint32(size[:]))
	_, err = io.ReadFull(k.in, data)
	require.NoError(k.t, err)
	return data
}

// access runs the access phase of a request. A connection that ended with an
// exit can't be used again.
func (k *kongSide) access(r kongRequest) kongSaw {
	k.t.Helper()
	saw := kongSaw{set: map[string]string{}, shared: map[string]any{}}
	k.send(k.command(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
		CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: k.instance, EventName: "access"},
	}}))
	for saw.exit == nil {
		if k.in.Buffered() == 0 {
			saw.flights++
		}
		method := string(k.frame())
		if method == "" {
			k.frame() // the RpcReturn
			break
		}
		saw.methods = append(saw.methods, method)
		reply := k.answer(&saw, r, method, k.frame())
		if saw.exit == nil {
			k.send(reply)
		}
	}
	return saw
}

func (k *kongSide) answer(saw *kongSaw, r kongRequest, method string, args []byte) []byte {
	k.t.Helper()
	read := func(m proto.Message) { require.NoError(k.t, proto.Unmarshal(args, m)) }
	var s kong_plugin_protocol.String
	switch method {
	case "kong.request.get_headers":
		table := map[string]any{}
		for name, values := range r.headers {
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = v
			}
			table[name] = list
		}
		headers, err := structpb.NewStruct(table)
		require.NoError(k.t, err)
		return k.encode(headers)
	case "kong.request.get_path":
		return k.encode(&kong_plugin_protocol.String{V: r.path})
	case "kong.request.get_method":
		return k.encode(&kong_plugin_protocol.String{V: r.method})
	case "kong.request.get_raw_query":
		return k.encode(&kong_plugin_protocol.String{V: r.query})
	case "kong.request.get_raw_body":
		return k.encode(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Content{Content: []byte(r.body)}})
	case "kong.ctx.shared.get":
		read(&s)
		if v, ok := r.shared[s.V]; ok {
			return k.encode(structpb.NewStringValue(v))
		}
	case "kong.service.request.set_raw_body":
		read(&s)
		saw.body = s.V
	case "kong.nginx.get_var":
		read(&s)
		if v, ok := r.vars[s.V]; ok {
			return k.encode(&kong_plugin_protocol.String{V: v})
		}
		return k.encode(&kong_plugin_protocol.String{V: "a request id"})
	case "kong.client.load_consumer":
		var spec kong_plugin_protocol.ConsumerSpec
		read(&spec)
		for _, c := range k.consumers {
			if c.Id == spec.Id || spec.ByUsername && c.Username == spec.Id {
				return k.encode(c)
			}
		}
	case "kong.service.request.clear_header":
		read(&s)
		saw.cleared = append(saw.cleared, s.V)
	case "kong.service.request.set_headers":
		var table structpb.Struct
		read(&table)
		for name, v := range table.AsMap() {
			saw.set[name], _ = v.(string)
		}
	case "kong.ctx.shared.set":
		var kv kong_plugin_protocol.KV
		read(&kv)
		saw.shared[kv.K] = kv.V.AsInterface()
	case "kong.client.authenticate":
		saw.consumer = new(kong_plugin_protocol.AuthenticateArgs)
		read(saw.consumer)
	case "kong.response.exit":
		saw.exit = new(kong_plugin_protocol.ExitArgs)
		read(saw.exit)
	case "kong.log.info", "kong.log.notice", "kong.log.warn", "kong.log.err":
	default:
		require.Fail(k.t, "a call that this Kong doesn't know", method)
	}
	return nil
}

// code is the reason code of a refusal.
func (s kongSaw) code(t *testing.T) string {
	t.Helper()
	require.NotNil(t, s.exit, "the request passed")
	var problem struct{ Code string }
	require.NoError(t, json.Unmarshal(s.exit.Body, &problem))
	return problem.Code
}

func (s kongSaw) answerHeader(name string) string {
	for _, h := range []string{name} {
		if v := s.exit.GetHeaders().GetFields()[h]; v != nil {
			return v.GetStringValue()
		}
	}
	return ""
}
