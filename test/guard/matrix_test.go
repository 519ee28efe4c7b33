package guard_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/guard"
)

// bodies are the smallest that the guard's rules take; Prefect need not.
var bodies = map[string]string{
	"start_runs": `[{}]`, "set_state": `{"state":{"type":"CANCELLED"}}`, "events": `[]`, "schedules": `[]`,
	"bulk":       `{"flow_runs":{"id":{"any_":["%s"]}},"flows":{"id":{"any_":["%s"]}},"deployments":{"id":{"any_":["%s"]}}}`,
	"bulk_state": `{"flow_runs":{"id":{"any_":["%s"]}},"state":{"type":"CANCELLED"}}`,
}

// pathOf is a path that the route takes.
func pathOf(r *guard.Route, id string) string {
	path := r.Path
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		name, after, _ := strings.Cut(rest, "}")
		value := "no-such-" + name
		if strings.HasSuffix(name, ":uuid") {
			value = id
		}
		path = before + value + after
	}
	return path
}

// TestRolesAndRoutes is the whole matrix: each of the 193 operations for each role, allowed and denied, on the real
// server. What is allowed must reach Prefect, whatever it answers; what is denied must name the permission.
func TestRolesAndRoutes(t *testing.T) {
	s := parts(t)
	run := s.newRun(t, "svc-runner") // runners may control what they started
	checked := 0
	for _, role := range append(guard.BuiltinRoles(), "nobody") {
		t.Run(role, func(t *testing.T) {
			held := guard.RolePermissions(role)
			for _, r := range guard.Routes() {
				id := uuid.NewString()
				if role == "runner" && slices.Contains([]string{"set_state", "own_run"}, r.Body) {
					id = run
				}
				path, body := pathOf(r, id), ""
				if r.Method != http.MethodGet && r.Method != http.MethodDelete {
					if body = strings.ReplaceAll(bodies[r.Body], "%s", id); body == "" {
						body = "{}"
					}
				}
				want := slices.Contains(held, r.Permission)
				checked++
				if r.Method == guard.Websocket {
					status := s.upgrade(t, path, http.Header{"Authorization": {"Bearer " + s.token(t, "svc-"+role)}})
					if want {
						require.Equal(t, http.StatusSwitchingProtocols, status, "%s %s", r.Method, path)
					} else {
						require.Equal(t, http.StatusForbidden, status, "%s %s", r.Method, path)
					}
					continue
				}
				got := s.send(t, call{as: "svc-" + role, method: r.Method, path: path, body: body})
				if want && strings.HasPrefix(r.Body, "start_run") {
					// No deployment has this id, so there is nothing to sign for.
					require.Equal(t, "not_found", got.refusedBy(), "%s %s: %d %s", r.Method, path, got.status, got.body)
					continue
				}
				if want {
					require.Empty(t, got.refusedBy(), "%s %s: %d %s", r.Method, path, got.status, got.body)
					require.NotEmpty(t, got.header.Get("Via"), "%s %s was not proxied", r.Method, path)
					require.NotEqual(t, http.StatusUnauthorized, got.status)
					require.NotEqual(t, http.StatusMethodNotAllowed, got.status)
					continue
				}
				require.Equal(t, "permission_missing", got.refusedBy(), "%s %s: %d %s", r.Method, path, got.status, got.body)
				require.Equal(t, http.StatusForbidden, got.status)
				require.Contains(t, got.body, `"permission":"`+r.Permission+`"`)
			}
		})
	}
	require.Equal(t, 6*193, checked)
}

// The running server describes itself: 188 operations, and none that the table lacks.
func TestTheRunningServersOwnDescription(t *testing.T) {
	s := parts(t)
	var description struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	require.NoError(t, s.locked.Get(t.Context(), "/openapi.json", &description))
	table := map[string]bool{}
	for _, r := range guard.Routes() {
		if r.Method != guard.Websocket {
			table[r.Method+" "+strings.ReplaceAll(r.Path, ":uuid", "")] = true
		}
	}
	found := 0
	for path, methods := range description.Paths {
		for method := range methods {
			found++
			require.True(t, table[strings.ToUpper(method)+" "+path], "%s %s is not in the table", method, path)
		}
	}
	require.Len(t, table, found, "the table has what the server has not")
}

// upgrade asks for a websocket and gives the answer's status.
func (s *suite) upgrade(t testing.TB, path string, header http.Header) int {
	t.Helper()
	address, err := url.Parse(s.gateway.URL())
	require.NoError(t, err)
	conn, err := net.DialTimeout("tcp", address.Host, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // a test's
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	fmt.Fprintf(conn, "GET /api%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: prefect\r\n", path, address.Host)
	require.NoError(t, header.Write(conn))
	fmt.Fprint(conn, "\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	return resp.StatusCode
}

// deploymentID makes a deployment straight on the server, once for each name.
func (s *suite) deploymentID(t testing.TB, flow, name string) string {
	t.Helper()
	var f, d struct {
		ID string `json:"id"`
	}
	require.NoError(t, s.locked.Post(t.Context(), "/flows/", map[string]any{"name": flow}, &f))
	require.NoError(t, s.locked.Post(t.Context(), "/deployments/", map[string]any{
		"name": name, "flow_id": f.ID, "tags": []string{"team-a"}, "enforce_parameter_schema": false,
	}, &d))
	return d.ID
}

// newRun starts a run through the guard and gives its id.
func (s *suite) newRun(t testing.TB, as string) string {
	t.Helper()
	id := s.deploymentID(t, "refresh-customer", "prod")
	got := s.send(t, call{as: as, method: "POST", path: "/deployments/" + id + "/create_flow_run", body: `{}`})
	require.Equal(t, http.StatusCreated, got.status, got.body)
	var run struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &run))
	return run.ID
}
