package prefecttest

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/uuid"
)

// subscriptions are the websockets of events that are open.
type subscriptions struct {
	mu    sync.Mutex
	open  map[*websocket.Conn]struct{}
	total int
	muted bool
}

// Subscriptions returns how many subscriptions to events are in force, and how
// many there have been.
func (s *Server) Subscriptions() (open, total int) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return len(s.events.open), s.events.total
}

// Mute loses the events from now on, or no longer: a real server drops them
// when a subscriber is slow.
func (s *Server) Mute(muted bool) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.muted = muted
}

// SetState puts a run into a state, and tells the subscribers.
func (s *Server) SetState(id uuid.UUID, stateType, name string) {
	s.mu.Lock()
	for i, run := range s.runs {
		if run["id"] == id {
			run = maps.Clone(run) // an answer may hold the old one
			s.runs[i] = run
			run["state_type"], run["state_name"] = stateType, name
			run["state"] = map[string]any{
				"id": uuid.New(), "type": stateType, "name": name, "timestamp": stamp(time.Now()), "message": nil, "data": nil,
			}
		}
	}
	s.mu.Unlock()
	s.Emit(id, stateType, name)
}

// Delete removes a run.
func (s *Server) Delete(id uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = slices.DeleteFunc(s.runs, func(run map[string]any) bool { return run["id"] == id })
}

// Emit tells the subscribers of a state, whether or not the run is in it, as
// anybody may who reaches POST /events.
func (s *Server) Emit(id uuid.UUID, stateType, name string) {
	frame := map[string]any{"type": "event", "event": map[string]any{
		"id": uuid.New(), "occurred": stamp(time.Now()), "event": "prefect.flow-run." + name,
		"resource": map[string]any{
			"prefect.resource.id": "prefect.flow-run." + id.String(), "prefect.resource.name": "run",
			"prefect.state-name": name, "prefect.state-type": stateType,
		},
		"related": []any{}, "payload": map[string]any{},
	}}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if s.events.muted {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for conn := range s.events.open {
		_ = wsjson.Write(ctx, conn, frame)
	}
}

func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}})
	if err != nil {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it is over
	if !s.admit(r.Context(), conn) {
		return
	}
	s.events.mu.Lock()
	if s.events.open == nil {
		s.events.open = map[*websocket.Conn]struct{}{}
	}
	s.events.open[conn] = struct{}{}
	s.events.total++
	s.events.mu.Unlock()
	defer func() {
		s.events.mu.Lock()
		delete(s.events.open, conn)
		s.events.mu.Unlock()
	}()
	_, _, _ = conn.Read(r.Context()) // a subscriber sends nothing more
}

// admit reads the two frames with which a subscription begins.
func (s *Server) admit(ctx context.Context, conn *websocket.Conn) bool {
	var auth struct {
		Type  string `json:"type"`
		Token string `json:"token"`
	}
	if wsjson.Read(ctx, conn, &auth) != nil {
		return false
	}
	if auth.Type != "auth" || !s.takes(auth.Token) {
		_ = conn.Close(websocket.StatusPolicyViolation, "Invalid token")
		return false
	}
	if wsjson.Write(ctx, conn, map[string]string{"type": "auth_success"}) != nil {
		return false
	}
	var filter struct {
		Type   string `json:"type"`
		Filter struct {
			Occurred struct {
				Until time.Time `json:"until"`
			} `json:"occurred"`
		} `json:"filter"`
	}
	if wsjson.Read(ctx, conn, &filter) != nil {
		return false
	}
	if filter.Type != "filter" || filter.Filter.Occurred.Until.Before(time.Now()) {
		_ = conn.Close(websocket.StatusProtocolError, "no event would ever come")
		return false
	}
	return true
}

// takes says whether a token is one of the accepted secrets.
func (s *Server) takes(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.accepted) == 0 {
		return true
	}
	return slices.ContainsFunc(s.accepted, func(value string) bool {
		scheme, secret, _ := strings.Cut(value, " ")
		if plain, err := base64.StdEncoding.DecodeString(secret); scheme == "Basic" && err == nil {
			secret = string(plain)
		}
		return secret == token
	})
}

// drop ends every subscription.
func (e *subscriptions) drop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for conn := range e.open {
		_ = conn.CloseNow()
	}
}
