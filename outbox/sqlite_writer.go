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
	db         *sql.DB // of one connection
	statements sqliteStatements
	limits     Limits
	queue      chan sqliteWrite

	// waiting is how many entries wait, as long as nobody else has written
	// since: then version is another one. Nil: not counted.
	waiting *census
	version int64

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
	w *sqliteWriter
}

// census is how many entries wait, in all and by server and queue.
type census struct {
	all    int
	queues map[[2]string]int
}

func (c *census) add(e Entry, n int) {
	of := [2]string{e.Server, e.Queue}
	c.all += n
	if c.queues[of] += n; c.queues[of] <= 0 {
		delete(c.queues, of)
	}
}

// sqliteStatements are parsed once: half of what a small write costs is that.
type sqliteStatements struct {
	version, entry, insert, place, settle *sql.Stmt
}

func newSQLiteWriter(db *sql.DB, limits Limits) (*sqliteWriter, error) {
	w := &sqliteWriter{db: db, limits: limits, queue: make(chan sqliteWrite, maxQueuedWrites), done: make(chan struct{})}
	for into, text := range map[**sql.Stmt]string{
		&w.statements.version: "PRAGMA data_version",
		&w.statements.entry:   selectEntry + "WHERE id = ?",
		&w.statements.insert:  "INSERT OR IGNORE INTO entries (id, server, queue, status, settled, entry, payload) VALUES (?, ?, ?, 'waiting', 0, ?, ?)",
		&w.statements.place:   "INSERT OR REPLACE INTO entries (id, server, queue, status, settled, entry, payload) VALUES (?, ?, ?, 'waiting', 0, ?, ?)",
		&w.statements.settle:  "UPDATE entries SET status = ?, settled = ?, entry = ?, payload = ? WHERE id = ?",
	} {
		var err error
		if *into, err = db.Prepare(text); err != nil {
			return nil, err
		}
	}
	go w.run()
	return w, nil
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
	t := &sqliteTx{tx, w}
	err = t.count()
	for i := 0; i < len(group) && err == nil; i++ {
		result := group[i].do(t)
		if result != nil && !ours(result) {
			err = result
		}
		results = append(results, result)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		w.waiting = nil
		return nil, errors.Join(err, rolledBack(tx.Rollback()))
	}
	return results, nil
}

// count finds out how many entries wait, where it isn't known.
func (t *sqliteTx) count() error {
	var version int64
	if err := t.Stmt(t.w.statements.version).QueryRow().Scan(&version); err != nil {
		return err
	}
	if t.w.waiting != nil && version == t.w.version {
		return nil
	}
	rows, err := t.Query("SELECT server, queue, count(*) FROM entries WHERE status = 'waiting' GROUP BY server, queue")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err below
	counted := &census{queues: map[[2]string]int{}}
	for rows.Next() {
		var e Entry
		var n int
		if err := rows.Scan(&e.Server, &e.Queue, &n); err != nil {
			return err
		}
		counted.add(e, n)
	}
	t.w.waiting, t.w.version = counted, version
	return rows.Err()
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
	data, err := e.encode()
	if err != nil {
		return Entry{}, false, err
	}
	// Written by the writer, which may come to it when the caller has gone.
	var held Entry
	var added bool
	err = s.write.write(ctx, func(t *sqliteTx) error {
		var err error
		held, added, err = t.add(e, data)
		return err
	})
	if err != nil {
		return Entry{}, false, err
	}
	return held, added, nil
}

func (t *sqliteTx) add(e Entry, data []byte) (held Entry, added bool, err error) {
	waiting, limits := t.w.waiting, t.w.limits
	ofQueue := waiting.queues[[2]string{e.Server, e.Queue}]
	full := waiting.all >= limits.MaxWaiting || ofQueue >= limits.MaxWaitingPerQueue
	if !full {
		// The usual case in one step: the id is new.
		if added, err = t.place(t.w.statements.insert, e, data); added || err != nil {
			return e, added, err
		}
	}
	known, err := t.entry(e.ID)
	switch {
	case err == nil && known.Fingerprint != e.Fingerprint:
		return Entry{}, false, ErrOther
	case err == nil && !known.replaceable():
		return known, false, nil
	case err != nil && !errors.Is(err, ErrUnknown):
		return Entry{}, false, err
	case full:
		return Entry{}, false, fmt.Errorf("%w: %d entries wait, %d of them in this queue", ErrFull, waiting.all, ofQueue)
	}
	added, err = t.place(t.w.statements.place, e, data)
	return e, added, err
}

// place puts a waiting entry at its queue's end, and says whether it did.
func (t *sqliteTx) place(statement *sql.Stmt, e Entry, data []byte) (placed bool, err error) {
	result, err := t.Stmt(statement).Exec(e.ID.String(), e.Server, e.Queue, data, e.Payload)
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	if rows > 0 {
		t.w.waiting.add(e, 1)
	}
	return rows > 0, err
}

func (t *sqliteTx) entry(id uuid.UUID) (Entry, error) {
	var data, payload []byte
	err := t.Stmt(t.w.statements.entry).QueryRow(id.String()).Scan(&data, &payload)
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
		if e.Status == Waiting {
			t.w.waiting.add(e, -1)
		}
		e = e.settle(change)
		data, err := e.encode()
		if err != nil {
			return err
		}
		if e.Status == Waiting {
			_, err := t.place(t.w.statements.place, e, data)
			return err
		}
		_, err = t.Stmt(t.w.statements.settle).Exec(string(e.Status), unixMicros(e.Settled), data, e.Payload, id.String())
		return err
	})
}

// Forget removes what is old or too much.
func (s *SQLite) Forget(ctx context.Context, status Status, before time.Time, newest int) (int, error) {
	if status == Waiting {
		return 0, errForgetsWaiting
	}
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
