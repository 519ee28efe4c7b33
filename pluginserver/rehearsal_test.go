package pluginserver

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// tells is a plugin whose handler does what a test says.
type tells func(ctx context.Context, e *Event)

func (f tells) Access(ctx context.Context, e *Event) { f(ctx, e) }

func rehearse(t *testing.T, r *Rehearsal, do tells) error {
	t.Helper()
	p := &Plugin{Name: "p", Version: "1.0.0", Reads: []Read{ReadMethod(), ReadHeaders(), ReadVar("a")}, Compile: func(config []byte) Handler {
		require.JSONEq(t, `{"x":1}`, string(config), "Kong's own keys are gone")
		return do
	}}
	refusal := func(reason string) Answer { return Answer{Status: 500, Body: []byte(reason)} }
	return Rehearse(t.Context(), Options{Plugins: []*Plugin{p}, Refusal: refusal}, "p", []byte(`{"x":1,"__seq__":7}`), r)
}

func TestRehearsalAnswersAndNotes(t *testing.T) {
	t.Parallel()
	r := &Rehearsal{
		Method: "POST", Path: "/a b", RawQuery: "q=1", Body: []byte("body"), Vars: map[string]string{"a": "1"},
		Headers:   []Header{{"x-spoof", []string{"root"}}, {"accept", []string{"a", "b"}}},
		Consumers: []Consumer{{ID: "1", Username: "svc", CustomID: "c"}},
	}
	require.NoError(t, rehearse(t, r, func(ctx context.Context, e *Event) {
		var got [5]string
		var err error
		got[0], err = e.Method(ctx)
		require.NoError(t, err)
		got[1], err = e.Path(ctx)
		require.NoError(t, err)
		got[2], err = e.RawQuery(ctx)
		require.NoError(t, err)
		got[3], err = e.Var(ctx, "a")
		require.NoError(t, err)
		body, err := e.RawBody(ctx)
		require.NoError(t, err)
		got[4] = string(body.Content)
		require.Equal(t, [5]string{"POST", "/a b", "q=1", "1", "body"}, got)
		headers, err := e.Headers(ctx)
		require.NoError(t, err)
		require.Equal(t, []Header{{"x-spoof", []string{"root"}}, {"accept", []string{"a", "b"}}}, headers)
		none, err := e.Var(ctx, "none")
		require.NoError(t, err)
		require.Empty(t, none)
		_, ok, err := e.Shared(ctx, "s")
		require.NoError(t, err)
		require.False(t, ok)
		e.Log(LevelNotice, "a queued call before a question")
		c, ok, err := e.LoadConsumer(ctx, "svc", true)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "c", c.CustomID)
		_, ok, err = e.LoadConsumer(ctx, "other", true)
		require.NoError(t, err)
		require.False(t, ok)

		e.ClearHeader("x-spoof")
		e.SetHeaders([]Header{{"X-Caller", []string{"svc"}}})
		e.SetRawBody([]byte("new"))
		e.SetShared("s", "v")
		e.SetSharedList("groups", []string{"g1", "g2"})
		e.Authenticate(c, "credential")
	}))
	require.Equal(t, []Header{{"accept", []string{"a", "b"}}, {"x-caller", []string{"svc"}}}, r.Headers)
	require.Equal(t, "new", string(r.NewBody))
	require.Equal(t, map[string]string{"s": "v"}, r.Shared)
	require.Equal(t, []string{"g1", "g2"}, r.Groups)
	require.Equal(t, "svc", r.Consumer.Username)
	require.Equal(t, "credential", r.Credential)
	require.Nil(t, r.Answer, "the request passes")

	require.NoError(t, rehearse(t, r, func(ctx context.Context, e *Event) {
		shared, ok, err := e.Shared(ctx, "s")
		require.NoError(t, err)
		require.True(t, ok)
		e.Exit(403, []byte(shared), []Header{{"A", []string{"b"}}})
	}))
	require.Equal(t, &Answer{Status: 403, Body: []byte("v"), Headers: []Header{{"A", []string{"b"}}}}, r.Answer)
}

// What a server does about a handler that fails is done here too.
func TestRehearsalOfAHandlerThatFails(t *testing.T) {
	t.Parallel()
	r := &Rehearsal{}
	require.NoError(t, rehearse(t, r, func(context.Context, *Event) { panic("at the disco") }))
	require.Equal(t, ReasonPanic, string(r.Answer.Body))
	require.ErrorContains(t, Rehearse(t.Context(), Options{}, "p", nil, r), `no plugin "p"`)
}
