package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Errors of Append.
var (
	// ErrFull: the queue is full, since the disk is slower than the events.
	ErrFull = errors.New("the audit's queue is full")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("the audit is closed")
	// ErrTooLong: the event makes a line of more than 64 KiB.
	ErrTooLong = errors.New("the audit event is too long")
)

// Signer signs checkpoints, and knows its own again; *signing.Keys is one.
type Signer interface {
	Sign(claims jwt.Claims, typ string) (string, error)
	Verifier
}

// Options for a [Log].
type Options struct {
	// Dir is the folder of the log, on a local file system. It is made if it
	// isn't there. Required.
	Dir string
	// Signer signs the checkpoints. Required.
	Signer Signer
	// MaxFileBytes is when a file is sealed and the next begun. Default:
	// 64 MiB.
	MaxFileBytes int64
	// MaxQueued bounds the events that wait for the disk. Default: 4,096.
	MaxQueued int
	// CheckpointEvery is how long a record may wait to be covered by a signed
	// checkpoint. Default: one minute.
	CheckpointEvery time.Duration
	// CheckpointRecords is how many records may. Default: 1,000.
	CheckpointRecords int
	// Node names this host in the records. Default: its host name.
	Node string
	// Logger is told what goes wrong outside of any request. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() error {
	if o.Dir == "" || o.Signer == nil {
		return errors.New("audit: Dir and Signer are required")
	}
	if o.MaxFileBytes <= 0 {
		o.MaxFileBytes = 64 << 20
	}
	if o.MaxQueued <= 0 {
		o.MaxQueued = 4096
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = time.Minute
	}
	if o.CheckpointRecords <= 0 {
		o.CheckpointRecords = 1000
	}
	if o.Node == "" {
		o.Node, _ = os.Hostname()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Log is where events are appended. One goroutine writes, so that events that
// come at once share one write and one sync.
type Log struct {
	options Options
	file    *chainFile
	queue   chan pending
	inUse   chan Event
	counts  counts

	mu     sync.RWMutex // held to read while an event is put into the queue
	closed bool
	done   chan struct{}
}

// pending is an event on its way to the disk.
type pending struct {
	event   []byte
	durable chan error // nil: nobody waits
}

// Open opens the log and goes on where it ends. It writes the record that the
// process has started, and what the process before left torn, and signs all.
func Open(o Options) (*Log, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	file, err := openChain(o.Dir, o.MaxFileBytes, signedUpTo(o.Dir, o.Signer))
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l := &Log{options: o, file: file, queue: make(chan pending, o.MaxQueued), inUse: make(chan Event, maxChanges), done: make(chan struct{})}
	started, err := l.encode(Event{Type: ProcessStarted, Detail: fmt.Sprintf("pid %d", os.Getpid())})
	if err == nil {
		w := &writer{log: l}
		// Signed at once: where processes live for seconds only, nothing would
		// ever be.
		if err = w.write([]pending{{event: started}}, true); err == nil {
			l.counts.written(file.at.seq, nil)
			go w.run()
			return l, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("audit: %w", err), file.close())
}

// Append puts an event on record. With durable it returns once the record is
// on the disk; otherwise once it is in the bounded queue. Any error means that
// the event may not be on record, and what it allows must not happen.
func (l *Log) Append(ctx context.Context, e Event, durable bool) error {
	data, err := l.encode(e)
	p := pending{event: data}
	if durable {
		p.durable = make(chan error, 1)
	}
	if err == nil {
		err = l.enqueue(p)
	}
	l.counts.taken(e, err)
	if err != nil || !durable {
		return err
	}
	select {
	case err := <-p.durable:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) encode(e Event) ([]byte, error) {
	if e.Time.IsZero() {
		e.Time = l.options.Now()
	}
	e.Node = l.options.Node
	data, err := e.encode()
	if err != nil {
		return nil, fmt.Errorf("encoding an audit event: %w", err)
	}
	if len(data) > maxRecordBytes-2*hashLen {
		return nil, ErrTooLong
	}
	return data, nil
}

func (l *Log) enqueue(p pending) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	select {
	case l.queue <- p:
		return nil
	default:
		return ErrFull
	}
}

// Close writes what waits, the record that the process has stopped and a last
// checkpoint.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.done
		return nil
	}
	l.closed = true
	close(l.queue)
	l.mu.Unlock()
	<-l.done
	return l.file.close()
}

// DigestOf names a configuration in the records: SHA-256, in hexadecimal.
func DigestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
