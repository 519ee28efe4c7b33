package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// orphanMaker makes this test binary start a process group, print its id and wait to be killed.
const orphanMaker = "STACK_TEST_MAKES_ORPHANS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanMaker); dir != "" {
		p, err := shell("family", dir, "sleep 300 & sleep 300").start()
		if err != nil {
			panic(err)
		}
		fmt.Println(p.pid)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

func shell(name, dir, script string) command {
	return command{name: name, path: "/bin/sh", args: []string{"-c", script}, env: baseEnv(dir), dir: dir}
}

func groupGone(pid int) func() bool {
	return func() bool { return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) }
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	p, err := shell("family", t.TempDir(), "sleep 300 & sleep 300").start()
	require.NoError(t, err)
	p.stop()
	require.Eventually(t, groupGone(p.pid), 5*time.Second, 10*time.Millisecond)
	p.stop() // twice is fine
}

// A process id can be given away again while the group's other members, or nobody, are left.
func TestTheGroupsIDStaysTakenUntilStop(t *testing.T) {
	t.Parallel()
	p, err := shell("short", t.TempDir(), "exit 0").start()
	require.NoError(t, err)
	<-p.done
	require.False(t, groupGone(p.pid)())
	p.stop()
	require.Eventually(t, groupGone(p.pid), 5*time.Second, 10*time.Millisecond)
}

func TestStopEndsAGroupThatIgnoresTheSignal(t *testing.T) {
	t.Parallel()
	p, err := shell("stubborn", t.TempDir(), `trap "" TERM; echo ready; sleep 300 & wait; sleep 300`).start()
	require.NoError(t, err)
	require.NoError(t, p.await(t.Context(), 10*time.Second, logged(p, "ready")))
	p.stop()
	require.Eventually(t, groupGone(p.pid), 5*time.Second, 10*time.Millisecond)
}

func TestNothingIsLeftWhenTheStarterIsKilled(t *testing.T) {
	t.Parallel()
	starter := exec.Command(os.Args[0])
	starter.Env = append(os.Environ(), orphanMaker+"="+t.TempDir())
	stdin, err := starter.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close() //nolint:errcheck // the starter is dead by then
	stdout, err := starter.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, starter.Start())
	line := make([]byte, 32)
	n, err := stdout.Read(line)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	require.NoError(t, err)
	require.False(t, groupGone(pid)())
	require.NoError(t, starter.Process.Kill())
	_ = starter.Wait()
	require.Eventually(t, groupGone(pid), 10*time.Second, 50*time.Millisecond)
}

func TestAwaitFailsAtOnceWhenTheProcessEnds(t *testing.T) {
	t.Parallel()
	p, err := shell("broken", t.TempDir(), "echo no such table >&2; exit 3").start()
	require.NoError(t, err)
	defer p.stop()
	err = p.await(t.Context(), time.Minute, func(context.Context) error { return errors.New("not yet") })
	require.ErrorIs(t, err, errEnded)
	require.ErrorContains(t, err, "broken: the process ended: exit status 3")
	require.ErrorContains(t, err, "no such table")
}

func TestAwaitIsBounded(t *testing.T) {
	t.Parallel()
	p, err := shell("slow", t.TempDir(), "sleep 300").start()
	require.NoError(t, err)
	defer p.stop()
	err = p.await(t.Context(), 50*time.Millisecond, func(context.Context) error { return errors.New("not yet") })
	require.ErrorIs(t, err, errTooSlow)
}

func logged(p *process, line string) func(context.Context) error {
	return func(context.Context) error {
		if !strings.Contains(p.log(), line) {
			return fmt.Errorf("%q is not in the log", line)
		}
		return nil
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a\nb", Tail("a\nb\n"))
	long := Tail(strings.Repeat("0123456789\n", 1000))
	require.LessOrEqual(t, len(long), tailBytes)
	require.True(t, strings.HasPrefix(long, "0123456789\n"))
}
