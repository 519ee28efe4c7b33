package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// roleVariable says what a process of this binary is.
const roleVariable = "KONG_PREFECT_BENCH_ROLE"

// roles are the processes beside the test itself.
var roles = map[string]func() error{
	"load":     generateLoad,
	"ours":     serveOurs,
	"gopdk":    serveGoPDK,
	"pingpong": servePingPong,
	"bare":     serveBarePingPong,
}

// server is a process that is measured.
type server struct {
	b      *bench
	socket string
	pid    int
}

// start starts a server that listens on the socket, and waits until it does.
// It is stopped at the end of the part.
func (b *bench) start(socket, path string, args ...string) *server {
	b.Helper()
	return b.run(socket, exec.Command(path, args...))
}

// self starts one of the roles as a server.
func (b *bench) self(role string) *server {
	b.Helper()
	exe, err := os.Executable()
	require.NoError(b, err)
	dir := b.TempDir()
	cmd := exec.Command(exe, "-kong-prefix", dir)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return b.run(filepath.Join(dir, filepath.Base(exe)+".socket"), cmd)
}

func (b *bench) run(socket string, cmd *exec.Cmd) *server {
	b.Helper()
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	require.NoError(b, err)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	require.Eventually(b, func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 10*time.Second, 5*time.Millisecond, "the server doesn't listen, see %s", log.Name())
	return &server{b: b, socket: socket, pid: cmd.Process.Pid}
}

// cpu is the CPU time that the kernel booked to the process, to the
// nanosecond: what getrusage would tell it of itself.
func (s *server) cpu() time.Duration {
	s.b.Helper()
	const cpuclockSched = 2 // linux/posix-timers.h
	clock := uintptr(^s.pid<<3 | cpuclockSched)
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0)
	require.Zero(s.b, errno, "reading the CPU time of process %d", s.pid)
	return time.Duration(ts.Nano())
}

// memory is the process's resident memory in bytes: what is its own, and pages
// of its binary, which the kernel shares between processes and takes away when
// it likes.
func (s *server) memory() (private, shared float64) {
	s.b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	require.NoError(s.b, err)
	of := func(kind string) float64 {
		found := regexp.MustCompile(kind + `:\s+(\d+) kB`).FindSubmatch(status)
		require.NotNil(s.b, found)
		kib, err := strconv.Atoi(string(found[1]))
		require.NoError(s.b, err)
		return float64(kib) * 1024
	}
	return of("RssAnon"), of("RssFile")
}

// lines is a process that is told jobs on its standard input and answers on
// its standard output, a line each.
type lines struct {
	b   *bench
	in  *bufio.Writer
	out *bufio.Reader
}

func (b *bench) lines(role string) *lines {
	b.Helper()
	exe, err := os.Executable()
	require.NoError(b, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &lines{b, bufio.NewWriter(in), bufio.NewReader(out)}
}

func (l *lines) tell(line []byte) {
	l.b.Helper()
	_, err := l.in.Write(append(line, '\n'))
	require.NoError(l.b, err)
	require.NoError(l.b, l.in.Flush())
}

func (l *lines) hear() []byte {
	l.b.Helper()
	line, err := l.out.ReadBytes('\n')
	require.NoError(l.b, err, "the process ended")
	return line
}
