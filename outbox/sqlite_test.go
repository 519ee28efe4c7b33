package outbox_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/outbox/outboxtest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	outboxtest.Run(t, func(t *testing.T, limits outbox.Limits) outbox.Store {
		return openAt(t, filepath.Join(folder, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())+" #1?.db"), limits)
	})
}

func openAt(t *testing.T, path string, limits outbox.Limits) *outbox.SQLite {
	s, err := outbox.OpenSQLite(outbox.SQLiteOptions{Path: path, Limits: limits})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// What is accepted is synced before it is said so, which no test that kills a
// process can show: the kernel writes it all the same.
func TestEveryCommitIsSynced(t *testing.T) {
	t.Parallel()
	s := openAt(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.Limits{})
	require.Equal(t, "wal", s.Pragma(t, "journal_mode"))
	require.Equal(t, "2", s.Pragma(t, "synchronous"), "FULL: with NORMAL a commit in the -wal isn't synced")
}

// A file that may not grow any more is SQLite's own form of a full disk.
func TestADiskThatIsFull(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openAt(t, path, outbox.Limits{})
	e := outboxtest.Entry("q")
	e.Payload = make([]byte, 64<<10)
	_, _, err := s.Add(t.Context(), e)
	require.NoError(t, err)
	s.CapPages(t, 40)
	full := 0
	for range 10 {
		big := outboxtest.Entry("q")
		big.Payload = make([]byte, 64<<10)
		if _, _, err := s.Add(t.Context(), big); err != nil {
			require.ErrorIs(t, err, outbox.ErrFull)
			full++
		}
	}
	require.Positive(t, full)
	all, err := s.List(t.Context(), outbox.Waiting, 100)
	require.NoError(t, err)
	require.Len(t, all, 11-full, "what was accepted is there, and nothing else")
	require.NoError(t, s.Settle(t.Context(), e.ID, outbox.Waiting, outbox.Settlement{Status: outbox.Delivered}), "room is made")
}

func TestTheFileIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openAt(t, path, outbox.Limits{})
	_, _, err := s.Add(t.Context(), outboxtest.Entry("q"))
	require.NoError(t, err)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestFilesThatCanNotBeAnOutbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	db, err := sql.Open("sqlite", newer)
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA user_version = 2")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("no database ", 100)), 0o600))
	for path, says := range map[string]string{
		newer:                            "newer version",
		text:                             "not a database",
		filepath.Join(dir, "no", "such"): "no such file",
		dir:                              "is a directory",
	} {
		_, err := outbox.OpenSQLite(outbox.SQLiteOptions{Path: path})
		require.ErrorContains(t, err, says)
	}
}

func TestRedisAddressIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://user:secret@redis", "redis://user:secret@redis:port/x", "secret"} {
		_, err := outbox.OpenRedis(outbox.RedisOptions{URL: url})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}
