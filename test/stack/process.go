package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of what is started here. A part that is slower than that on the smallest machine is broken.
const (
	stopGrace = 5 * time.Second       // between SIGTERM and SIGKILL
	pollEvery = 50 * time.Millisecond // how often a condition is looked at
	tailBytes = 4 << 10               // how much of a log goes into an error
)

// command says what to run. Env replaces the whole environment: a part sees what it is given and nothing of the
// developer's own PREFECT_* or KONG_* settings.
type command struct {
	name string   // in messages and as the log file's name
	path string   // the program
	args []string // without the program's name
	env  []string
	dir  string // working directory; the log is written to dir/name.log

	owner *syscall.Credential // whom it runs as; default: ourselves
	quit  syscall.Signal      // what ends it kindly; default SIGTERM
}

// process is one started program with everything it started in turn: a process group with a watchdog.
type process struct {
	name     string
	logPath  string
	pid      int
	quit     syscall.Signal
	done     chan struct{} // closed when the program has ended and exitErr is set
	exitErr  error
	stopOnce sync.Once
	watchdog *exec.Cmd
}

// start runs the command in a process group of its own.
func (c command) start() (*process, error) {
	log, err := os.OpenFile(filepath.Join(c.dir, c.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(c.path, c.args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	// A file and not a pipe: a grandchild that keeps the descriptor open can't block Wait.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.owner}
	if c.quit == 0 {
		c.quit = syscall.SIGTERM
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	p := &process{name: c.name, logPath: log.Name(), pid: cmd.Process.Pid, quit: c.quit, done: make(chan struct{})}
	// Before Wait: the group is there to be joined as long as nobody has reaped its leader.
	err = p.guard()
	go func() {
		p.exitErr = cmd.Wait()
		close(p.done)
	}()
	if err != nil {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		<-p.done
		return nil, fmt.Errorf("start the watchdog of %s: %w", c.name, err)
	}
	return p, nil
}

// guard puts a watchdog into the group: a shell that waits on a pipe which only this process holds open, and ends the
// whole group when the pipe closes. So nothing is left behind when the test is killed, however it dies. Pdeathsig would
// reach the direct child alone, and Prefect's worker and Kong both have children of their own. It also keeps the
// group's id taken after the program has ended, so that stop can't hit a stranger who was given it since.
func (p *process) guard() error {
	p.watchdog = exec.Command("/bin/sh", "-c", `trap "" HUP INT TERM; read -r _; kill -TERM 0; sleep 2; kill -KILL 0`)
	p.watchdog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: p.pid}
	if _, err := p.watchdog.StdinPipe(); err != nil { // Wait closes it
		return err
	}
	return p.watchdog.Start()
}

// stop ends the group, first kindly, and returns when the program and the watchdog are gone. What the program leaves of
// its own children is killed. Safe to call twice and on nil.
func (p *process) stop() {
	if p == nil {
		return
	}
	p.stopOnce.Do(func() {
		_ = syscall.Kill(-p.pid, p.quit)
		select {
		case <-p.done:
		case <-time.After(stopGrace):
		}
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		<-p.done
		_ = p.watchdog.Wait()
	})
}

// log is everything the group wrote so far.
func (p *process) log() string {
	if p == nil {
		return ""
	}
	b, err := os.ReadFile(p.logPath)
	if err != nil {
		return ""
	}
	return string(b)
}

// fail dresses an error with the end of the process's log.
func (p *process) fail(err error) error {
	tail := Tail(p.log())
	if tail == "" {
		tail = "(empty)"
	}
	return fmt.Errorf("%s: %w\nits log ends with:\n%s", p.name, err, tail)
}

var (
	errEnded   = errors.New("the process ended")
	errTooSlow = errors.New("not ready in time")
)

// await polls check until it answers nil, the process ends, the limit is over or ctx is done.
func (p *process) await(ctx context.Context, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.fail(fmt.Errorf("%w: %v", errEnded, p.exitErr))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return p.fail(fmt.Errorf("%w (%s): %v", errTooSlow, limit, err))
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Tail is the last part of a log, from a line's start.
func Tail(log string) string {
	log = strings.TrimRight(log, "\n")
	if len(log) <= tailBytes {
		return log
	}
	log = log[len(log)-tailBytes:]
	if i := strings.IndexByte(log, '\n'); i >= 0 {
		log = log[i+1:]
	}
	return log
}
