package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
)

// audited is a log with one run, and the gateway's key set in a file.
func audited(t *testing.T) (dir, keyFile string) {
	dir = t.TempDir()
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json"), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	log, err := audit.Open(audit.Options{Dir: dir, Signer: keys})
	require.NoError(t, err)
	caller := audit.CallerOf(claims.Identity{Subject: "1", Issuer: "https://idp.example", Kind: claims.User, Name: "Ann\x1b[31m"})
	require.NoError(t, log.Append(t.Context(), audit.Event{Type: audit.RunCreated, Caller: caller, Deployment: "a/b", RunID: "r"}, true))
	require.NoError(t, log.Append(t.Context(), audit.Event{Type: audit.RunFinished, Caller: caller, Deployment: "a/b", RunID: "r", Outcome: "FAILED"}, true))
	require.NoError(t, log.Close())
	keyFile = filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(keyFile, keys.JWKS(), 0o600))
	return dir, keyFile
}

func TestAuditCommands(t *testing.T) {
	t.Parallel()
	dir, keys := audited(t)
	today := time.Now().UTC().Format(time.DateOnly)
	page := filepath.Join(t.TempDir(), "page.html")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"verify", []string{"verify", dir, "--keys", keys}, 0, "nothing is missing"},
		{"verify as JSON", []string{"verify", dir, "--keys", keys, "--json"}, 0, `"checkpoints": 2`},
		{"verify without keys", []string{"verify", dir}, exitUsage, "--keys FILE"},
		{"verify with a missing key file", []string{"verify", dir, "--keys", dir + "/none"}, exitTrouble, "no such file"},
		{"verify where no log is", []string{"verify", t.TempDir(), "--keys", keys}, exitTrouble, "there is no log"},
		{"query with an outcome that isn't there", []string{"query", dir, "--outcome", "failed"}, exitUsage, "COMPLETED, FAILED"},
		{"query where no log is", []string{"query", t.TempDir()}, exitTrouble, "there is no log"},
		{"query", []string{"query", dir, "--caller", "1"}, 0, "2 records"},
		{"query keeps the terminal safe", []string{"query", dir, "--run", "r"}, 0, "Ann?[31m"},
		{"query by outcome", []string{"query", dir, "--outcome", "FAILED", "--from", today, "--json"}, 0, `"outcome":"FAILED"`},
		{"query with a wrong time", []string{"query", dir, "--from", "yesterday"}, exitUsage, "is no time"},
		{"report", []string{"report", dir, "--keys", keys, "--html", page}, 0, ""},
		{"report into nothing", []string{"report", dir, "--keys", keys}, exitUsage, "--html"},
		{"audit alone", nil, exitUsage, "verify, query, report"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := exitCode(run(t.Context(), append([]string{"audit"}, c.args...), &out, &stderr), &stderr)
			require.Equal(t, c.code, code, stderr.String())
			require.Contains(t, out.String()+stderr.String(), c.says)
		})
	}
	require.FileExists(t, page)
}

func TestAuditVerifyFindsAChange(t *testing.T) {
	t.Parallel()
	dir, keys := audited(t)
	path := filepath.Join(dir, "current.jsonl")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(data, []byte("FAILED"), []byte("COMPLETED"), 1), 0o600))
	var out bytes.Buffer
	err = run(t.Context(), []string{"audit", "verify", dir, "--keys", keys}, &out, io.Discard)
	require.ErrorIs(t, err, errFound)
	require.Contains(t, out.String(), "current.jsonl:")
	require.Equal(t, exitFound, exitCode(err, io.Discard))
}

// A full disk or a file that can't be read for a while ends nothing for good: sinks and outcomes go on from their place.
func TestFollowersBeginAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	runs := 0
	keepFollowing(ctx, slog.New(slog.NewTextHandler(&said, nil)), "sink siem", time.Millisecond, func() error {
		if runs++; runs == 3 {
			cancel()
		}
		return errors.New("no space left on device")
	})
	require.Equal(t, 3, runs)
	require.Equal(t, 2, strings.Count(said.String(), "no space left"), "its own end is no error")
}
