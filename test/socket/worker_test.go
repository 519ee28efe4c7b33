package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-prefect/kong-prefect/test/kongside"
)

// request is what Kong tells of one request, by the PDK's methods: the frames
// with which it answers.
type request map[string][]byte

const (
	getHeaders = "kong.request.get_headers"
	getPath    = "kong.request.get_path"
	getMethod  = "kong.request.get_method"
	getQuery   = "kong.request.get_raw_query"
	getBody    = "kong.request.get_raw_body"
	getVar     = "kong.nginx.get_var"
	getShared  = "kong.ctx.shared.get"
)

// requestOf is a GET with a bearer token; none where it is empty.
func requestOf(token, path string) request {
	headers := map[string]any{"host": "gateway.example.com", "accept": "*/*"}
	if token != "" {
		headers["authorization"] = "Bearer " + token
	}
	table, err := structpb.NewStruct(headers)
	if err != nil {
		panic(err)
	}
	return request{
		getHeaders: marshal(table), getPath: text(path), getMethod: text("GET"),
		getVar: text("0123456789abcdef0123456789abcdef"),
	}
}

func marshal(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// text is a String message, whatever bytes it has.
func text(s string) []byte {
	data := marshal(&kong_plugin_protocol.ByteString{V: []byte(s)})
	return data
}

// outcome is what became of one event.
type outcome struct {
	calls  []string
	told   map[string][]byte // the arguments of the last call of each method
	shared map[string][]byte // what it left in kong.ctx.shared, a Value each
	exited bool
}

func (o outcome) exit(t *testing.T) *kong_plugin_protocol.ExitArgs {
	t.Helper()
	require.True(t, o.exited, "the request passed")
	args := new(kong_plugin_protocol.ExitArgs)
	require.NoError(t, proto.Unmarshal(o.told[kongside.MethodExit], args))
	return args
}

// event runs one event on a connection.
func event(c *kongside.Conn, instance int32, r request) (o outcome, err error) {
	o.told, o.shared = map[string][]byte{}, map[string][]byte{}
	ended, err := c.Event(instance, func(method string, args []byte) []byte {
		o.calls = append(o.calls, method)
		o.told[method] = append([]byte(nil), args...)
		if method == "kong.ctx.shared.set" {
			var kv kong_plugin_protocol.KV
			if proto.Unmarshal(args, &kv) == nil {
				o.shared[kv.GetK()] = marshal(kv.GetV())
			}
		}
		return r[method]
	})
	o.exited = ended.Exited
	return o, err
}

// dial connects, and starts an instance.
func dial(t *testing.T, socket, plugin, config string) (*kongside.Conn, int32) {
	t.Helper()
	c, err := kongside.Dial(socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	id, err := c.Start(plugin, []byte(config))
	require.NoError(t, err)
	return c, id
}

// setting is a plugin's configuration as Kong's workers have it: reconfigured,
// it is another text, of which each worker starts an instance of its own.
type setting struct {
	plugin string
	now    atomic.Pointer[version]
}

// version is one of its texts.
type version struct {
	text string
	met  atomic.Int64 // workers that have started it
}

func newSetting(plugin, config string) *setting {
	s := &setting{plugin: plugin}
	s.set(config)
	return s
}

func (s *setting) set(config string) { s.now.Store(&version{text: config}) }

// worker is one of nginx's: a connection, and the instances that it has started
// of one plugin's configuration.
type worker struct {
	socket  string
	setting *setting

	conn    *kongside.Conn
	config  *version
	id      int32
	started bool
}

// tally is what came of many requests.
type tally struct {
	requests atomic.Int64
	// repeated are events that the process closed before anything was done:
	// Kong starts the instance and asks again.
	repeated atomic.Int64
	// cut are events that ended after something was done: Kong does it twice.
	cut    atomic.Int64
	failed sync.Map // what a client would have seen instead of its answer
}

func (t *tally) failures() (all []string) {
	t.failed.Range(func(what, _ any) bool {
		all = append(all, what.(string))
		return true
	})
	return all
}

// do is one request, as Kong does it: repeated without limit where the socket
// was closed, and a failure where it can't be reached or is reset.
func (w *worker) do(ctx context.Context, r request, t *tally) (outcome, bool) {
	for ctx.Err() == nil {
		o, err := w.once(r)
		if err == nil {
			if o.exited {
				w.conn = nil // Kong closed it
			}
			return o, true
		}
		if w.conn != nil {
			_ = w.conn.Close()
		}
		w.conn, w.started = nil, false
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.failed.Store(fmt.Sprint(err), true)
			return o, false
		}
		if len(o.calls) > 0 {
			t.cut.Add(1)
		} else {
			t.repeated.Add(1)
		}
	}
	return outcome{}, false
}

func (w *worker) once(r request) (o outcome, err error) {
	if w.conn == nil {
		if w.conn, err = kongside.Dial(w.socket); err != nil {
			return o, err
		}
	}
	if config := w.setting.now.Load(); !w.started || config != w.config {
		old, had := w.id, w.started
		w.started = false
		if w.id, err = w.conn.Start(w.setting.plugin, []byte(config.text)); err != nil {
			return o, err
		}
		w.config, w.started = config, true
		config.met.Add(1)
		if had { // an instance of an older configuration is closed after
			if err := w.conn.Stop(old); err != nil {
				return o, err
			}
		}
	}
	return event(w.conn, w.id, r)
}

// load is requests without end, by workers of which each has a setting and a
// request.
type load struct {
	tally
	stop    func()
	running sync.WaitGroup
}

func (l *load) add(ctx context.Context, w *worker, r request, right func(outcome) bool) {
	l.running.Go(func() {
		for ctx.Err() == nil {
			o, answered := w.do(ctx, r, &l.tally)
			if answered && !right(o) {
				l.failed.Store(fmt.Sprintf("%s: exited=%t %s", w.setting.plugin, o.exited, o.told[kongside.MethodExit]), true)
			}
			if answered {
				l.requests.Add(1)
			}
		}
		if w.conn != nil {
			_ = w.conn.Close()
		}
	})
}

// end stops the load.
func (l *load) end() {
	l.stop()
	l.running.Wait()
}

// wait returns when n more requests are answered.
func (l *load) wait(t *testing.T, n int64) {
	t.Helper()
	from := l.requests.Load()
	require.Eventually(t, func() bool { return l.requests.Load() >= from+n }, testLimit, timeStep)
}

// waitUntilRepeated returns when the workers have met a process that doesn't know their instances.
func (l *load) waitUntilRepeated(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return l.repeated.Load() > 0 }, testLimit, timeStep)
}

func newLoad(t *testing.T) (*load, context.Context) {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	t.Cleanup(l.end)
	return l, ctx
}

// startRequest asks prefect-trigger for a run.
func startRequest(caller []byte) request {
	r := requestOf("", "/run")
	r[getMethod], r[getShared], r[getBody] = text("POST"), caller, rawBody("")
	return r
}

// guardRequest is a read of Prefect's API.
func guardRequest(caller []byte) request {
	r := requestOf("", "/api/flows/count")
	r[getMethod], r[getShared], r[getBody], r[getVar] = text("POST"), caller, rawBody("{}"), text("/api/flows/count")
	return r
}

func rawBody(content string) []byte {
	return marshal(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Content{Content: []byte(content)}})
}
