package pluginserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

func text(t *testing.T, s string) []byte {
	t.Helper()
	data, err := proto.Marshal(&kong_plugin_protocol.String{V: s})
	require.NoError(t, err)
	return data
}

func compilePlain(p *Plugin, config []byte) Handler { return p.Compile(config) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func refusal(reason string) Answer { return Answer{Status: 500, Body: []byte(reason)} }

func exitOf(t *testing.T, c call) *kong_plugin_protocol.ExitArgs {
	t.Helper()
	args := new(kong_plugin_protocol.ExitArgs)
	require.NoError(t, proto.Unmarshal(c.args, args))
	return args
}

func TestReadsComeFirstAndWritesLast(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(ctx context.Context, e *Event) {
		e.ClearHeader("x_caller_name")
		method, err := e.Method(ctx)
		if err != nil {
			panic(err)
		}
		id, err := e.Var(ctx, "kong_request_id")
		if err != nil {
			panic(err)
		}
		e.SetHeaders([]Header{{"X-Seen", []string{method + " " + id}}})
	}, ReadMethod(), ReadVar("kong_request_id"))}})
	k := dial()
	id := k.start("p", `{}`)
	for range 3 { // the answers to queued calls are drained before the next command
		calls, exited := k.event(id, map[string][]byte{
			"kong.request.get_method": text(t, "POST"), "kong.nginx.get_var": text(t, "abc"),
		})
		require.False(t, exited)
		require.Equal(t, []string{
			"kong.request.get_method", "kong.nginx.get_var", "kong.service.request.clear_header", "kong.service.request.set_headers",
		}, methods(calls))
		headers, err := decodeHeaders(calls[3].args)
		require.NoError(t, err)
		require.Equal(t, []Header{{"X-Seen", []string{"POST abc"}}}, headers)
	}
}

func TestOneWriteAFlight(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) {
		e.ClearHeader("a")
		e.SetShared("k", "v")
	}, ReadMethod(), ReadPath())}})
	k := dial()
	id := k.start("p", `{}`)
	k.handleEvent(id)
	// Both reads are there before either is answered, and both writes and the
	// end before any of them is.
	for _, want := range []string{"kong.request.get_method", "kong.request.get_path"} {
		require.Equal(t, want, string(k.frame()))
		k.frame()
	}
	k.send(text(t, "GET"), text(t, "/"))
	for _, want := range []string{"kong.service.request.clear_header", "kong.ctx.shared.set"} {
		require.Equal(t, want, string(k.frame()))
		k.frame()
	}
	require.Empty(t, k.frame())
	k.returned()
	k.send(nil, nil)
	k.closeInstance(id)
}

func TestExitSendsNothingAfterIt(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) {
		e.Log(LevelNotice, "line")
		e.Exit(401, []byte("no"), []Header{{"WWW-Authenticate", []string{"Bearer"}}})
		e.SetShared("after", "exit")
	})}})
	k := dial()
	k.handleEvent(k.start("p", `{}`))
	require.Equal(t, "kong.log.notice", string(k.frame()))
	k.frame()
	k.send(nil)
	require.Equal(t, "kong.response.exit", string(k.frame()))
	args := exitOf(t, call{args: k.frame()})
	require.Equal(t, int32(401), args.Status)
	require.Equal(t, "Bearer", args.Headers.AsMap()["WWW-Authenticate"])
	// Were the exit not honoured, Kong would wait in vain: no end follows.
	require.NoError(t, k.conn.(*net.UnixConn).CloseWrite())
	_, err := k.tryFrame()
	require.ErrorIs(t, err, io.EOF)
}

func TestUnknownInstanceClosesBeforeAnything(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(context.Context, *Event) { panic("never") }, ReadMethod())}})
	k := dial()
	k.handleEvent(k.start("p", `{}`) + 1)
	_, err := k.tryFrame()
	require.ErrorIs(t, err, io.EOF)
}

func TestPanicRefusesThisRequestAlone(t *testing.T) {
	t.Parallel()
	var panics atomic.Bool
	panics.Store(true)
	dial := serveTest(t, Options{Refusal: refusal, Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) {
		e.SetShared("half", "done")
		if panics.Load() {
			panic("oops")
		}
	})}})
	k := dial()
	id := k.start("p", `{}`)
	calls, exited := k.event(id, nil)
	require.True(t, exited)
	require.Equal(t, []string{"kong.response.exit"}, methods(calls), "what the handler queued is dropped")
	require.Equal(t, ReasonPanic, string(exitOf(t, calls[0]).Body))
	panics.Store(false)
	calls, exited = dial().event(id, nil)
	require.False(t, exited)
	require.Equal(t, []string{"kong.ctx.shared.set"}, methods(calls))
}

// sync.OnceValue would panic again for each route with the same configuration.
func TestPanicInCompileRefusesItsRoutesAlone(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var logged sync.Mutex
	dial := serveTest(t, Options{
		Refusal: refusal,
		Log:     slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) { logged.Lock(); defer logged.Unlock(); return log.Write(p) }), nil)),
		Plugins: []*Plugin{{Name: "p", Compile: func(config []byte) Handler {
			if string(config) == `{"bad":1}` {
				panic("can't compile this")
			}
			return handle(func(context.Context, *Event) {})
		}}},
	})
	k := dial()
	bad, same, good := k.start("p", `{"bad":1}`), k.start("p", `{"bad":1,"route_id":"2"}`), k.start("p", `{}`)
	for _, id := range []int32{bad, same, bad} {
		calls, exited := dial().event(id, nil)
		require.True(t, exited)
		require.Equal(t, ReasonPanic, string(exitOf(t, calls[0]).Body))
	}
	_, exited := k.event(good, nil)
	require.False(t, exited)
	logged.Lock()
	defer logged.Unlock()
	require.Contains(t, log.String(), "can't compile this")
	require.Contains(t, log.String(), "server_test.go", "the stack")
	require.Equal(t, 1, strings.Count(log.String(), "compiling a configuration panicked"), "compiled once")
}

func TestClosedInstanceIsUnknown(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(context.Context, *Event) {})}})
	k := dial()
	a, b := k.start("p", `{}`), k.start("p", `{}`)
	require.NotEqual(t, a, b)
	k.closeInstance(a)
	k.closeInstance(a) // Kong's workers may both do it
	k.closeInstance(12345)
	_, exited := k.event(b, nil)
	require.False(t, exited, "the other instance of the same configuration goes on")
	k.handleEvent(a)
	_, err := k.tryFrame()
	require.ErrorIs(t, err, io.EOF)
}

func TestOverdueHandlerIsAnsweredFor(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	dial := serveTest(t, Options{Refusal: refusal, EventTimeout: 20 * time.Millisecond, Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) {
		<-release // it doesn't even look at its context
		e.SetShared("too", "late")
	})}})
	k := dial()
	calls, exited := k.event(k.start("p", `{}`), nil)
	close(release)
	require.True(t, exited)
	require.Equal(t, ReasonTimeout, string(exitOf(t, calls[0]).Body))
}

func TestAnswerToAVoidCallEndsTheConnection(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) { e.SetShared("k", "v") })}})
	k := dial()
	id := k.start("p", `{}`)
	_, exited := k.event(id, map[string][]byte{"kong.ctx.shared.set": []byte("what?")})
	require.False(t, exited)
	_, err := k.tryFrame()
	require.Error(t, err)
}

func TestOversizeAnswerStaysInStep(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	dial := serveTest(t, Options{Plugins: []*Plugin{plugin(func(ctx context.Context, e *Event) {
		_, err := e.RawBody(ctx)
		method, other := e.Method(ctx)
		if method != "PUT" || other != nil {
			err = errors.New("out of step")
		}
		got <- err
	}, ReadRawBody(), ReadMethod())}})
	k := dial()
	_, exited := k.event(k.start("p", `{}`), map[string][]byte{
		"kong.request.get_raw_body": make([]byte, MaxFrameBytes+1), "kong.request.get_method": text(t, "PUT"),
	})
	require.False(t, exited)
	require.ErrorIs(t, <-got, ErrFrameTooLarge)
}

func TestInstancesOfOneConfigurationShareAHandler(t *testing.T) {
	t.Parallel()
	compiled := 0
	p := &Plugin{Name: "p", Compile: func([]byte) Handler { compiled++; return handle(func(context.Context, *Event) {}) }}
	now := time.Unix(1_800_000_000, 0)
	s := newInstances(compilePlain, func() time.Time { return now })
	a := s.start(p, []byte(`{"x":1,"y":[2],"__seq__":7,"route_id":"r1"}`))
	b := s.start(p, []byte(`{"route_id":"r2","y":[2],"x":1,"__seq__":9,"__key__":"k"}`))
	c := s.start(p, []byte(`{"x":2}`))
	require.Equal(t, 2, compiled)
	require.Len(t, map[int32]bool{a: true, b: true, c: true}, 3)
	s.close(a)
	require.Nil(t, s.find(a))
	require.NotNil(t, s.find(b))
	require.Len(t, s.handlers, 2)
	s.close(b)
	s.close(b) // twice does no harm
	s.close(c)
	require.Empty(t, s.handlers)
	require.Empty(t, s.byID)
}

// A worker that outlives a process must not reach another configuration in the
// next one by an id that both gave.
func TestProcessesShareNoInstanceIDs(t *testing.T) {
	t.Parallel()
	const instances = 3000 // of each process, at least
	first := time.UnixMilli(1_800_000_000_123)
	for name, between := range map[string]time.Duration{
		"a millisecond": time.Millisecond, "within a second": 20 * time.Millisecond, "a second": time.Second,
		"a reload's six seconds": 6 * time.Second, "ten minutes": 10 * time.Minute, "nine hours": 1 << 15 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			apart := int64(firstID(first.Add(between))) - int64(firstID(first))
			apart = min((apart+1<<31)%(1<<31), (1<<31-apart)%(1<<31))
			require.Greater(t, apart, int64(instances))
		})
	}
}

func TestInstancesAreBounded(t *testing.T) {
	t.Parallel()
	p := &Plugin{Name: "p", Compile: func([]byte) Handler { return handle(func(context.Context, *Event) {}) }}
	now := time.Unix(1_800_000_000, 0)
	s := newInstances(compilePlain, func() time.Time { return now })
	for range maxInstances {
		s.start(p, []byte(`{}`))
	}
	now = now.Add(time.Hour)
	last := s.start(p, []byte(`{}`))
	require.NotNil(t, s.find(last))
	require.Less(t, len(s.byID), maxInstances)
	require.GreaterOrEqual(t, len(s.byID), maxInstances/2)
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	first, err := Listen(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())

	second, err := Listen(path) // the next process of a reload
	require.NoError(t, err)
	require.NoError(t, first.Close())
	conn, err := net.Dial("unix", path)
	require.NoError(t, err, "the first one's end leaves the second's socket")
	require.NoError(t, conn.Close())
	require.NoError(t, second.Close())
	_, err = os.Stat(path)
	require.NoError(t, err, "never unlinked")

	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	_, err = Listen(file)
	require.ErrorContains(t, err, "is no socket")
}

func TestDrainLetsRunningEventsEnd(t *testing.T) {
	t.Parallel()
	running, release := make(chan struct{}), make(chan struct{})
	server, err := New(Options{Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) {
		close(running)
		<-release
		e.SetShared("k", "v")
	})}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, testLimit) }()
	dial := func() *kongSide {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		return &kongSide{t: t, conn: conn, in: newFrameReader(conn).r}
	}
	busy, idle := dial(), dial()
	id := busy.start("p", `{}`)
	idle.start("p", `{}`)
	busy.handleEvent(id)
	<-running
	cancel()
	_, err = idle.tryFrame()
	require.ErrorIs(t, err, io.EOF, "idle connections close at once")
	close(release)
	require.Equal(t, "kong.ctx.shared.set", string(busy.frame()))
	busy.frame()
	require.Empty(t, busy.frame())
	busy.returned()
	_, err = busy.tryFrame()
	require.ErrorIs(t, err, io.EOF, "and the others after their event")
	busy.send(nil)       // Kong is still answering: it must not meet a closed socket
	idle.handleEvent(id) // nor where it was just sending a command
	require.NoError(t, busy.conn.Close())
	require.NoError(t, idle.conn.Close())
	require.NoError(t, <-served)
}

// Who doesn't close is closed.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	server, err := New(Options{Plugins: []*Plugin{plugin(func(ctx context.Context, _ *Event) { <-ctx.Done() })}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener, 50*time.Millisecond) }()
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	k := &kongSide{t: t, conn: conn, in: newFrameReader(conn).r}
	k.handleEvent(k.start("p", `{}`))
	require.Eventually(t, func() bool { // it runs
		server.mu.Lock()
		defer server.mu.Unlock()
		for _, busy := range server.links {
			if busy {
				return true
			}
		}
		return false
	}, testLimit, time.Millisecond)
	cancel()
	_, err = k.tryFrame()
	require.Error(t, err)
	require.NoError(t, <-served)
}
