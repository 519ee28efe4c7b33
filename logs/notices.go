package logs

import (
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

const (
	// maxNotices bounds what waits for the next event.
	maxNotices = 32
	// maxNoticeBytes bounds a line: nginx cuts its own at 2 KiB.
	maxNoticeBytes = 1500
)

// Notices are the lines that wait for Kong's log.
type Notices struct {
	some    atomic.Bool // spares an event the lock
	mu      sync.Mutex
	lines   []notice
	dropped int
}

type notice struct{ level, line string }

// Tell hands over what waits, each line once and to one caller. log is an
// event's kong.log, by the levels of package pluginserver.
func (n *Notices) Tell(log func(level, line string)) {
	if !n.some.Load() {
		return
	}
	n.mu.Lock()
	lines, dropped := n.lines, n.dropped
	n.lines, n.dropped = nil, 0
	n.some.Store(false)
	n.mu.Unlock()
	for _, l := range lines {
		log(l.level, l.line)
	}
	if dropped > 0 {
		log(pluginserver.LevelWarn, "kong-prefect: "+strconv.Itoa(dropped)+" more lines are in the process's own log alone")
	}
}

// handler takes warnings and errors.
func (n *Notices) handler() slog.Handler {
	return slog.NewTextHandler(n, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				return slog.Attr{} // Kong's log has its own
			}
			return a
		},
	})
}

// errorPrefix begins the line of an error, for slog writes the level first.
const errorPrefix, warnPrefix = "level=ERROR ", "level=WARN "

// Write takes one line, as a [slog.TextHandler] writes it.
func (n *Notices) Write(data []byte) (int, error) {
	line, level := strings.TrimRight(string(data), "\n"), pluginserver.LevelWarn
	if rest, isError := strings.CutPrefix(line, errorPrefix); isError {
		line, level = rest, pluginserver.LevelErr
	}
	line = "kong-prefect: " + strings.TrimPrefix(line, warnPrefix)
	if len(line) > maxNoticeBytes {
		line = strings.ToValidUTF8(line[:maxNoticeBytes], "") + "..."
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.lines) < maxNotices {
		n.lines = append(n.lines, notice{level, line})
	} else {
		n.dropped++
	}
	n.some.Store(true)
	return len(data), nil
}
