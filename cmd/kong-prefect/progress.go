package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progressEvery bounds how often the line is written anew.
const progressEvery = 100 * time.Millisecond

// progress tells who waits at a terminal what a long work is at, in one line
// that is gone in the end. Where standard error is no terminal, or one that
// can't take a line away, it says nothing. It may be nil.
type progress struct {
	out   io.Writer
	shown time.Time
}

// progressOn begins; stderr is the command's.
func progressOn(stderr io.Writer) *progress {
	if !isTerminal(stderr) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &progress{out: stderr}
}

// at says what the work is at, "record 12000" for instance.
func (p *progress) at(format string, args ...any) {
	if p == nil || time.Since(p.shown) < progressEvery {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.out, "\r\x1b[K%s ...", printable(fmt.Sprintf(format, args...)))
}

// end takes the line away: before anything else is written.
func (p *progress) end() {
	if p != nil && !p.shown.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
