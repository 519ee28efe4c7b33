package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// CheckpointType is the typ of a checkpoint's JWS.
const CheckpointType = "kong-prefect-checkpoint+jwt"

// checkpointYears: a signature of the gateway has to end, and what a checkpoint
// proves is the past.
const checkpointYears = 100

// maxGroup bounds what one write and one sync carry.
const maxGroup = 512

// checkpointClaims is what a checkpoint's signature says: after Seq records
// the chain's hash was Hash.
type checkpointClaims struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
	jwt.RegisteredClaims
}

// writer is the one goroutine that appends.
type writer struct {
	log       *Log
	unsigned  int    // records that no checkpoint covers yet
	failed    bool   // the last write: it is tried again without any event
	lineSpace []byte // used again by each write
}

func (w *writer) run() {
	defer close(w.log.done)
	tick := time.NewTicker(w.log.options.CheckpointEvery)
	defer tick.Stop()
	for {
		select {
		case first, open := <-w.log.queue:
			if !open {
				w.stop()
				return
			}
			w.group(first)
		case <-tick.C:
			if w.unsigned > 0 || w.failed {
				w.report(w.write(nil, true))
			}
		}
	}
}

// group writes one event and all that came with it.
func (w *writer) group(first pending) {
	events := append(make([]pending, 0, maxGroup), first)
collect:
	for len(events) < maxGroup {
		select {
		case p, open := <-w.log.queue:
			if !open {
				break collect // run sees it as well
			}
			events = append(events, p)
		default:
			break collect
		}
	}
	err := w.write(events, w.unsigned+len(events) >= w.log.options.CheckpointRecords)
	w.report(err)
	for _, p := range events {
		if p.durable != nil {
			p.durable <- err
		}
	}
}

func (w *writer) stop() {
	stopped, err := w.log.encode(Event{Type: ProcessStopped, Detail: fmt.Sprintf("pid %d", os.Getpid())})
	if err == nil {
		err = w.write([]pending{{event: stopped}}, true)
	}
	w.report(err)
}

func (w *writer) report(err error) {
	w.failed = err != nil
	w.log.counts.written(w.log.file.at.seq, err)
	if err != nil {
		w.log.options.Logger.Error("the audit can't be written", "error", err)
	}
}

// write appends events in one write and makes them durable, with a checkpoint
// behind them when it is time.
func (w *writer) write(events []pending, sign bool) error {
	f := w.log.file
	return f.locked(func() error {
		end, lines := f.at, w.lineSpace[:0]
		for _, what := range f.untold {
			lines = w.recovered(&end, lines, what)
		}
		for _, p := range events {
			lines = end.appendLine(lines, p.event)
		}
		full := f.size+int64(len(lines)) >= f.maxBytes
		var checkpoint []byte
		if sign || full {
			var err error
			if lines, checkpoint, err = w.checkpoint(&end, lines); err != nil {
				return err
			}
		}
		w.lineSpace = lines
		if err := errors.Join(f.write(lines, end), f.sync()); err != nil {
			return err
		}
		w.unsigned += len(events)
		if checkpoint != nil {
			// Beside the chain only once it is in the chain.
			w.unsigned = 0
			if err := keepBeside(w.log.options.Dir, checkpoint); err != nil {
				return err
			}
		}
		if full {
			return f.seal()
		}
		return nil
	})
}

// recovered says in the chain what is wrong with the files: that a process died
// while it wrote, or that records are gone.
func (w *writer) recovered(end *position, lines []byte, what string) []byte {
	w.log.options.Logger.Error("the audit's files were not in order", "folder", w.log.options.Dir, "what", what)
	event, err := w.log.encode(Event{Type: Recovered, Detail: what})
	if err != nil {
		return lines
	}
	return end.appendLine(lines, event)
}

// checkpoint signs the chain's end.
func (w *writer) checkpoint(end *position, lines []byte) (all, line []byte, err error) {
	now := w.log.options.Now()
	signature, err := w.log.options.Signer.Sign(checkpointClaims{
		Seq: end.seq, Hash: end.last.String(),
		RegisteredClaims: jwt.RegisteredClaims{
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.AddDate(checkpointYears, 0, 0)),
		},
	}, CheckpointType)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	event, err := w.log.encode(Event{Type: Checkpoint, Time: now, Signature: signature})
	if err != nil {
		return nil, nil, err
	}
	start := len(lines)
	lines = end.appendLine(lines, event)
	return lines, lines[start:], nil
}

// keepBeside puts the newest checkpoint beside the chain, for those who check
// that the chain's end was not cut off.
func keepBeside(dir string, line []byte) error {
	path := filepath.Join(dir, checkpointName)
	if err := os.WriteFile(path+".new", line, fileMode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// signedUpTo is the checkpoint beside the chain, the zero position where there
// is none of ours.
func signedUpTo(dir string, keys Verifier) position {
	data, err := os.ReadFile(filepath.Join(dir, checkpointName))
	if err != nil {
		return position{}
	}
	line := bytes.TrimSuffix(data, []byte{'\n'})
	r, err := parseLine(line)
	var c checkpointClaims
	if err != nil || keys.Verify(r.Signature, CheckpointType, &c) != nil || c.Seq != r.Seq-1 || c.Hash != r.Prev {
		return position{}
	}
	return position{r.Seq, sha256.Sum256(line)}
}
