package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// schemaVersion is the form of the file, in its user_version.
const schemaVersion = 1

// schema: the columns beside entry are those that are asked for. What waits
// has an index of its own, which stays small however long the rest is kept.
const schema = `
CREATE TABLE IF NOT EXISTS entries (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	id      TEXT NOT NULL UNIQUE,
	server  TEXT NOT NULL,
	queue   TEXT NOT NULL,
	status  TEXT NOT NULL,
	settled INTEGER NOT NULL,
	entry   BLOB NOT NULL,
	payload BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS entries_waiting ON entries (server, queue, seq) WHERE status = 'waiting';
CREATE INDEX IF NOT EXISTS entries_settled ON entries (status, settled) WHERE status <> 'waiting';
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;
`

// walPages lets the -wal grow to 16 MB before it is carried into the file, four
// times SQLite's default: that costs syncs of its own, and by then many of the
// indexes' pages were written more than once.
const walPages = "wal_autocheckpoint(4000)"

// SQLiteOptions configures [OpenSQLite].
type SQLiteOptions struct {
	// Path of the file, on a local file system. It is made if it isn't there.
	// Beside it are its -wal, its -shm, and one lock for each server. Required.
	Path string
	Limits
}

// SQLite is a store in a file of this node. One goroutine writes, so that
// entries that come at once share one commit and one sync.
type SQLite struct {
	path  string
	write *sqliteWriter
	read  *sql.DB
}

// OpenSQLite opens the file.
func OpenSQLite(o SQLiteOptions) (*SQLite, error) {
	o.SetDefaults()
	path, err := filepath.Abs(o.Path)
	if err == nil {
		err = makeFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	writing, err := sql.Open("sqlite", dataSource(path, "journal_mode(WAL)", "synchronous(FULL)", walPages))
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	writing.SetMaxOpenConns(1)
	if err := prepareFile(writing); err != nil {
		return nil, errors.Join(fmt.Errorf("outbox %s: %w", path, err), writing.Close())
	}
	writer, err := newSQLiteWriter(writing, o.Limits)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("outbox %s: %w", path, err), writing.Close())
	}
	reading, err := sql.Open("sqlite", dataSource(path, "query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("outbox: %w", err), writer.close())
	}
	reading.SetMaxOpenConns(4)
	return &SQLite{path: path, write: writer, read: reading}, nil
}

// makeFile makes the file for its owner alone: SQLite gives the files beside it
// the same mode, whatever the umask, which is 0 under Kong.
func makeFile(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// dataSource waits for another process's write for five seconds.
func dataSource(path string, pragmas ...string) string {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

func prepareFile(db *sql.DB) error {
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("it was written by a newer version of this program (form %d, this one knows %d)", version, schemaVersion)
	}
	_, err := db.Exec("BEGIN IMMEDIATE;" + schema + "COMMIT;")
	return err
}

// Close ends the writer once what waits for it is written.
func (s *SQLite) Close() error { return errors.Join(s.write.close(), s.read.Close()) }

const selectEntry = "SELECT entry, payload FROM entries "

// Entry finds one.
func (s *SQLite) Entry(ctx context.Context, id uuid.UUID) (Entry, error) {
	found, err := s.query(ctx, selectEntry+"WHERE id = ?", id.String())
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 {
		return Entry{}, ErrUnknown
	}
	return found[0], nil
}

// List gives the oldest of a status.
func (s *SQLite) List(ctx context.Context, status Status, limit int) ([]Entry, error) {
	return s.query(ctx, "SELECT entry, NULL FROM entries WHERE status = ? ORDER BY seq LIMIT ?", string(status), limit)
}

// Heads gives the first of each queue.
func (s *SQLite) Heads(ctx context.Context, server string, limit int) ([]Entry, error) {
	return s.query(ctx, selectEntry+`WHERE seq IN (
		SELECT min(seq) FROM entries WHERE status = 'waiting' AND server = ? GROUP BY queue ORDER BY min(seq) LIMIT ?) ORDER BY seq`, server, limit)
}

func (s *SQLite) query(ctx context.Context, query string, args ...any) ([]Entry, error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, sqliteError(err)
	}
	defer rows.Close() //nolint:errcheck // Err below
	all := []Entry{}
	for rows.Next() {
		var data, payload []byte
		if err := rows.Scan(&data, &payload); err != nil {
			return nil, sqliteError(err)
		}
		e, err := decodeEntry(data, payload)
		if err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
		all = append(all, e)
	}
	return all, sqliteError(rows.Err())
}

// Waits looks for one of the queue.
func (s *SQLite) Waits(ctx context.Context, server, queue string) (bool, error) {
	var waits bool
	err := s.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM entries WHERE status = 'waiting' AND server = ? AND queue = ?)", server, queue).Scan(&waits)
	return waits, sqliteError(err)
}

// Kept gives what Keep took.
func (s *SQLite) Kept(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.read.QueryRowContext(ctx, "SELECT value FROM kept WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return value, sqliteError(err)
}

// sqliteError knows a full disk.
func sqliteError(err error) error {
	if err == nil || errors.Is(err, ErrFull) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrChanged) || errors.Is(err, ErrOther) {
		return err
	}
	var failed *sqlite.Error
	if errors.As(err, &failed) && failed.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("outbox: %w", err)
}

func unixMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
