package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Sink is where records go beside the log: a collector, a SIEM.
type Sink interface {
	// Send hands over records in their order. After an error all of them come
	// again, so a sink may see a record twice; each has its number.
	Send(ctx context.Context, records []Record) error
}

const (
	// maxBatch bounds what a sink is handed at once.
	maxBatch = 200
	// sendLimit bounds one try.
	sendLimit = 30 * time.Second
	// retryAtMost is how long a sink that fails is left alone.
	retryAtMost = time.Minute
)

var sinkName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Deliver hands every record of the log to a sink, in order and at least once,
// until ctx ends. The log is the queue, and the sink's place in it is kept in a
// file beside it: a sink that is slow or away for days loses nothing, and what
// it lacks is said in the operator's log. Of several processes one does it.
func Deliver(ctx context.Context, dir, name string, sink Sink, log *slog.Logger) error {
	if !sinkName.MatchString(name) {
		return fmt.Errorf("audit: a sink's name has small letters, digits and hyphens, not %q", name)
	}
	lock, err := holdAlone(ctx, filepath.Join(dir, "sink-"+name+".lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	after, err := delivered(dir, name)
	if err != nil {
		return err
	}
	d := &delivery{dir: dir, name: name, sink: sink, log: log}
	return d.run(ctx, after)
}

// delivered is the number of the last record that the sink took.
func delivered(dir, name string) (uint64, error) {
	data, err := os.ReadFile(placeOf(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
}

func placeOf(dir, name string) string { return filepath.Join(dir, "sink-"+name+".seq") }

type delivery struct {
	dir, name string
	sink      Sink
	log       *slog.Logger
}

func (d *delivery) run(ctx context.Context, after uint64) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		batch := make([]Record, 0, maxBatch)
		err := Records(d.dir, after, func(r Record) bool {
			batch = append(batch, r)
			return len(batch) < maxBatch
		})
		// A file may be sealed while it is looked for: the next look finds it.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(batch) > 0 {
			if first := batch[0].Seq; after > 0 && first > after+1 {
				d.log.Error("records are gone before a sink of the audit had them: they were archived or removed too early",
					"sink", d.name, "from_record", after+1, "to_record", first-1)
			}
			if err := d.send(ctx, batch); err != nil {
				return err
			}
			after = batch[len(batch)-1].Seq
			if err := d.keepPlace(after); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// send tries until it succeeds or ctx ends.
func (d *delivery) send(ctx context.Context, batch []Record) error {
	wait := backoff.NewExponentialBackOff()
	wait.MaxInterval = retryAtMost
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		once, cancel := context.WithTimeout(ctx, sendLimit)
		defer cancel()
		return struct{}{}, d.sink.Send(once, batch)
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, next time.Duration) {
		d.log.Warn("a sink of the audit takes nothing now; it is tried again, and nothing is lost",
			"sink", d.name, "from_record", batch[0].Seq, "next_try", next.Round(time.Second).String(), "error", err)
	}))
	return err
}

func (d *delivery) keepPlace(seq uint64) error {
	path := placeOf(d.dir, d.name)
	if err := os.WriteFile(path+".new", []byte(decimal(seq)+"\n"), fileMode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
