package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// screen is the one place that writes to the terminal.
type screen struct {
	mu      sync.Mutex
	file    *os.File
	tty     bool // a line may be written over
	colours bool
	waiting string // shown as the last line while something takes long
	since   time.Time
}

func newScreen(file *os.File) *screen {
	info, err := file.Stat()
	tty := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	return &screen{file: file, tty: tty, colours: tty && os.Getenv("NO_COLOR") == ""}
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
)

func (s *screen) paint(colour, text string) string {
	if !s.colours || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line writes one line above what is being waited for.
func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	_, _ = fmt.Fprintln(s.file, text) // a closed terminal is no reason to leave things running
	s.redraw()
}

func (s *screen) chapter(title string) { s.line("\n" + s.paint(bold, title)) }

func (s *screen) command(text string) { s.line("  " + s.paint(yellow, "$ ") + text) }

func (s *screen) field(name, value string) {
	s.line("    " + s.paint(grey, name+": ") + value)
}

func (s *screen) status(text string, code int) {
	colour := green
	if code >= 400 {
		colour = red
	}
	s.line("    " + s.paint(colour, text))
}

// up tells of something that was reached, and when.
func (s *screen) up(what string, after time.Duration) {
	s.line(fmt.Sprintf("  %s %s", s.paint(grey, fmt.Sprintf("%5.1f s", after.Seconds())), what))
}

// working shows that something takes long, with the seconds so far, until the returned function is called: on a
// terminal in one line that is written over, elsewhere in a line every ten seconds.
func (s *screen) working(what string) (done func()) {
	s.mu.Lock()
	s.waiting, s.since = what, time.Now()
	s.redraw()
	s.mu.Unlock()
	every := 10 * time.Second
	if s.tty {
		every = time.Second
	}
	ticker, end, ended := time.NewTicker(every), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				s.tick()
			case <-end:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(end)
		<-ended
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wipe()
		s.waiting = ""
	}
}

func (s *screen) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty {
		s.wipe()
		s.redraw()
		return
	}
	_, _ = fmt.Fprintf(s.file, "  %5.1f s %s ...\n", time.Since(s.since).Seconds(), s.waiting)
}

func (s *screen) wipe() {
	if s.tty && s.waiting != "" {
		_, _ = fmt.Fprint(s.file, "\r\x1b[K")
	}
}

func (s *screen) redraw() {
	if s.tty && s.waiting != "" {
		_, _ = fmt.Fprint(s.file, s.paint(grey, fmt.Sprintf("  %5.0f s %s ...", time.Since(s.since).Seconds(), s.waiting)))
	}
}
