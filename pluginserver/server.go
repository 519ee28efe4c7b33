package pluginserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Answer is how a request is refused that no handler could answer.
type Answer struct {
	Status  int
	Body    []byte
	Headers []Header
}

// Reasons for which the server itself refuses a request, given to
// [Options.Refusal].
const (
	ReasonPanic      = "plugin_panic"      // the handler panicked, or Compile did
	ReasonTimeout    = "plugin_timeout"    // the handler took longer than Options.EventTimeout
	ReasonUnreadable = "plugin_unreadable" // Kong's answers could not be understood
	ReasonUnsendable = "plugin_unsendable" // the handler said what Kong can't be told
)

// Options of a server.
type Options struct {
	// Plugins to host, by distinct names.
	Plugins []*Plugin
	// Log gets what an operator should see; nil discards it.
	Log *slog.Logger
	// EventTimeout ends an event whose handler takes longer. Kong itself
	// gives up after 60 s without a sign, and then can't be given a reason.
	// Default 50 s.
	EventTimeout time.Duration
	// Refusal makes the answer for one of the reasons above. Nil: a bare 500.
	Refusal func(reason string) Answer
	// Refused is told of every request that the server itself refuses, after
	// the handler's own decision if it came to one. Nil: nobody is told.
	Refused func(plugin, reason string)
}

// Server hosts plugins on a unix socket.
type Server struct {
	options   Options
	plugins   map[string]*Plugin
	instances *instances

	mu     sync.Mutex
	links  map[*link]bool // true while it runs an event
	drains bool
	done   sync.WaitGroup
}

// New returns a server that isn't listening yet.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.EventTimeout <= 0 {
		o.EventTimeout = 50 * time.Second
	}
	if o.Refusal == nil {
		o.Refusal = func(string) Answer { return Answer{Status: 500} }
	}
	if o.Refused == nil {
		o.Refused = func(string, string) {}
	}
	s := &Server{
		options: o,
		plugins: map[string]*Plugin{},
		links:   map[*link]bool{},
	}
	s.instances = newInstances(s.compile, time.Now)
	for _, p := range o.Plugins {
		if s.plugins[p.Name] != nil {
			return nil, fmt.Errorf("plugin %q is there twice", p.Name)
		}
		s.plugins[p.Name] = p
	}
	return s, nil
}

// Serve accepts connections until the context ends or the listener fails, and
// then waits for running events to end: until they do, or until drain is over.
func (s *Server) Serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			s.shutdown(drain)
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting a connection: %w", err)
		}
		lk := newLink(conn, s.overdue)
		if !s.enter(lk) {
			lk.close()
			continue
		}
		go func() {
			defer s.leave(lk)
			s.serveLink(lk)
		}()
	}
}

func (s *Server) enter(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drains {
		return false
	}
	s.links[l] = false
	s.done.Add(1)
	return true
}

func (s *Server) leave(l *link) {
	l.close()
	s.mu.Lock()
	delete(s.links, l)
	s.mu.Unlock()
	s.done.Done()
}

// begin marks a link as busy; it reports false when the server drains, and
// the command must not be started.
func (s *Server) begin(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drains {
		return false
	}
	s.links[l] = true
	return true
}

// end marks a link as idle.
func (s *Server) end(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[l] = false
	if s.drains {
		l.sayGoodbye()
	}
}

// shutdown says goodbye to idle connections at once and to the others as their
// events end, and closes all of them after the given time.
func (s *Server) shutdown(drain time.Duration) {
	s.mu.Lock()
	s.drains = true
	for l, busy := range s.links {
		if !busy {
			l.sayGoodbye()
		}
	}
	s.mu.Unlock()

	drained := make(chan struct{})
	go func() {
		s.done.Wait()
		close(drained)
	}()
	select {
	case <-drained:
		return
	case <-time.After(drain):
	}
	s.mu.Lock()
	for l := range s.links {
		l.close()
	}
	s.mu.Unlock()
	<-drained
}
