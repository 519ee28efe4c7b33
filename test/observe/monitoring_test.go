package observe_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

// dashboard is what is read of Grafana's model.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []struct{ Expr, LegendFormat string }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []struct{ Value *float64 } }
			Custom     struct{ Stacking struct{ Mode string } }
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	data, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &d))
	require.NotEmpty(t, d.Panels)
	return d
}

// filled puts values in the place of Grafana's variables.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", rateInterval, "$instance", ".*").Replace(expr)
}

// rateInterval is four times what Prometheus is told to wait between two scrapes here.
const rateInterval = "8s"

type alertRules struct {
	Groups []struct {
		Rules []struct{ Alert, Expr string }
	}
}

func readRules(t *testing.T) (r alertRules) {
	data, err := os.ReadFile(filepath.Join(monitoring, "rules.yml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &r))
	return r
}

// startPrometheus starts one with the example's own configuration, but for the address and the pace.
func (s *scene) startPrometheus(t *testing.T, ctx context.Context) *stack.Prometheus {
	config, err := os.ReadFile(filepath.Join(monitoring, "prometheus.yml"))
	require.NoError(t, err)
	rules, err := os.ReadFile(filepath.Join(monitoring, "rules.yml"))
	require.NoError(t, err)
	s.file(t, "rules.yml", string(rules))
	text := string(config)
	for old, now := range map[string]string{"127.0.0.1:8710": s.own, "scrape_interval: 15s": "scrape_interval: 2s", "evaluation_interval: 15s": "evaluation_interval: 2s"} {
		require.Contains(t, text, old)
		text = strings.ReplaceAll(text, old, now)
	}
	p, err := stack.StartPrometheus(ctx, []byte(text), s.dir)
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	return p
}

// TestRules has Prometheus' own tool check the example's configuration, and run the tests of its alerts. Each alert must
// have one.
func TestRules(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Prometheus")
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no prometheus here (on Debian: apt-get install prometheus)")
	}
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "rules_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = monitoring
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	tests, err := os.ReadFile(filepath.Join(monitoring, "rules_test.yml"))
	require.NoError(t, err)
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			require.Contains(t, string(tests), `{alertname="`+r.Alert+`",`, "rules_test.yml has no test of this alert")
		}
	}
}

// metricName finds the names of metrics in an expression.
var metricName = regexp.MustCompile(`\b((?:kong_prefect|process|go)_[a-z_]+|up)\b`)

// TestPrometheusSeesEverything scrapes the real binary at work, and asks for all that the dashboard and the alerts ask
// for.
func TestPrometheusSeesEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Prefect server and Prometheus")
	}
	ctx, cancel := context.WithTimeout(t.Context(), stack.StartLimit)
	defer cancel()
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("no prometheus here (on Debian: apt-get install prometheus)")
	}
	s := newScene(t, ctx)
	p := s.startPrometheus(t, ctx)
	s.scraped(t, ctx, p)
	// Some scrapes apart: a rate needs two of them, and an increase must be seen to happen.
	for round := range 4 {
		s.everything(t, round)
		s.scraped(t, ctx, p)
	}
	s.healthy(t)
	s.closedLabels(t)
	s.traced(t)
	s.refusedLines(t)
	s.inKongsLog(t)
	s.noSecrets(t)

	// The last of the runs' ends are on record after the audit has asked Prefect.
	eventually(t, time.Minute, "the runs' outcomes", func() bool {
		found, err := p.Query(ctx, `kong_prefect_runs_finished_total{outcome="FAILED"} > 0 and on() kong_prefect_runs_finished_total{outcome="COMPLETED"} > 2`)
		return err == nil && len(found) == 1
	})
	names, err := p.Names(ctx)
	require.NoError(t, err)
	asked := func(what, expr string) {
		for _, name := range metricName.FindAllString(expr, -1) {
			require.True(t, slices.Contains(names, name), "%s asks for %s, which isn't there", what, name)
		}
		_, err := p.Query(ctx, expr)
		require.NoError(t, err, what)
	}
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			expr := filled(target.Expr)
			asked(panel.Title, expr)
			values, err := p.QueryRange(ctx, expr, time.Now().Add(-3*time.Minute), time.Now(), 2*time.Second)
			require.NoError(t, err)
			require.NotEmpty(t, values, "panel %q shows nothing: %s", panel.Title, expr)
		}
	}
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			asked(rule.Alert, rule.Expr)
		}
	}
	s.firing(t, ctx, p)
}

// scraped waits for the scrape after this moment.
func (s *scene) scraped(t *testing.T, ctx context.Context, p *stack.Prometheus) {
	now := time.Now()
	eventually(t, 30*time.Second, "a scrape", func() bool {
		found, err := p.Query(ctx, `timestamp(kong_prefect_build_info)`)
		if err != nil || len(found) != 1 {
			return false
		}
		var at float64
		return json.Unmarshal([]byte(found[0].Value[1].(string)), &at) == nil && at > float64(now.UnixMilli())/1000
	})
}

func (s *scene) healthy(t *testing.T) {
	status, body := s.ownPort(t, "/healthz")
	require.Equal(t, 200, status)
	require.Equal(t, "ok\n", body)
	status, body = s.ownPort(t, "/readyz")
	require.Equal(t, 200, status)
	require.Equal(t, "socket: ok\nsigning keys: ok\naudit: ok\n", body)
}

// closedLabels looks for what a request said in the metrics.
func (s *scene) closedLabels(t *testing.T) {
	_, text := s.ownPort(t, "/metrics")
	require.Contains(t, text, "kong_prefect_decisions_total")
	for _, never := range append(s.secrets(), s.runs[0], "svc-nightly", "svc-stranger", "/run/", "key-0") {
		require.NotContains(t, text, never)
	}
}

// firing waits for the alerts that what was driven must raise, and reads what they say.
func (s *scene) firing(t *testing.T, ctx context.Context, p *stack.Prometheus) {
	var alerts []stack.Alert
	want := []string{"KongPrefectConfigurationBroken", "KongPrefectPrefectAway", "KongPrefectFails", "KongPrefectIssuerKeysFail"}
	eventually(t, time.Minute, "alerts", func() bool {
		var err error
		if alerts, err = p.Alerts(ctx); err != nil {
			return false
		}
		raised := map[string]bool{}
		for _, a := range alerts {
			raised[a.Labels["alertname"]] = true
		}
		for _, name := range want {
			if !raised[name] {
				return false
			}
		}
		return true
	})
	for _, a := range alerts {
		require.Contains(t, want, a.Labels["alertname"], "an alert for what isn't wrong here")
		for _, text := range a.Annotations {
			require.NotContains(t, text, "error")
			require.NotContains(t, text, "<no value>")
		}
	}
}
