package devgateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// respawnAfter is the least time between two starts of a server.
	respawnAfter = time.Second
	// killAfter is what Kong leaves a plugin server between SIGTERM and
	// SIGKILL: 10 to 100 ms were measured.
	killAfter = 50 * time.Millisecond
	// queryLimit bounds a query_cmd.
	queryLimit = 30 * time.Second
)

// query runs a plugin server's query command, which sees the whole
// environment. Its output counts, not its exit code.
func query(ctx context.Context, p PluginServer) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "exec "+p.QueryCmd)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("pluginserver %s: query_cmd %q: %w", p.Name, p.QueryCmd, err)
	}
	return out, nil
}

// supervisor keeps one start command running.
type supervisor struct {
	server PluginServer
	env    []string
	log    *logger
	// retired: a worker that ends starts no process again, which would take
	// the path from its successor's. Source: kong/runloop/plugin_servers.
	retired atomic.Bool
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
}

// startSupervisor starts the command with an environment that holds nothing
// but PWD and what nginx_main_env names.
func startSupervisor(p PluginServer, s Settings, log *logger) *supervisor {
	v := &supervisor{server: p, log: log, stop: make(chan struct{}), done: make(chan struct{})}
	if wd, err := os.Getwd(); err == nil {
		v.env = append(v.env, "PWD="+wd)
	}
	for _, e := range s.MainEnv {
		if strings.Contains(e, "=") {
			v.env = append(v.env, e)
		} else if value, ok := s.Env(e); ok {
			v.env = append(v.env, e+"="+value)
		}
	}
	go v.run()
	return v
}

// run starts the process again whenever it ends, at most once a second.
func (s *supervisor) run() {
	defer close(s.done)
	// The process dies with the thread that started it (Pdeathsig below), so
	// that thread must live on.
	runtime.LockOSThread()
	for {
		next := time.After(respawnAfter)
		s.log.kong("notice", "[pluginserver] starting pluginserver process for %s", s.server.Name)
		if stopped := s.runOnce(); stopped || s.retired.Load() {
			return
		}
		select {
		case <-next:
		case <-s.stop:
			return
		}
		if s.retired.Load() {
			return
		}
	}
}

func (s *supervisor) runOnce() (stopped bool) {
	cmd := exec.Command("/bin/sh", "-c", "umask 0; exec "+s.server.StartCmd) // Kong's worker has umask 0
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		s.log.kong("error", "[pluginserver] %s: %s", s.server.Name, err)
		return false
	}
	pid := cmd.Process.Pid
	s.log.kong("notice", "[pluginserver] started, pid %d", pid)
	var logs sync.WaitGroup
	logs.Go(func() { s.copyLog(out, pid) })
	defer logs.Wait()
	ended := make(chan error, 1)
	go func() { // ends with the process
		err := cmd.Wait()
		_ = w.Close()
		ended <- err
	}()
	select {
	case err := <-ended:
		s.log.kong("notice", "external pluginserver '%s' terminated: %v", s.server.Name, err)
		return false
	case <-s.stop:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(killAfter):
		_ = cmd.Process.Kill()
		<-ended
	}
	s.log.kong("notice", "[pluginserver] successfully stopped pluginserver '%s', pid %d", s.server.Name, pid)
	return true
}

// copyLog logs a server's output at info, where Kong puts it: invisible at
// Kong's default level.
func (s *supervisor) copyLog(r io.Reader, pid int) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if sc.Text() != "" {
			s.log.line("info", fmt.Sprintf("%s:%d", s.server.Name, pid), sc.Text())
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// close sends SIGTERM, then SIGKILL, and waits for the end.
func (s *supervisor) close() {
	s.once.Do(func() { close(s.stop) })
	<-s.done
}
