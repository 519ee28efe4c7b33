package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/outbox/outboxtest"
)

// call runs a command and gives what it wrote and its exit code.
func call(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, complaint bytes.Buffer
	code = exitCode(run(t.Context(), args, &out, &complaint), &complaint)
	return out.String(), complaint.String(), code
}

func TestOutboxCommands(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox.db")
	s, err := outbox.OpenSQLite(outbox.SQLiteOptions{Path: path})
	require.NoError(t, err)
	defer s.Close() //nolint:errcheck // nothing is lost
	var entries []outbox.Entry
	for i := range 4 {
		e := outboxtest.Entry("q")
		e.Caller = "svc-\x1b[31mnightly"
		if i == 2 {
			e.GoodUntil = time.Now().Add(-time.Minute)
		}
		entries = append(entries, e)
		_, _, err := s.Add(t.Context(), e)
		require.NoError(t, err)
	}
	dead := outbox.Settlement{Status: outbox.Dead, At: time.Now(), Reason: "deployment_unknown"}
	for _, e := range entries[1:] {
		require.NoError(t, s.Settle(t.Context(), e.ID, outbox.Waiting, dead))
	}
	id := func(i int) string { return entries[i].ID.String() }

	out, _, code := call(t, "outbox", "list", "--outbox", path)
	require.Zero(t, code)
	require.Contains(t, out, "4 entries")
	require.Contains(t, out, "deployment_unknown")
	require.NotContains(t, out, "\x1b", "a caller's name is no command for the terminal")
	out, _, code = call(t, "outbox", "list", "--outbox", path, "--status", "dead", "--json")
	require.Zero(t, code)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	var first outbox.Entry
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.Equal(t, entries[1].ID, first.ID)
	require.Equal(t, outbox.Dead, first.Status)

	out, stderr, code := call(t, "outbox", "retry", "--outbox", path, id(0), id(1), id(2))
	require.Equal(t, exitFound, code)
	require.Contains(t, stderr, "2 of 3 requests were not retried")
	require.Contains(t, out, "it is waiting")
	require.Contains(t, out, "its stamp was good until")
	again, err := s.Entry(t.Context(), entries[1].ID)
	require.NoError(t, err)
	require.Equal(t, outbox.Waiting, again.Status)
	require.Equal(t, again.GoodUntil, again.Expires, "no longer than its stamp is good")

	_, _, code = call(t, "outbox", "drop", "--outbox", path, "--all")
	require.Zero(t, code)
	out, _, _ = call(t, "outbox", "list", "--outbox", path, "--status", "dropped")
	require.Contains(t, out, "2 entries")
	_, stderr, code = call(t, "outbox", "drop", "--outbox", path, id(3))
	require.Equal(t, exitFound, code)
	require.Contains(t, stderr, "1 of 1 requests were not dropped")
}

func TestOutboxCommandLines(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"outbox list": "say where the outbox is",
		"outbox list --outbox a --outbox-redis b": "one of --outbox and --outbox-redis",
		"outbox list --outbox /no/such":           "no such file",
		"outbox list --outbox-redis /no/such":     "no such file",
		"outbox list --outbox a --status asleep":  "--status must be one of",
		"outbox retry --outbox a":                 "give ids, or --all",
		"outbox retry --outbox a --all 1":         "give ids, or --all",
		"outbox drop --outbox a one":              "is no id",
		"outbox retry --outbox a --all --for -1h": "--for must be a time",
	} {
		_, stderr, code := call(t, strings.Fields(line)...)
		require.NotZero(t, code, line)
		require.Contains(t, stderr, says, line)
	}
}
