package metrics

import (
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/outbox/outboxtest"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token"
)

var updatePages = flag.Bool("update-pages", false, "write the generated part of docs/operations.md")

// TestPage holds the table in docs/operations.md to the metrics there are.
func TestPage(t *testing.T) {
	const path, begin, end = "../docs/operations.md", "<!-- metrics: go test ./metrics -update-pages -->\n", "<!-- end of metrics -->"
	m := New()
	m.Watch(Sources{})
	var table strings.Builder
	table.WriteString("| metric | type | labels | what it says |\n|---|---|---|---|\n")
	for _, f := range m.Families() {
		require.Greater(t, len(f.Help), 15, f.Name)
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, strings.Join(f.Labels, ", "), f.Help)
	}
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(page), begin)
	require.True(t, found)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found)
	want := before + begin + table.String() + end + after
	if *updatePages {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(page), "%s is out of date: go test ./metrics -update-pages", path)
}

// whole is a process with all its parts, at work on nothing.
func whole(t *testing.T) (*Metrics, Sources) {
	t.Helper()
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	m := New()
	process := plugin.NewProcess(quiet)
	t.Cleanup(process.Close)
	process.Hooks = m.Hooks()
	keys, err := signing.Open(signing.Options{File: filepath.Join(dir, "keys.json")})
	require.NoError(t, err)
	log, err := audit.Open(audit.Options{Dir: filepath.Join(dir, "audit"), Signer: keys})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	process.Audit = log
	store, err := outbox.OpenSQLite(outbox.SQLiteOptions{Path: filepath.Join(dir, "outbox.db")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	server, err := pluginserver.New(pluginserver.Options{Plugins: process.Plugins(), Refused: m.ServerRefused})
	require.NoError(t, err)
	s := Sources{Process: process, Server: server, Signing: keys, Audit: log, Sinks: []string{"siem"}, Outbox: store,
		Logged: func() map[string]uint64 { return map[string]uint64{"error": 3} },
	}
	m.Watch(s)
	return m, s
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code)
	return w.Body.String()
}

func TestEveryFamilyIsListedAndNothingElse(t *testing.T) {
	t.Parallel()
	m, _ := whole(t)
	listed := map[string]bool{}
	for _, f := range m.Families() {
		require.False(t, listed[f.Name], f.Name)
		listed[f.Name] = true
	}
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (kong_prefect_\S+)`).FindAllStringSubmatch(scrape(t, m), -1) {
		require.True(t, listed[line[1]], line[1])
	}
	problems, err := testutil.GatherAndLint(m.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	m, _ := whole(t)
	done := m.Hooks().Done
	done(plugin.Done{Plugin: plugin.IdentityName, Steps: []plugin.Step{{Stage: plugin.StageToken, Took: time.Millisecond}}})
	done(plugin.Done{Plugin: plugin.IdentityName, Reason: token.ReasonExpired, Status: 401})
	done(plugin.Done{Plugin: plugin.IdentityName, Reason: token.ReasonExpired, Status: 401})
	done(plugin.Done{Plugin: plugin.TriggerName, Reason: plugin.CodePrefectUnavailable, Status: 503})
	done(plugin.Done{Plugin: plugin.TriggerName, Started: plugin.RunCreated})
	done(plugin.Done{Plugin: plugin.TriggerName, Reason: "made up by a request"})
	done(plugin.Done{Plugin: plugin.GuardName, Reason: pluginserver.ReasonPanic})
	m.ServerRefused(plugin.GuardName, pluginserver.ReasonPanic)
	text := scrape(t, m)
	for _, line := range []string{
		`kong_prefect_decisions_total{decision="allowed",plugin="prefect-identity",reason="none"} 1`,
		`kong_prefect_decisions_total{decision="refused",plugin="prefect-identity",reason="token_expired"} 2`,
		`kong_prefect_decisions_total{decision="failed",plugin="prefect-trigger",reason="prefect_unavailable"} 1`,
		`kong_prefect_decisions_total{decision="failed",plugin="prefect-trigger",reason="other"} 1`,
		`kong_prefect_decisions_total{decision="failed",plugin="prefect-guard",reason="plugin_panic"} 1`,
		`kong_prefect_event_seconds_count{plugin="prefect-identity"} 3`,
		`kong_prefect_stage_seconds_count{stage="token"} 1`,
		`kong_prefect_runs_started_total{result="created"} 1`,
	} {
		require.True(t, strings.Contains(text, line+"\n"), line)
	}
	require.NotContains(t, text, "made up")
}

func TestPrefect(t *testing.T) {
	t.Parallel()
	m, _ := whole(t)
	h := m.Hooks()
	h.PrefectSent(prefectclient.Sent{Server: "prefect:4200", Operation: prefectclient.Operations[0], Status: 201, Took: time.Millisecond})
	h.PrefectSent(prefectclient.Sent{Server: "prefect:4200", Operation: "unlisted"})
	h.PrefectEvent(prefectclient.Event{Kind: prefectclient.EventRetry, Server: "prefect:4200", Reason: prefectclient.ReasonUnavailable})
	h.PrefectEvent(prefectclient.Event{Kind: prefectclient.EventBreaker, Server: "prefect:4200", State: "open"})
	h.PrefectEvent(prefectclient.Event{Kind: prefectclient.EventCredentialSwitched, Server: "prefect:4200"})
	text := scrape(t, m)
	for _, line := range []string{
		`kong_prefect_prefect_requests_total{operation="create flow run",server="prefect:4200",status="2xx"} 1`,
		`kong_prefect_prefect_requests_total{operation="other",server="prefect:4200",status="none"} 1`,
		`kong_prefect_prefect_request_seconds_count{server="prefect:4200"} 2`,
		`kong_prefect_prefect_retries_total{reason="prefect_unavailable",server="prefect:4200"} 1`,
		`kong_prefect_prefect_breaker_changes_total{server="prefect:4200",state="open"} 1`,
		`kong_prefect_prefect_credential_switches_total{server="prefect:4200"} 1`,
	} {
		require.True(t, strings.Contains(text, line+"\n"), line)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	m, s := whole(t)
	require.NoError(t, s.Audit.Append(t.Context(), audit.Event{Type: audit.RunFinished, Outcome: "FAILED"}, true))
	require.Error(t, s.Audit.Append(t.Context(), audit.Event{Type: audit.RunFinished, Detail: strings.Repeat("x", 1<<20)}, true))
	text := scrape(t, m)
	require.Regexp(t, `(?m)^kong_prefect_audit_sink_lag_records{sink="siem"} [1-9]$`, text, "the log's own records are among them")
	for _, line := range []string{
		`kong_prefect_audit_records_total{type="run.finished"} 1`,
		`kong_prefect_runs_finished_total{outcome="FAILED"} 1`,
		`kong_prefect_runs_finished_total{outcome="COMPLETED"} 0`,
		`kong_prefect_audit_refused_total 1`,
		`kong_prefect_audit_unwritable 0`,
		`kong_prefect_log_records_total{level="error"} 3`,
	} {
		require.True(t, strings.Contains(text, line+"\n"), line)
	}
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	m, s := whole(t)
	require.Contains(t, scrape(t, m), "kong_prefect_outbox_oldest_seconds 0\n")
	entry := outboxtest.Entry("q")
	entry.Accepted = time.Now().Add(-time.Hour)
	_, _, err := s.Outbox.Add(t.Context(), entry)
	require.NoError(t, err)
	text := scrape(t, m)
	require.Contains(t, text, `kong_prefect_outbox_entries{status="waiting"} 1`+"\n")
	require.Contains(t, text, `kong_prefect_outbox_entries{status="dead"} 0`+"\n")
	require.Regexp(t, `(?m)^kong_prefect_outbox_oldest_seconds 3[67]\d\d\b`, text)
	require.NoError(t, s.Outbox.Close())
	require.Contains(t, scrape(t, m), "kong_prefect_outbox_unreadable 1\n")
}

func BenchmarkDone(b *testing.B) {
	done := New().Hooks().Done
	d := plugin.Done{Plugin: plugin.IdentityName, Steps: []plugin.Step{{Stage: plugin.StageToken}, {Stage: plugin.StageCaller}, {Stage: plugin.StageAudit}}}
	for b.Loop() {
		done(d)
	}
}
