package pluginserver

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// broken is a handler that says of itself that it refuses everything.
type broken struct{ handle }

func (broken) Broken() bool { return true }

func TestStats(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pass := handle(func(context.Context, *Event) {})
	s, err := New(Options{Plugins: []*Plugin{{Name: "p", Compile: func(config []byte) Handler {
		if string(config) == `{"bad":1}` {
			return broken{pass}
		}
		return pass
	}}}})
	require.NoError(t, err)
	s.instances.now = func() time.Time { return now }
	none := s.Stats()
	require.Empty(t, none.Configurations)
	for _, config := range []string{`{}`, `{"__seq__":2}`, `{"a":1}`, `{"bad":1}`} {
		s.instances.start(s.plugins["p"], []byte(config))
	}
	some := s.Stats()
	require.Equal(t, map[string]int{"p": 3}, some.Configurations, "two workers with one configuration count once")
	require.Equal(t, map[string]int{"p": 1}, some.Broken)
	require.NotEqual(t, none.Digest, some.Digest)
	now = now.Add(lately * time.Second)
	require.Empty(t, s.Stats().Broken, "it has met no request for long")
}

func TestWhatTheServerRefusesIsTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	dial := serveTest(t, Options{
		Refusal: refusal,
		Refused: func(plugin, reason string) { mu.Lock(); defer mu.Unlock(); told = append(told, plugin+" "+reason) },
		Plugins: []*Plugin{
			plugin(func(_ context.Context, e *Event) { e.SetShared("k", "\xff") }),
			{Name: "panics", Compile: func([]byte) Handler { return handle(func(context.Context, *Event) { panic("oops") }) }},
			{Name: "refuses", Compile: func([]byte) Handler {
				return handle(func(_ context.Context, e *Event) { e.Exit(403, nil, nil) })
			}},
		},
	})
	for _, name := range []string{"p", "panics", "refuses"} {
		k := dial()
		_, exited := k.event(k.start(name, `{}`), nil)
		require.True(t, exited)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"p " + ReasonUnsendable, "panics " + ReasonPanic}, told)
}
