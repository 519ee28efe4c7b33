package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/stretchr/testify/require"
)

// auditRows measures a decision that is put on record: the work for it, and
// how fast decisions are that wait for the disk, against lines of the same
// length that are appended and synced in groups without any of our code. The
// two take turns.
func auditRows(b *bench) []row {
	keys, err := signing.Open(signing.Options{File: filepath.Join(b.TempDir(), "keys.json")})
	require.NoError(b, err)
	log, err := audit.Open(audit.Options{Dir: filepath.Join(b.TempDir(), "audit"), Signer: keys})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	event := audit.Event{
		Type: audit.AccessAllowed, RequestID: "4e945547cbef4f9e8895a3b76c09438f", Deployment: "nightly-report/prod", Rule: "allow_roles:runner",
		Caller: audit.CallerOf(claims.Identity{Subject: "42", Issuer: "https://idp.example/realms/acme", Kind: claims.Service, Client: "svc-nightly"}),
		Roles:  []string{"runner"}, Plugin: "prefect-trigger", ParametersSHA256: audit.DigestOf(nil),
	}
	ctx := b.Context()
	rows := []row{figure("audit/decision/cpu", micros(decisionCPU(b, log, event)), "µs").atMost(10)}
	limit := newGroupSync(b, 640)
	defer limit.close(b)
	turns, turn := 20, 150*time.Millisecond
	if b.quick {
		turns, turn = 1, 20*time.Millisecond
	}
	for _, writers := range []int{1, 8, 64} {
		var plain, ours float64
		for range turns { // the disk has good and bad moments, for both alike
			plain += rate(writers, turn, func() error { return limit.append() })
			ours += rate(writers, turn, func() error { return log.Append(ctx, event, true) })
		}
		rows = append(rows, figure(fmt.Sprintf("audit/durable/writers=%d ÷ append+fsync", writers), ours/plain, "×").atLeast(0.8))
	}
	return rows
}

// decisionCPU is this process's CPU time for one event, the writer's with it:
// whatever else the machine does is not in the figure.
func decisionCPU(b *bench, log *audit.Log, event audit.Event) time.Duration {
	self, n := &server{b: b, pid: os.Getpid()}, 50_000
	if b.quick {
		n = 100
	}
	before := self.cpu()
	for range n {
		for log.Queued() > 1000 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(b, log.Append(b.Context(), event, false))
	}
	require.NoError(b, log.Append(b.Context(), event, true)) // all before it are on the disk
	return (self.cpu() - before) / time.Duration(n)
}

// rate is how often a second writers together do something.
func rate(writers int, turn time.Duration, do func() error) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range writers {
		wg.Go(func() {
			for time.Since(began) < turn {
				if err := do(); err != nil {
					panic(err)
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

// groupSync appends lines and syncs them in groups.
type groupSync struct {
	file    *os.File
	line    []byte
	waiting chan chan error
	done    chan struct{}
}

func newGroupSync(b *bench, lineBytes int) *groupSync {
	file, err := os.OpenFile(filepath.Join(b.TempDir(), "limit"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(b, err)
	g := &groupSync{file: file, line: make([]byte, lineBytes), waiting: make(chan chan error, 4096), done: make(chan struct{})}
	go g.run()
	return g
}

func (g *groupSync) close(b *bench) {
	close(g.waiting)
	<-g.done
	require.NoError(b, g.file.Close())
}

func (g *groupSync) run() {
	defer close(g.done)
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

func (g *groupSync) append() error {
	done := make(chan error, 1)
	g.waiting <- done
	return <-done
}
