package audit_test

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

// BenchmarkAppend is an audited decision that doesn't wait for the disk.
func BenchmarkAppend(b *testing.B) {
	log := open(b, audit.Options{Dir: b.TempDir(), Signer: newKeys(b)})
	e := event(1)
	b.ReportAllocs()
	for b.Loop() {
		for log.Queued() == 4096 {
			runtime.Gosched()
		}
		require.NoError(b, log.Append(b.Context(), e, false))
	}
}

// BenchmarkDurable is decisions that wait for the disk, and the same lines
// appended and synced in groups without any of our code: the limit.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(name("audit", writers), func(b *testing.B) {
			log := open(b, audit.Options{Dir: b.TempDir(), Signer: newKeys(b)})
			spread(b, writers, func() {
				require.NoError(b, log.Append(b.Context(), event(1), true))
			})
		})
		b.Run(name("limit", writers), func(b *testing.B) {
			limit := newGroupSync(b)
			spread(b, writers, limit.append)
		})
	}
}

func name(who string, writers int) string {
	return who + "/writers=" + string(rune('0'+writers/10)) + string(rune('0'+writers%10))
}

// spread shares the benchmark's rounds among writers.
func spread(b *testing.B, writers int, do func()) {
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				do()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// groupSync appends lines of a usual record's length and syncs them in groups.
type groupSync struct {
	file    *os.File
	line    []byte
	waiting chan chan error
}

func newGroupSync(b *testing.B) *groupSync {
	file, err := os.OpenFile(filepath.Join(b.TempDir(), "limit"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(b, err)
	g := &groupSync{file: file, line: make([]byte, 560), waiting: make(chan chan error, 4096)}
	var wg sync.WaitGroup
	wg.Go(g.run)
	b.Cleanup(func() {
		close(g.waiting)
		wg.Wait()
		require.NoError(b, file.Close())
	})
	return g
}

func (g *groupSync) run() {
	var lines []byte
	for first := range g.waiting {
		group := []chan error{first}
		lines = append(lines[:0], g.line...)
		for more := true; more; {
			select {
			case w, open := <-g.waiting:
				if more = open; open {
					group = append(group, w)
					lines = append(lines, g.line...)
				}
			default:
				more = false
			}
		}
		_, err := g.file.Write(lines)
		if err == nil {
			err = syscall.Fdatasync(int(g.file.Fd()))
		}
		for _, w := range group {
			w <- err
		}
	}
}

func (g *groupSync) append() {
	done := make(chan error, 1)
	g.waiting <- done
	if err := <-done; err != nil {
		panic(err)
	}
}
