package logs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// told is what Kong's log gets.
func told(l *Log) (lines []string) {
	l.Notices.Tell(func(level, line string) { lines = append(lines, level+" "+line) })
	return lines
}

func TestWarningsAndErrorsReachKong(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := New(Options{Out: &out})
	l.Debug("detail")
	l.Info("serving", "socket", "/s")
	l.With("issuer", "https://idp").WithGroup("g").Error("the issuer's keys could not be fetched", "failures", 1)
	l.Warn("a file changed", "time", "then")
	require.Equal(t, []string{
		`err kong-prefect: msg="the issuer's keys could not be fetched" issuer=https://idp g.failures=1`,
		`warn kong-prefect: msg="a file changed" time=then`,
	}, told(l))
	require.Empty(t, told(l), "each line once")
	require.Equal(t, 3, strings.Count(out.String(), "\n"), "all of it is in the process's own log")
	require.Contains(t, out.String(), "time=then")
	require.Equal(t, map[string]uint64{"info": 1, "warn": 1, "error": 1}, l.Counts())
}

func TestTheListIsBounded(t *testing.T) {
	t.Parallel()
	l := New(Options{Out: &bytes.Buffer{}, Level: slog.LevelError})
	for range maxNotices + 5 {
		l.Warn("x" + strings.Repeat("ä", maxNoticeBytes))
	}
	lines := told(l)
	require.Len(t, lines, maxNotices+1)
	require.Less(t, len(lines[0]), maxNoticeBytes+20)
	require.True(t, utf8.ValidString(lines[0]), "it is cut between two characters")
	require.Equal(t, "warn kong-prefect: 5 more lines are in the process's own log alone", lines[maxNotices])
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	New(Options{Out: &out, JSON: true, Level: slog.LevelDebug}).Debug("detail", "n", 1)
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "detail", line["msg"])
	require.Equal(t, "DEBUG", line["level"])
}

func TestManyEventsAtOnceTellEachLineOnce(t *testing.T) {
	t.Parallel()
	l := New(Options{Out: &bytes.Buffer{}})
	var mu sync.Mutex
	var lines int
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 100 {
				l.Warn("w")
				l.Notices.Tell(func(_, line string) {
					if strings.Contains(line, "msg=w") {
						mu.Lock()
						lines++
						mu.Unlock()
					}
				})
			}
		})
	}
	wait.Wait()
	require.Equal(t, 800, lines+len(told(l)))
}
