package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// maxGroup bounds what one commit carries, maxQueuedWrites what waits for
	// it.
	maxGroup        = 256
	maxQueuedWrites = 4096
)

// sqliteWriter is the one goroutine that writes. Each write is a function that
// runs in the group's transaction.
type sqliteWriter struct {
	db     *sql.DB
	limits Limits
	queue  chan sqliteWrite

	mu     sync.RWMutex // held to read while a write is put into the queue
	closed bool
	done   chan struct{}
}

type sqliteWrite struct {
	do   func(t *sqliteTx) error
	done chan error
}

// sqliteTx is the transaction of a group.
type sqliteTx struct {
	*sql.Tx
	waiting int // how many entries wait; negative: not counted yet
}

func newSQLiteWriter(db *sql.DB, limits Limits) *sqliteWriter {
	w := &sqliteWriter{db: db, limits: limits, queue: make(chan sqliteWrite, maxQueuedWrites), done: make(chan struct{})}
	go w.run()
	return w
}

// write returns once what do did is on the disk.
func (w *sqliteWriter) write(ctx context.Context, do func(t *sqliteTx) error) error {
	one := sqliteWrite{do, make(chan error, 1)}
	if err := w.enqueue(one); err != nil {
		return err
	}
	select {
	case err := <-one.done:
		return sqliteError(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *sqliteWriter) enqueue(one sqliteWrite) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- one:
		return nil
	default:
		return fmt.Errorf("%w: the disk is slower than the requests", ErrFull)
	}
}

func (w *sqliteWriter) close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.done
	return w.db.Close()
}

func (w *sqliteWriter) run() {
	defer close(w.done)
	for first := range w.queue {
		group := append(make([]sqliteWrite, 0, maxGroup), first)
	collect:
		for len(group) < maxGroup {
			select {
			case one, open := <-w.queue:
				if !open {
					break collect // the loop sees it as well
				}
				group = append(group, one)
			default:
				break collect
			}
		}
		w.commit(group)
	}
}

// commit carries out a group. One that fails as a whole is carried out one by
// one: what fails is told to those whom it concerns.
func (w *sqliteWriter) commit(group []sqliteWrite) {
	results, err := w.transaction(group)
	if err == nil {
		for i, one := range group {
			one.done <- results[i]
		}
		return
	}
	if len(group) == 1 {
		group[0].done <- err
		return
	}
	for i := range group {
		w.commit(group[i : i+1])
	}
}

// transaction gives each write's own result, or why all of it failed.
func (w *sqliteWriter) transaction(group []sqliteWrite) (results []error, err error) {
	tx, err := w.db.Begin()
	if err != nil {
		return nil, err
	}
	t := &sqliteTx{Tx: tx, waiting: -1}
	for _, one := range group {
		err := one.do(t)
		if err != nil && !ours(err) {
			return nil, errors.Join(err, tx.Rollback())
		}
		results = append(results, err)
	}
	if err := tx.Commit(); err != nil {
		return nil, errors.Join(err, rolledBack(tx.Rollback()))
	}
	return results, nil
}

// ours tells a write that was refused, and wrote nothing, from one that failed.
func ours(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrChanged) || errors.Is(err, ErrOther)
}

func rolledBack(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Add takes a waiting entry.
func (s *SQLite) Add(ctx context.Context, e Entry) (Entry, bool, error) {
	e.Status = Waiting
	// Written by the writer, which may come to it when the caller has gone.
	var held Entry
	var added bool
	err := s.write.write(ctx, func(t *sqliteTx) error {
		held, added = e, false
		known, err := t.entry(e.ID)
		switch {
		case err == nil && known.Fingerprint != e.Fingerprint:
			return ErrOther
		case err == nil && !known.replaceable():
			held = known
			return nil
		case err != nil && !errors.Is(err, ErrUnknown):
			return err
		}
		added = true
		return t.add(e, s.write.limits)
	})
	if err != nil {
		return Entry{}, false, err
	}
	return held, added, nil
}

func (t *sqliteTx) add(e Entry, limits Limits) error {
	if t.waiting < 0 {
		if err := t.QueryRow("SELECT count(*) FROM entries WHERE status = 'waiting'").Scan(&t.waiting); err != nil {
			return err
		}
	}
	var ofQueue int
	if err := t.QueryRow("SELECT count(*) FROM entries WHERE status = 'waiting' AND server = ? AND queue = ?", e.Server, e.Queue).Scan(&ofQueue); err != nil {
		return err
	}
	if t.waiting >= limits.MaxWaiting || ofQueue >= limits.MaxWaitingPerQueue {
		return fmt.Errorf("%w: %d entries wait, %d of them in this queue", ErrFull, t.waiting, ofQueue)
	}
	t.waiting++
	return t.place(e)
}

// place puts a waiting entry at its queue's end, whatever it was before.
func (t *sqliteTx) place(e Entry) error {
	data, err := e.encode()
	if err != nil {
		return err
	}
	_, err = t.Exec("INSERT OR REPLACE INTO entries (id, server, queue, status, settled, entry, payload) VALUES (?, ?, ?, ?, 0, ?, ?)",
		e.ID.String(), e.Server, e.Queue, string(Waiting), data, e.Payload)
	return err
}

func (t *sqliteTx) entry(id uuid.UUID) (Entry, error) {
	var data, payload []byte
	err := t.QueryRow(selectEntry+"WHERE id = ?", id.String()).Scan(&data, &payload)
	if errors.Is(err, sql.ErrNoRows) {
		return Entry{}, ErrUnknown
	}
	if err != nil {
		return Entry{}, err
	}
	return decodeEntry(data, payload)
}

// Settle changes an entry's status.
func (s *SQLite) Settle(ctx context.Context, id uuid.UUID, from Status, change Settlement) error {
	return s.write.write(ctx, func(t *sqliteTx) error {
		e, err := t.entry(id)
		if err != nil {
			return err
		}
		if e.Status != from {
			return fmt.Errorf("%w: %s, not %s", ErrChanged, e.Status, from)
		}
		t.waiting = -1
		e = e.settle(change)
		if e.Status == Waiting {
			return t.place(e)
		}
		data, err := e.encode()
		if err != nil {
			return err
		}
		_, err = t.Exec("UPDATE entries SET status = ?, settled = ?, entry = ?, payload = ? WHERE id = ?",
			string(e.Status), unixMicros(e.Settled), data, e.Payload, id.String())
		return err
	})
}

// Forget removes what is old or too much.
func (s *SQLite) Forget(ctx context.Context, status Status, before time.Time, newest int) (int, error) {
	var removed int64
	err := s.write.write(ctx, func(t *sqliteTx) error {
		result, err := t.Exec(`DELETE FROM entries WHERE status = ?1 AND (settled < ?2 OR seq IN (
			SELECT seq FROM entries WHERE status = ?1 ORDER BY settled DESC LIMIT -1 OFFSET ?3))`, string(status), before.UnixMicro(), newest)
		if err != nil {
			return err
		}
		removed, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(removed), nil
}

// Keep puts something beside the entries.
func (s *SQLite) Keep(ctx context.Context, name string, value []byte) error {
	return s.write.write(ctx, func(t *sqliteTx) error {
		_, err := t.Exec("INSERT OR REPLACE INTO kept (name, value) VALUES (?, ?)", name, value)
		return err
	})
}
