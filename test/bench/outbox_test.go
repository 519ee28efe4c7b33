package bench

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
)

// entryBytes is about what a request without large parameters has in the outbox: its stamp, the run, the audit's event.
const entryBytes = 3000

// outboxRows measures how fast requests are accepted, on the disk, against lines of the same length that are appended and
// synced in groups without any of our code: the two take turns. And the look for what waits, which every request of a
// route that accepts pays.
func outboxRows(b *bench) []row {
	store, err := outbox.OpenSQLite(outbox.SQLiteOptions{
		Path: filepath.Join(b.TempDir(), "outbox.db"), Limits: outbox.Limits{MaxWaiting: 1 << 30, MaxWaitingPerQueue: 1 << 30},
	})
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	ctx := b.Context()
	accept := func() error {
		now := time.Now()
		id := uuid.New()
		_, _, err := store.Add(ctx, outbox.Entry{
			ID: id, Server: "http://prefect:4200/api", Queue: id.String()[:2], Caller: "svc-nightly", Deployment: "nightly-report/prod",
			Accepted: now, Expires: now.Add(time.Hour), GoodUntil: now.Add(time.Hour), Payload: make([]byte, entryBytes-500),
		})
		return err
	}
	require.NoError(b, accept())
	waits := b.perOp(func(b *testing.B) {
		for b.Loop() {
			if _, err := store.Waits(ctx, "http://prefect:4200/api", "none"); err != nil {
				b.Fatal(err)
			}
		}
	})
	rows := []row{figure("outbox/waits", waits/1e3, "µs").atMost(100)}
	limit := newGroupSync(b, entryBytes)
	defer limit.close(b)
	turns, turn := 7, 300*time.Millisecond
	if b.quick {
		turns, turn = 1, 20*time.Millisecond
	}
	for _, writers := range []int{1, 8, 64} {
		var ratios, speeds []float64
		for range turns {
			plain := rate(writers, turn, limit.append)
			ours := rate(writers, turn, accept)
			ratios, speeds = append(ratios, ours/plain), append(speeds, ours)
		}
		slices.Sort(ratios)
		slices.Sort(speeds)
		// Alone, each request has a commit of its own; the goal is what grouping is for.
		ratio := figure(fmt.Sprintf("outbox/accept/writers=%d ÷ append+fsync", writers), ratios[len(ratios)/2], "×")
		if writers > 1 {
			ratio = ratio.atLeast(0.74)
		}
		rows = append(rows, ratio, figure(fmt.Sprintf("outbox/accept/writers=%d", writers), speeds[len(speeds)/2], "/s"))
	}
	return rows
}
