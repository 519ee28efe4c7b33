package audit_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
)

var (
	alice = audit.CallerOf(claims.Identity{Subject: "alice-id", Issuer: "https://idp.example", Kind: claims.User, Name: "<b>Alice</b>"})
	robot = audit.CallerOf(claims.Identity{
		Subject: "bob-id", Issuer: "https://idp.example", Kind: claims.Agent, Name: "Bob", Client: "bot",
		Actors: []claims.Actor{{Subject: "agent-7", Client: "assistant"}},
	})
	noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// story is a log with two runs, a refusal, a change and a run of another day.
func story(t *testing.T) (dir string, k keys) {
	dir, k = t.TempDir(), newKeys(t)
	var now atomic.Pointer[time.Time]
	first := noon.Add(-48 * time.Hour)
	now.Store(&first)
	log := open(t, audit.Options{Dir: dir, Signer: k, CheckpointRecords: 1, Now: func() time.Time { return *now.Load() }})
	for _, e := range []audit.Event{
		{Time: noon.Add(-48 * time.Hour), Type: audit.RunCreated, Caller: alice, Deployment: "report/prod", RunID: "run-0", Rule: "old"},
		{Time: noon.Add(-47 * time.Hour), Type: audit.PolicyChanged, Plugin: "p", Object: "o", Rights: []audit.Right{{Who: "role old", May: "run"}}},
		{Time: noon.Add(-46 * time.Hour), Type: audit.PolicyChanged, Plugin: "p", Object: "o", Rights: []audit.Right{{Who: "role <i>runner", May: "run"}}},
		{Time: noon, Type: audit.AccessAllowed, Caller: alice, Deployment: "report/prod", RequestID: "r1", Rule: "runners"},
		{Time: noon, Type: audit.RunCreated, Caller: alice, Deployment: "report/prod", RunID: "run-1", RequestID: "r1", Rule: "runners", Roles: []string{"runner"}},
		{Time: noon.Add(time.Second), Type: audit.RunCreated, Caller: alice, Deployment: "report/prod", RunID: "run-1", RequestID: "r1b", Rule: "runners"},
		{Time: noon.Add(2 * time.Second), Type: audit.RunCreated, Caller: robot, Deployment: "report/test", RunID: "run-2", Rule: "runners"},
		{Time: noon.Add(3 * time.Second), Type: audit.AccessRefused, Reason: "token_missing", Status: 401},
		{Time: noon.Add(4 * time.Second), Type: audit.AccessRefused, Reason: "token_missing", Status: 401},
		{Time: noon.Add(5 * time.Second), Type: audit.ConfigurationChanged, ConfigDigest: audit.DigestOf([]byte("{}")), Object: "nightly"},
		{Time: noon.Add(6 * time.Second), Type: audit.PolicyChanged, Plugin: "p", Object: "o", Rights: []audit.Right{{Who: "role new", May: "run"}}},
		{Time: noon.Add(36 * time.Hour), Type: audit.RunFinished, Caller: alice, Deployment: "report/prod", RunID: "run-1", Outcome: "COMPLETED"},
	} {
		now.Store(&e.Time)
		require.NoError(t, log.Append(t.Context(), e, true))
	}
	require.NoError(t, log.Close())
	return dir, k
}

func TestQuery(t *testing.T) {
	t.Parallel()
	dir, _ := story(t)
	for _, c := range []struct {
		name  string
		query audit.Query
		runs  []string
	}{
		{"by name", audit.Query{Caller: "<b>Alice</b>", Types: []audit.Type{audit.RunCreated}}, []string{"run-0", "run-1", "run-1"}},
		{"by subject", audit.Query{Caller: "alice-id", Outcome: "COMPLETED"}, []string{"run-1"}},
		{"by client", audit.Query{Caller: "bot"}, []string{"run-2"}},
		{"by who acted", audit.Query{Caller: "assistant"}, []string{"run-2"}},
		{"by deployment", audit.Query{Deployment: "report/test"}, []string{"run-2"}},
		{"by glob", audit.Query{Deployment: "report/*", Types: []audit.Type{audit.RunCreated}, From: noon}, []string{"run-1", "run-1", "run-2"}},
		{"a glob stays in its flow", audit.Query{Deployment: "rep*"}, nil},
		{"by run", audit.Query{RunID: "run-2"}, []string{"run-2"}},
		{"by request", audit.Query{RequestID: "r1b"}, []string{"run-1"}},
		{"by time", audit.Query{To: noon.Add(-time.Hour), Types: []audit.Type{audit.RunCreated}}, []string{"run-0"}},
		{"by reason", audit.Query{Reason: "token_missing"}, []string{"", ""}},
		{"nobody", audit.Query{Caller: "mallory"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var runs []string
			require.NoError(t, audit.Find(dir, c.query, func(r audit.Record) bool {
				runs = append(runs, r.RunID)
				return true
			}))
			require.Equal(t, c.runs, runs)
		})
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	dir, k := story(t)
	e, err := audit.Collect(dir, noon.Add(-time.Hour), noon.Add(time.Hour), verify(t, dir, k))
	require.NoError(t, err)
	require.Len(t, e.Runs, 2, "asked for again under its key it is the same run, and another day's is not in it")
	require.Equal(t, "COMPLETED", e.Runs[0].Outcome, "an outcome that came later is taken in")
	require.Empty(t, e.Runs[1].Outcome)
	require.Equal(t, 2, e.Refusals[0].Times)
	require.Len(t, e.Rules, 2)
	require.Len(t, e.Policies, 2, "the one that was over before is not in it")
	require.Equal(t, noon.Add(6*time.Second), e.Policies[0].Until)
	require.Zero(t, e.Policies[1].Until)
	require.Equal(t, audit.ConfigurationChanged, e.Changes[0].Type)

	var page, table bytes.Buffer
	require.NoError(t, e.WriteHTML(&page))
	require.Contains(t, page.String(), "complete and unaltered")
	require.Contains(t, page.String(), "&lt;b&gt;Alice&lt;/b&gt;")
	require.NotContains(t, page.String(), "<b>Alice</b>", "a caller's name is text, not a page")
	require.Contains(t, page.String(), "bot by assistant")
	require.Contains(t, page.String(), "role &lt;i&gt;runner")
	require.NotContains(t, page.String(), "role old")
	require.NoError(t, e.WriteCSV(&table))
	require.Len(t, strings.Split(strings.TrimSpace(table.String()), "\n"), 3)
}

func TestSpreadsheetsGetNoFormula(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"=1+1", "+1", "-1", "@SUM(1)", "\t=1"} {
		e := audit.Evidence{Runs: []audit.Run{{Caller: &audit.Caller{Name: name}}}}
		var table bytes.Buffer
		require.NoError(t, e.WriteCSV(&table))
		require.Contains(t, table.String(), "'"+name)
	}
}

// TestTypesAreAll holds the list of types to their constants.
func TestTypesAreAll(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("event.go")
	require.NoError(t, err)
	var declared []audit.Type
	for _, match := range regexp.MustCompile(`(?m)^\t\w+ +Type = "(.+?)"`).FindAllStringSubmatch(string(source), -1) {
		declared = append(declared, audit.Type(match[1]))
	}
	require.Equal(t, declared, audit.Types)
	page, err := os.ReadFile("../docs/audit.md")
	require.NoError(t, err)
	for _, kind := range audit.Types {
		require.Contains(t, string(page), "`"+string(kind)+"`", "docs/audit.md says when there is one")
	}
}
