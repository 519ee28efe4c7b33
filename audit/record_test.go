package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
)

// FuzzRecord: whatever an event holds, its line is one line, is read back as
// that event, and stands where it was put in the chain. What is no record is
// an error and no panic.
func FuzzRecord(f *testing.F) {
	f.Add("svc-nightly", "Alice Ä", "runner", "detail\nwith a line", int64(1_800_000_000_123_456_789), []byte(`{"seq":1,"prev":"`+strings.Repeat("0", hashLen)+`","v":1}`))
	f.Add("a\",\"seq\":7,\"x\":\"", "\x00\u2028\u2029", "</script>", "\xff\xfe", int64(-1), []byte(`{"seq":1,"prev":"`+strings.Repeat("0", hashLen)+`"} {"seq":2}`))
	f.Add("", "", "", "", int64(0), []byte(`{"seq":-1,"prev":[]}`))
	f.Fuzz(func(t *testing.T, subject, name, role, detail string, nanoseconds int64, foreign []byte) {
		event := Event{
			Time: time.Unix(0, nanoseconds).UTC(), Type: RunCreated, Detail: detail, Roles: []string{role, name},
			Caller:     &Caller{Kind: claims.User, Subject: subject, Name: name, Actors: []claims.Actor{{Subject: detail}}},
			Parameters: map[string]any{name: []any{detail, json.Number("12345678901234567890"), nil}},
		}
		body, err := event.encode()
		require.NoError(t, err)
		at := position{seq: 41, last: hash{1}}
		before := at
		lines := at.appendLine(at.appendLine([]byte("before\n"), body), body)
		require.Equal(t, 3, bytes.Count(lines, []byte("\n")), "a line each")
		split := bytes.Split(lines, []byte("\n"))

		first, err := parseLine(split[1])
		require.NoError(t, err)
		second, err := parseLine(split[2])
		require.NoError(t, err)
		require.Equal(t, before.seq+1, first.Seq)
		require.Equal(t, before.last.String(), first.Prev)
		require.Equal(t, first.Seq+1, second.Seq)
		require.NotEqual(t, first.Prev, second.Prev)
		require.Equal(t, at.seq, second.Seq)
		first.Version = 0
		require.Equal(t, inUTF8(event), first.Event)

		if r, err := parseLine(foreign); err == nil {
			require.NotZero(t, r.Seq)
			require.True(t, json.Valid(foreign), "nothing follows the record on its line")
		}
	})
}

// inUTF8 is the event as JSON can say it.
func inUTF8(e Event) Event {
	text := func(s string) string { return string([]rune(s)) }
	e.Detail, e.Roles = text(e.Detail), []string{text(e.Roles[0]), text(e.Roles[1])}
	list := e.Parameters
	e.Parameters = map[string]any{}
	for name, v := range list {
		v := v.([]any)
		e.Parameters[text(name)] = []any{text(v[0].(string)), v[1], v[2]}
	}
	c := *e.Caller
	c.Subject, c.Name, c.Actors = text(c.Subject), text(c.Name), []claims.Actor{{Subject: text(c.Actors[0].Subject)}}
	e.Caller = &c
	return e
}
