package socket

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// testLimit bounds every wait of these tests.
const testLimit = 60 * time.Second

// binary is what all tests run.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kong-prefect-socket-")
	if err == nil {
		defer os.RemoveAll(dir) //nolint:errcheck // the folder is a temporary one
		binary, err = buildBinary(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "socket:", err)
		return 1
	}
	return m.Run()
}

// prefix is a folder as Kong's prefix is. Its path is short: a socket's ends at
// 107 bytes.
func prefix(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kps")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// process is a running binary.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	socket string
	log    string
	door   string
	ended  chan struct{} // closed when it has; then err is set
	err    error
}

// start starts the binary as Kong does, and waits until it has the socket: the
// one that is there before is another process's.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, socket: filepath.Join(dir, "kong-prefect.socket"), ended: make(chan struct{})}
	before, _ := os.Stat(p.socket)
	log, err := os.CreateTemp(dir, "log")
	require.NoError(t, err)
	p.log, p.door = log.Name(), log.Name()+".door"
	// Kong starts it with umask 0 and an environment that holds next to nothing.
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", `umask 0; exec "$0" "$@"`, binary, "serve", "--kong-prefix", dir}, args...)...)
	p.cmd.Env = []string{"PWD=" + dir, inspectVariable + "=" + p.door}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	require.NoError(t, log.Close())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.ended
		require.NotContains(t, p.logs(), "WARNING: DATA RACE")
	})
	require.Eventually(t, func() bool {
		now, err := os.Stat(p.socket)
		return err == nil && (before == nil || !os.SameFile(before, now))
	}, testLimit, time.Millisecond, "%s", p.logs())
	return p
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *process) logs() string {
	data, err := os.ReadFile(p.log)
	require.NoError(p.t, err)
	return string(data)
}

// exit waits for the process's end and gives its code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(testLimit):
		require.Fail(p.t, "the process doesn't end", "%s", p.logs())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) lives() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// inspect asks the process how it is, and the kernel for its descriptors.
func (p *process) inspect() (i inspection, descriptors int) {
	p.t.Helper()
	conn, err := net.Dial("unix", p.door)
	require.NoError(p.t, err)
	defer conn.Close() //nolint:errcheck // nothing is written
	require.NoError(p.t, json.NewDecoder(conn).Decode(&i))
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	return i, len(open)
}

// settled inspects the process once nothing ends any more: caches that are gone
// notice it with their next tick, a second later.
func (p *process) settled() (i inspection, descriptors int) {
	p.t.Helper()
	last := -1
	require.Eventually(p.t, func() bool {
		i, descriptors = p.inspect()
		same := i.Goroutines == last
		last = i.Goroutines
		return same
	}, testLimit, 2*time.Second)
	return i, descriptors
}

// identityConfig is a configuration of prefect-identity, another one for each
// number.
func identityConfig(t *testing.T, issuer *tokentest.Issuer, n int) string {
	t.Helper()
	return encode(t, map[string]any{
		"issuers": []any{map[string]any{"issuer": issuer.URL, "audiences": []string{tokentest.Audience}}},
		"roles":   []any{map[string]any{"role": "owner", "scopes": []string{"runs"}}, map[string]any{"role": fmt.Sprintf("role-%d", n), "groups": []string{fmt.Sprintf("group-%d", n)}}},
		"realm":   fmt.Sprintf("realm-%d", n),
	})
}

// closedPrefect is an address where nobody listens.
const closedPrefect = "http://127.0.0.1:1/api"

func triggerConfig(t *testing.T, n int, role string) string {
	t.Helper()
	return encode(t, map[string]any{
		"prefect": map[string]any{"api_url": closedPrefect, "timeout_ms": 200, "auth_string": fmt.Sprintf("admin:secret-%d", n)}, "deployment": fmt.Sprintf("flow-%d/prod", n),
		"allow_roles": []string{role}, "business_function": "finance",
	})
}

func guardConfig(t *testing.T, n int) string {
	t.Helper()
	return encode(t, map[string]any{
		"prefect": map[string]any{"api_url": closedPrefect, "timeout_ms": 200},
		"grants":  []any{map[string]any{"role": "owner"}, map[string]any{"role": "viewer", "deployments": []string{fmt.Sprintf("flow-%d/*", n)}}},
	})
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}
