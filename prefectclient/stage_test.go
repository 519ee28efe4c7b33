package prefectclient_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

const (
	authString = "admin:secret"
	schema     = `{"type":"object","required":["x"],"properties":{
		"x":{"type":"integer"},
		"person":{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]},
		"ids":{"type":"array","items":{"type":"integer"}}}}`
)

// stage is one server with the same two deployments of one flow.
type stage struct {
	url           string
	flow          uuid.UUID
	first, second uuid.UUID
}

// realVenv finds an installed Prefect, or skips. With CI=true it must be there.
func realVenv(t *testing.T) string {
	t.Helper()
	for _, venv := range []string{os.Getenv("PREFECT_VENV"), "../build/venv"} {
		program, err := filepath.Abs(filepath.Join(venv, "bin", "prefect"))
		if _, missing := os.Stat(program); venv != "" && err == nil && missing == nil {
			return program
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Prefect: set PREFECT_VENV or install it into build/venv")
	}
	t.Skip("SKIPPED: no Prefect; set PREFECT_VENV to a virtual environment that has it")
	return ""
}

// realServer is a Prefect server on SQLite that can be killed and started
// again.
type realServer struct {
	stage
	program, home, port string
	process             *exec.Cmd
	output              bytes.Buffer
}

// startReal runs a Prefect server until the test ends.
func startReal(t *testing.T) *realServer {
	t.Helper()
	s := &realServer{program: realVenv(t), home: t.TempDir()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.port = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	require.NoError(t, listener.Close())
	s.url = "http://127.0.0.1:" + s.port + "/api"
	// An empty database beside the installation saves most of the start.
	if empty, err := os.ReadFile(filepath.Join(filepath.Dir(s.program), "..", "prefect-empty.db")); err == nil {
		require.NoError(t, os.WriteFile(filepath.Join(s.home, "prefect.db"), empty, 0o600))
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Log(s.output.String())
		}
	})
	s.start(t)
	s.flow = s.make(t, "/flows/", `{"name":"nightly report"}`)
	s.first = s.make(t, "/deployments/", `{"name":"prod","flow_id":"`+s.flow.String()+`","tags":["dep"],"parameters":{"ids":[1]},
		"enforce_parameter_schema":true,"parameter_openapi_schema":`+schema+`}`)
	s.second = s.make(t, "/deployments/", `{"name":"second","flow_id":"`+s.flow.String()+`"}`)
	return s
}

func (s *realServer) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command(s.program, "server", "start", "--host", "127.0.0.1", "--port", s.port)
	s.process.Env = append(os.Environ(), "PREFECT_HOME="+s.home, "PREFECT_SERVER_ANALYTICS_ENABLED=false", "DO_NOT_TRACK=1",
		"PREFECT_CLI_PROMPT=false", "PREFECT_SERVER_API_AUTH_STRING="+authString)
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	require.NoError(t, s.process.Start())
	require.Eventually(t, func() bool {
		response, err := http.Get(s.url + "/health")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	}, 2*time.Minute, 200*time.Millisecond)
}

// kill ends the server and its children as a power cut would.
func (s *realServer) kill() {
	if s.process != nil {
		_ = syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL)
		_ = s.process.Wait()
		s.process = nil
	}
}

func startFake(t *testing.T) (stage, *prefecttest.Server) {
	t.Helper()
	server := prefecttest.NewServer(prefecttest.Options{AuthStrings: []string{authString}})
	t.Cleanup(server.Close)
	first := server.AddDeployment(prefecttest.Deployment{
		Flow: "nightly report", Name: "prod", Tags: []string{"dep"}, ParameterSchema: schema,
		Parameters: map[string]any{"ids": []int{1}},
	})
	second := server.AddDeployment(prefecttest.Deployment{Flow: "nightly report", Name: "second"})
	return stage{url: server.URL, flow: first.FlowID, first: first.ID, second: second.ID}, server
}

func (s stage) make(t *testing.T, path, body string) uuid.UUID {
	t.Helper()
	var made struct{ ID uuid.UUID }
	// SQLite answers 503 now and then.
	require.Eventually(t, func() bool {
		status, answer := s.ask(t, "POST", path, body, authString)
		return status < 300 && json.Unmarshal(answer, &made) == nil
	}, 30*time.Second, 100*time.Millisecond)
	return made.ID
}

func (s stage) ask(t *testing.T, method, path, body, auth string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	if auth != "" {
		user, password, _ := strings.Cut(auth, ":")
		request.SetBasicAuth(user, password)
	}
	for range 20 {
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		if response.StatusCode != http.StatusServiceUnavailable {
			return response.StatusCode, answer
		}
		request.Body = io.NopCloser(strings.NewReader(body))
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("503 twenty times")
	return 0, nil
}
