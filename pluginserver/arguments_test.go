package pluginserver

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a handler wants to say, Kong gets either that or one refusal; the
// socket stays open, since Kong runs again whatever ends in a closed one.
func TestWhatKongCantBeToldIsOneRefusal(t *testing.T) {
	t.Parallel()
	const bad = "caf\xe9"
	for name, say := range map[string]func(e *Event){
		"header value":         func(e *Event) { e.SetHeaders([]Header{{"X-A", []string{"a"}}, {"X-B", []string{"b", bad}}}) },
		"header name":          func(e *Event) { e.SetHeaders([]Header{{bad, []string{"a"}}}) },
		"header without name":  func(e *Event) { e.SetHeaders([]Header{{"", []string{"a"}}}) },
		"cleared header":       func(e *Event) { e.ClearHeader(bad) },
		"shared value":         func(e *Event) { e.SetShared("k", bad) },
		"shared key":           func(e *Event) { e.SetShared(bad, "v") },
		"shared list":          func(e *Event) { e.SetSharedList("k", []string{"v", bad}) },
		"shared value too big": func(e *Event) { e.SetShared("k", strings.Repeat("x", MaxFrameBytes+1)) },
		"answer's header":      func(e *Event) { e.Exit(401, nil, []Header{{"WWW-Authenticate", []string{bad}}}) },
		"answer's status":      func(e *Event) { e.Exit(42, nil, nil) },
		"answer too big":       func(e *Event) { e.Exit(200, make([]byte, MaxFrameBytes+1), nil) },
		"between good ones": func(e *Event) {
			e.SetShared("before", "good")
			e.ClearHeader(bad)
			e.SetShared("after", "good")
		},
		"before a good answer": func(e *Event) { e.ClearHeader(bad); e.Exit(42, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dial := serveTest(t, Options{Refusal: refusal, Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) { say(e) })}})
			k := dial()
			calls, exited := k.event(k.start("p", `{}`), nil)
			require.True(t, exited)
			require.Equal(t, []string{"kong.response.exit"}, methods(calls))
			require.Equal(t, ReasonUnsendable, string(exitOf(t, calls[0]).Body))
		})
	}
}

func TestWhatKongCanBeToldIsSaid(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Refusal: refusal, Plugins: []*Plugin{plugin(func(_ context.Context, e *Event) {
		e.SetHeaders([]Header{{"X-Empty", []string{""}}, {"X-Gone", nil}, {"X-Ä", []string{"ä\r\n"}}})
		e.Log(LevelInfo, "caf\xe9") // a line is mended
		e.Exit(599, []byte("caf\xe9"), nil)
	})}})
	k := dial()
	calls, exited := k.event(k.start("p", `{}`), nil)
	require.True(t, exited)
	require.Equal(t, []string{"kong.service.request.set_headers", "kong.log.info", "kong.response.exit"}, methods(calls))
	require.Contains(t, string(calls[1].args), "caf\uFFFD")
	require.Equal(t, "caf\xe9", string(exitOf(t, calls[2]).Body), "a body is bytes")
}

// A refusal that can't be sent is sent without its words.
func TestUnsendableRefusal(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{
		Refusal: func(string) Answer { return Answer{Status: 200, Headers: []Header{{"\xff", nil}}} },
		Plugins: []*Plugin{plugin(func(context.Context, *Event) { panic("oops") })},
	})
	k := dial()
	calls, exited := k.event(k.start("p", `{}`), nil)
	require.True(t, exited)
	require.Equal(t, int32(500), exitOf(t, calls[0]).Status)
}

// Kong answers a call that has no answer, in the middle of the event: nothing
// after it can be trusted, and the request doesn't pass.
func TestUnexpectedAnswerInAnEventRefusesIt(t *testing.T) {
	t.Parallel()
	dial := serveTest(t, Options{Refusal: refusal, Plugins: []*Plugin{plugin(func(ctx context.Context, e *Event) {
		e.SetShared("k", "v")
		_, err := e.Method(ctx)
		require.ErrorIs(t, err, errUnexpectedReply)
		_, err = e.Path(ctx)
		require.ErrorIs(t, err, errUnexpectedReply)
	})}})
	k := dial()
	calls, exited := k.event(k.start("p", `{}`), map[string][]byte{"kong.ctx.shared.set": []byte("what?"), "kong.request.get_method": text(t, "GET")})
	require.True(t, exited)
	require.Equal(t, []string{"kong.ctx.shared.set", "kong.request.get_method", "kong.response.exit"}, methods(calls))
	require.Equal(t, ReasonUnreadable, string(exitOf(t, calls[2]).Body))
}
