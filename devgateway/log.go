package devgateway

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// logLevels are nginx's, the most severe first.
var logLevels = map[string]int{
	"emerg": 0, "alert": 1, "crit": 2, "error": 3, "warn": 4, "notice": 5, "info": 6, "debug": 7,
}

// logger writes lines in the shape of Kong's error log.
type logger struct {
	mu    sync.Mutex
	out   io.Writer
	level int
}

func newLogger(out io.Writer, level string) *logger {
	return &logger{out: out, level: logLevels[level]}
}

// line writes one line; who is "kong" or a plugin's name.
func (l *logger) line(level, who, msg string) {
	if logLevels[level] > l.level {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "%s [%s] [%s] %s\n", time.Now().Format("2006/01/02 15:04:05"), level, who,
		strings.TrimRight(msg, "\n"))
}

func (l *logger) kong(level, format string, a ...any) {
	l.line(level, "kong", fmt.Sprintf(format, a...))
}
