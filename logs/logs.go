// Package logs is what the operator reads: the process's own log, and what of
// it must be seen in Kong's.
//
// Kong logs what a plugin process writes at level info, which nobody sees at
// its default level, notice. So warnings and errors wait in a short list as
// well, and the next event of any route hands them to kong.log.
//
// It refuses to grow: what doesn't fit into the list is counted, and it is in
// the process's own log all the same.
//
// Read [New] first.
package logs

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// Options of a log.
type Options struct {
	// Out gets a line for each record. Required.
	Out io.Writer
	// Level is the least that is logged. Default: info.
	Level slog.Level
	// JSON writes objects in place of key=value.
	JSON bool
}

// Log is the process's log.
type Log struct {
	*slog.Logger
	// Notices are what Kong's log shall have.
	Notices *Notices
	counts  counts
}

// New makes a log. Its messages are constants, and what differs is in fields.
func New(o Options) *Log {
	l := &Log{Notices: &Notices{}}
	own := &slog.HandlerOptions{Level: o.Level}
	var handler slog.Handler = slog.NewTextHandler(o.Out, own)
	if o.JSON {
		handler = slog.NewJSONHandler(o.Out, own)
	}
	l.Logger = slog.New(slog.NewMultiHandler(handler, l.Notices.handler(), &l.counts))
	return l
}

// Counts are the records so far, by level: info, warn and error.
func (l *Log) Counts() map[string]uint64 {
	return map[string]uint64{"info": l.counts.info.Load(), "warn": l.counts.warn.Load(), "error": l.counts.err.Load()}
}

// counts is a handler that counts.
type counts struct{ info, warn, err atomic.Uint64 }

// Enabled implements [slog.Handler].
func (*counts) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements [slog.Handler].
func (c *counts) Handle(_ context.Context, r slog.Record) error {
	switch {
	case r.Level >= slog.LevelError:
		c.err.Add(1)
	case r.Level >= slog.LevelWarn:
		c.warn.Add(1)
	default:
		c.info.Add(1)
	}
	return nil
}

// WithAttrs implements [slog.Handler].
func (c *counts) WithAttrs([]slog.Attr) slog.Handler { return c }

// WithGroup implements [slog.Handler].
func (c *counts) WithGroup(string) slog.Handler { return c }
