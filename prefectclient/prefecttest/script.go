package prefecttest

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Route names the requests that a [Fault] waits for.
type Route string

// The routes of prefectclient.
const (
	AnyRoute    Route = ""
	CreateRoute Route = "create_flow_run"
	FilterRoute Route = "flow_runs/filter"
	ReadRoute   Route = "GET"
)

// Fault is one way to fail, for the next request of its route. The zero value
// answers as a healthy server does.
type Fault struct {
	// Route says which request fails. Default: the next one, whatever it is.
	Route Route
	// Delay holds everything back, whether or not the client waits for it.
	Delay time.Duration
	// Carried: the request is carried out, though Status, Body or Reset hide
	// it. Without them it always is.
	Carried bool
	// Status and Body replace the answer. Default: the healthy one.
	Status int
	Body   string
	// Header is added to the answer.
	Header http.Header
	// Half sends the whole header and half of the body, and hangs up.
	Half bool
	// Reset hangs up without an answer, by a reset (RST).
	Reset bool
	// ThenReset answers in full, promises to keep the connection, and resets
	// it when the next request arrives on it: what a real server does after a
	// 503, at the worst of moments.
	ThenReset bool
}

// Locked is what Prefect on SQLite answers to half of all concurrent writes,
// and what it does to the connection afterwards.
func Locked(route Route) Fault {
	return Fault{Route: route, Status: http.StatusServiceUnavailable, Body: `{"exception_message":"Service Unavailable"}`, ThenReset: true}
}

// Proxy is the answer of something in front of a Prefect that is away.
func Proxy(route Route, status int) Fault {
	return Fault{Route: route, Status: status, Body: "<html>" + http.StatusText(status) + "</html>"}
}

// Script adds faults. Each is used once, in order, by the first request of its
// route.
func (s *Server) Script(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Unused returns how many faults are still to come.
func (s *Server) Unused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// Clear forgets the faults that are still to come.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// nextFault takes the fault that waits for this request. The caller holds mu.
func (s *Server) nextFault(r *http.Request) (Fault, bool) {
	for i, fault := range s.faults {
		if fault.Route.takes(r) {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			return fault, true
		}
	}
	return Fault{}, false
}

func (route Route) takes(r *http.Request) bool {
	switch route {
	case AnyRoute:
		return true
	case ReadRoute:
		return r.Method == http.MethodGet
	}
	return strings.HasSuffix(r.URL.Path, "/"+string(route))
}

func (s *Server) fail(fault Fault, w http.ResponseWriter, r *http.Request, body []byte) {
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C: // a client that goes away is not noticed
		case <-s.done:
		}
	}
	plain := fault.Status == 0 && !fault.Reset
	answer := reply{fault.Status, nil}
	if fault.Carried || plain {
		answer = s.answer(r, body)
	}
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // HTTP/1.1 can always be hijacked
	}
	if fault.Reset {
		reset(conn)
		return
	}
	s.writeRaw(fault, answer, conn, buffer)
}

// writeRaw writes an answer to a connection that is ours, and ends it.
func (s *Server) writeRaw(fault Fault, answer reply, conn net.Conn, buffer *bufio.ReadWriter) {
	body, status := fault.Body, fault.Status
	if status == 0 {
		status = answer.status
	}
	if body == "" && fault.Status == 0 {
		body = string(marshal(answer.body))
	}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(body))}}
	for name, values := range fault.Header {
		header[name] = values
	}
	if fault.Half {
		body = body[:len(body)/2]
	}
	_, _ = fmt.Fprintf(buffer, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = header.Write(buffer)
	_, _ = buffer.WriteString("\r\n" + body)
	_ = buffer.Flush()
	if !fault.ThenReset {
		_ = conn.Close()
		return
	}
	// Close ends the wait below.
	s.mu.Lock()
	s.taken = append(s.taken, conn)
	s.mu.Unlock()
	_, _ = buffer.ReadByte()
	reset(conn)
}

// reset closes with RST instead of FIN.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
