// Package prefecttest is a Prefect server for tests: it answers the routes
// that prefectclient calls as the real server (3.9.1) does, and fails by
// script where the real one can't be made to. A test of prefectclient holds
// both servers against each other.
//
// It does not run flows, evaluate "__prefect_kind", or know any other route:
// those answer 404 as the real server does for a path it lacks.
//
// Read [NewServer] first; script.go has the ways to fail, events.go the
// websocket of events.
package prefecttest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// maxRequestBytes bounds what a request may hold.
const maxRequestBytes = 8 << 20

// Options configures a [Server]. The zero value asks for no credential.
type Options struct {
	// AuthStrings are the accepted strings of Basic authentication, and
	// APIKeys the accepted bearer tokens. Default: every request is let in.
	AuthStrings, APIKeys []string
}

// Server is a running server. Its methods are safe for concurrent use.
type Server struct {
	// URL is the address of the API, such as http://127.0.0.1:40001/api.
	URL string

	http    *httptest.Server
	done    chan struct{} // closed by Close: ends delays
	closing sync.Once

	connections atomic.Int64
	events      subscriptions

	mu          sync.Mutex
	accepted    []string // Authorization values
	deployments []Deployment
	runs        []map[string]any
	faults      []Fault
	requests    []Request
	taken       []net.Conn // hijacked by faults
}

// Request is a request as it arrived.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte
}

// NewServer starts a server on 127.0.0.1. The caller closes it.
func NewServer(o Options) *Server {
	s := &Server{done: make(chan struct{})}
	s.Accept(o)
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.http.Start()
	s.URL = s.http.URL + "/api"
	return s
}

// Close ends the server and all connections. A second call does nothing.
func (s *Server) Close() {
	s.closing.Do(func() {
		close(s.done)
		s.DropConnections()
		s.http.Close()
	})
}

// DropConnections closes every connection, idle or not, as a server that dies
// does. New connections are welcome.
func (s *Server) DropConnections() {
	s.mu.Lock()
	taken := s.taken
	s.taken = nil
	s.mu.Unlock()
	for _, conn := range taken {
		_ = conn.Close()
	}
	s.events.drop()
	s.http.CloseClientConnections()
}

// Accept replaces the credentials that are accepted, as a rotation does.
func (s *Server) Accept(o Options) {
	var accepted []string
	for _, auth := range o.AuthStrings {
		accepted = append(accepted, "Basic "+base64.StdEncoding.EncodeToString([]byte(auth)))
	}
	for _, key := range o.APIKeys {
		accepted = append(accepted, "Bearer "+key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = accepted
}

// Requests returns what has arrived so far, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Runs returns the ids of the runs that exist, in the order of their creation.
func (s *Server) Runs() []uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []uuid.UUID
	for _, run := range s.runs {
		ids = append(ids, run["id"].(uuid.UUID))
	}
	return ids
}

// Connections returns how many connections have been made so far.
func (s *Server) Connections() int { return int(s.connections.Load()) }

// reply is an answer before it is written.
type reply struct {
	status int
	body   any
}

func detail(status int, text string) reply {
	return reply{status, map[string]any{"detail": text}}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.EscapedPath(), r.Header.Clone(), body})
	fault, failing := s.nextFault(r)
	s.mu.Unlock()
	if failing {
		s.fail(fault, w, r, body)
		return
	}
	if r.URL.Path == "/api/events/out" {
		s.serveEvents(w, r)
		return
	}
	s.write(w, s.answer(r, body))
}

func (s *Server) write(w http.ResponseWriter, answer reply) {
	data, err := json.Marshal(answer.body)
	if err != nil {
		panic(err) // made of JSON in the first place
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	_, _ = w.Write(data)
}

// answer is what a healthy server says.
func (s *Server) answer(r *http.Request, body []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/api/")
	if !ok {
		return detail(http.StatusNotFound, "Not Found")
	}
	if path == "health" && r.Method == http.MethodGet {
		return reply{http.StatusOK, true}
	}
	if len(s.accepted) > 0 && !slices.Contains(s.accepted, r.Header.Get("Authorization")) {
		return reply{http.StatusUnauthorized, map[string]any{"exception_message": "Unauthorized"}}
	}
	return s.route(r, strings.Split(path, "/"), body)
}

func (s *Server) route(r *http.Request, steps []string, body []byte) reply {
	at := func(i int) uuid.UUID {
		id, err := uuid.Parse(steps[i])
		if err != nil || len(steps[i]) != 36 {
			return uuid.Nil
		}
		return id
	}
	type handler = func() reply
	var found map[string]handler
	switch {
	case len(steps) == 4 && steps[0] == "deployments" && steps[1] == "name" && steps[2] != "" && steps[3] != "":
		found = map[string]handler{http.MethodGet: func() reply { return s.deploymentByName(steps[2], steps[3]) }}
	case len(steps) == 3 && steps[0] == "deployments" && steps[2] == "create_flow_run" && at(1) != uuid.Nil:
		found = map[string]handler{http.MethodPost: func() reply { return s.create(at(1), r.Header, body) }}
	case len(steps) == 2 && (steps[0] == "deployments" || steps[0] == "flows") && steps[1] == "filter":
		found = map[string]handler{http.MethodPost: func() reply { return s.list(steps[0], body) }}
	case len(steps) == 2 && steps[0] == "deployments" && at(1) != uuid.Nil:
		found = map[string]handler{http.MethodGet: func() reply { return s.deploymentByID(at(1)) }}
	case len(steps) == 2 && steps[0] == "flow_runs" && steps[1] == "filter":
		found = map[string]handler{http.MethodPost: func() reply { return s.filter(body) }}
	case len(steps) == 2 && steps[0] == "flow_runs" && steps[1] == "count":
		found = map[string]handler{http.MethodPost: func() reply { return s.count(body) }}
	case len(steps) == 3 && steps[0] == "flow_runs" && steps[2] == "set_state" && at(1) != uuid.Nil:
		found = map[string]handler{http.MethodPost: func() reply { return s.cancel(at(1), body) }}
	case len(steps) == 2 && steps[0] == "flow_runs" && at(1) != uuid.Nil:
		found = map[string]handler{http.MethodGet: func() reply { return s.run(at(1)) }}
	default:
		return detail(http.StatusNotFound, "Not Found")
	}
	if handle, ok := found[r.Method]; ok {
		return handle()
	}
	return detail(http.StatusMethodNotAllowed, "Method Not Allowed")
}

// stamp is the form of Prefect's times.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000Z") }
