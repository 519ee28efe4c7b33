package e2e_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

const (
	reportRoute   = "/run/nightly-report"
	customerRoute = "/run/refresh-customer"
	idleRoute     = "/run/idle" // refresh-customer too, but no worker runs it
	emea          = `{"region": "emea"}`
	customer      = `{"customer_id": 1}`
)

var client = &http.Client{Timeout: time.Minute}

// request is one call; its zero value is a POST of nothing, by nobody.
type request struct {
	method  string // default POST
	path    string
	body    string
	token   string
	headers http.Header // laid over Content-Type and Authorization; names go out as they are written
}

// response is an answer, read.
type response struct {
	status int
	header http.Header
	body   []byte
}

// send makes the request at the suite's gateway.
func send(t *testing.T, r request) response {
	t.Helper()
	return sendTo(t, s.gateway, r)
}

func sendTo(t *testing.T, gateway *stack.Gateway, r request) response {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, gateway.URL()+r.path, strings.NewReader(r.body))
	require.NoError(t, err)
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	maps.Copy(req.Header, r.headers)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return response{status: resp.StatusCode, header: resp.Header, body: body}
}

// serviceToken is a token of a service account.
func serviceToken(t *testing.T, id string) string {
	t.Helper()
	token, err := s.Provider.ServiceToken(t.Context(), id)
	require.NoError(t, err)
	return token
}

// personToken is the access token of a person who has just logged in.
func personToken(t *testing.T, username string) string {
	t.Helper()
	token, err := s.Provider.PersonToken(t.Context(), username)
	require.NoError(t, err)
	return token.AccessToken
}

// problem is a problem document (RFC 9457) with the product's members.
type problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Code       string `json:"code"`
	Detail     string `json:"detail"`
	Violations []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
		Code    string `json:"code"`
	} `json:"violations"`
}

// requireRefused checks that the answer is a whole problem document with this status and code.
func requireRefused(t *testing.T, r response, status int, code string) problem {
	t.Helper()
	var p problem
	require.NoErrorf(t, json.Unmarshal(r.body, &p), "%d %s", r.status, r.body)
	require.Equal(t, code, p.Code, "%s", r.body)
	require.Equal(t, status, r.status, "%s", r.body)
	require.Equal(t, status, p.Status)
	require.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
	require.Equal(t, http.StatusText(status), p.Title)
	require.NotEmpty(t, p.Type)
	require.NotEmpty(t, p.Detail)
	return p
}

// started is the answer to a request that a run stands for.
type started struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"state"`
	Deployment string `json:"deployment"`
	Created    bool   `json:"created"`
	Links      struct {
		Status string `json:"status"`
		API    string `json:"api"`
		UI     string `json:"ui"`
	} `json:"links"`
}

// requireRun checks that the answer names a run: 201 for a new one, 200 for one that an earlier request made.
func requireRun(t *testing.T, r response, status int) started {
	t.Helper()
	require.Equal(t, status, r.status, "%s", r.body)
	require.Equal(t, "application/json", r.header.Get("Content-Type"), "%s", r.body)
	var run started
	require.NoError(t, json.Unmarshal(r.body, &run))
	require.NotEmpty(t, run.ID)
	require.Equal(t, status == http.StatusCreated, run.Created)
	return run
}

// stored is the run as Prefect has it.
func stored(t *testing.T, id string) stack.Run {
	t.Helper()
	run, err := s.Prefect.Run(t.Context(), id)
	require.NoError(t, err)
	return run
}

// echoed is what echoRequest answers.
type echoed struct {
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Header http.Header `json:"header"`
}

// echoRequest is the upstream of the echo route.
func echoRequest(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(echoed{Method: r.Method, Path: r.URL.Path, Header: r.Header}) // the gateway has gone
}

// requireEcho checks that the request was proxied, and returns what arrived.
func requireEcho(t *testing.T, r response) echoed {
	t.Helper()
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	var e echoed
	require.NoError(t, json.Unmarshal(r.body, &e))
	return e
}
