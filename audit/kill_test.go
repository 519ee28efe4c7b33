package audit_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

const (
	writerDir  = "KONG_PREFECT_AUDIT_WRITER_DIR"
	writerSeed = "KONG_PREFECT_AUDIT_WRITER_SEED"
)

// TestMain makes the test's own binary serve as the processes that are killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled appends durable events from several goroutines, and prints the request of each that is on the disk.
func writeUntilKilled(dir string) error {
	seed, err := hex.DecodeString(os.Getenv(writerSeed))
	if err != nil {
		return err
	}
	log, err := audit.Open(audit.Options{
		Dir: dir, Signer: keys{ed25519.NewKeyFromSeed(seed)}, MaxFileBytes: 16 << 10, CheckpointRecords: 7,
	})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				e := event(i)
				e.RequestID = fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if err := log.Append(context.Background(), e, true); err != nil {
					failed <- err
					return
				}
				fmt.Println(e.RequestID)
			}
		}()
	}
	return <-failed
}

// startWriter starts such a process, and returns when n events are on the disk, with their requests so far. rest kills
// it and gives all of them.
func startWriter(t *testing.T, dir string, k keys, n int) (rest func() []string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), writerDir+"="+dir, writerSeed+"="+hex.EncodeToString(k.private.Seed()))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	var durable []string
	next := func() bool {
		line, err := lines.ReadString('\n')
		if err == nil {
			durable = append(durable, strings.TrimSpace(line))
		}
		return err == nil
	}
	for range n {
		require.True(t, next())
	}
	return func() []string {
		require.NoError(t, cmd.Process.Kill())
		for next() {
		}
		return durable
	}
}

// Kill -9 at any moment leaves a chain that verifies, with every event in it that was said to be on the disk. The files
// are so small that the moments fall into rotations and checkpoints too; in every third round two processes write.
func TestKillAtAnyMoment(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	var durable []string
	for round := range 9 {
		kill := startWriter(t, dir, k, 1+round*7)
		if round%3 == 2 {
			killOther := startWriter(t, dir, k, 5)
			durable = append(durable, killOther()...)
			report := verify(t, dir, k)
			require.Empty(t, report.Defects)
		}
		durable = append(durable, kill()...)
		require.Empty(t, verify(t, dir, k).Defects, "round %d", round)
	}
	onRecord := map[string]int{}
	for _, r := range records(t, dir) {
		onRecord[r.RequestID]++
	}
	require.Greater(t, len(durable), 200)
	for _, request := range durable {
		require.Equal(t, 1, onRecord[request], request)
	}
	log := open(t, audit.Options{Dir: dir, Signer: k})
	require.NoError(t, log.Close())
	report := verify(t, dir, k)
	require.Empty(t, report.Defects)
	t.Logf("%d records in %d files, %d torn ones cut off, %d checkpoints", report.Records, report.Files, report.Recovered, report.Checkpoints)
}

// slowKeys hold the writer at a checkpoint until the test lets go.
type slowKeys struct {
	keys
	slow    *atomic.Bool
	entered chan struct{}
	hold    chan struct{}
}

func (k slowKeys) Sign(c jwt.Claims, typ string) (string, error) {
	if k.slow.Load() {
		select {
		case k.entered <- struct{}{}:
		default:
		}
		<-k.hold
	}
	return k.keys.Sign(c, typ)
}

// A queue that is full refuses: nothing that isn't on record may happen.
func TestAFullQueueRefuses(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	slow := slowKeys{k, new(atomic.Bool), make(chan struct{}, 1), make(chan struct{})}
	log := open(t, audit.Options{Dir: dir, Signer: slow, MaxQueued: 8, CheckpointRecords: 1})
	slow.slow.Store(true)
	require.NoError(t, log.Append(t.Context(), event(0), false))
	<-slow.entered
	for i := range 8 {
		require.NoError(t, log.Append(t.Context(), event(i+1), false))
	}
	require.ErrorIs(t, log.Append(t.Context(), event(9), false), audit.ErrFull)
	require.ErrorIs(t, log.Append(t.Context(), event(9), true), audit.ErrFull)
	close(slow.hold)
	require.Eventually(t, func() bool { return log.Append(t.Context(), event(10), true) == nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, log.Close())
	all := map[string]int{}
	for _, r := range records(t, dir) {
		all[r.RequestID]++
	}
	require.Zero(t, all["request-9"])
	for i := range 9 {
		require.Equal(t, 1, all[fmt.Sprintf("request-%d", i)])
	}
}

// Who isn't ready gets no requests, so nobody but the log itself finds out that the disk has room again.
func TestALogThatCouldNotBeWrittenFindsOutByItself(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 1, CheckpointEvery: 10 * time.Millisecond}) // each group is a file
	folder := filepath.Join(dir, "checkpoint.json.new")                                                         // where a file is to be
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.Error(t, log.Append(t.Context(), event(1), true))
	require.Error(t, log.Stats().Err)
	require.NoError(t, os.Remove(folder))
	require.Eventually(t, func() bool { return log.Stats().Err == nil }, 10*time.Second, 5*time.Millisecond)
}
