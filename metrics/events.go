package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// What a decision may be. Kept apart, since a refusal is the caller's matter
// and a failure the operator's.
const (
	allowed = "allowed"
	refused = "refused" // answered with 4xx
	failed  = "failed"  // answered with 5xx
)

// noReason is the reason of what was allowed.
const noReason = "none"

// Buckets in seconds. A whole identity event takes some 20 µs where the token
// is cached; Kong gives up after 60 s.
var (
	stageBuckets   = []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 50}
	requestBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
)

// events counts what the plugins decide. What a request needs of it is found
// once and kept: looking a series up by its labels costs more than counting.
type events struct {
	decisions *prometheus.CounterVec
	started   *prometheus.CounterVec
	whole     map[string]prometheus.Observer       // by plugin
	stages    map[plugin.Stage]prometheus.Observer // by stage
	known     sync.Map                             // decision to prometheus.Counter
}

type decision struct{ plugin, reason string }

var plugins = []string{plugin.IdentityName, plugin.TriggerName, plugin.GuardName}

func newEvents(m *Metrics) *events {
	e := &events{
		decisions: m.counter("decisions_total", "Decisions: every request of every plugin; refused is the caller's matter (4xx), failed the gateway's (5xx). The reasons are those of docs/problems.md.", "plugin", "decision", "reason"),
		started:   m.counter("runs_started_total", "Runs that Prefect has because of a request to prefect-trigger: created, or repeated under the same idempotency key.", "result"),
		whole:     map[string]prometheus.Observer{},
		stages:    map[plugin.Stage]prometheus.Observer{},
	}
	whole := m.histogram("event_seconds", "Time of a plugin's whole event, without Kong's own part.", stageBuckets, "plugin")
	stages := m.histogram("stage_seconds", "Time of a stage of an event.", stageBuckets, "stage")
	for _, name := range plugins {
		e.whole[name] = whole.WithLabelValues(name)
		e.counterOf(decision{plugin: name})
	}
	for _, s := range plugin.Stages {
		e.stages[s] = stages.WithLabelValues(string(s))
	}
	for _, result := range []string{plugin.RunCreated, plugin.RunRepeated} {
		e.started.WithLabelValues(result)
	}
	return e
}

var statusOf = plugin.Refusals()

func (e *events) counterOf(d decision) prometheus.Counter {
	if c, ok := e.known.Load(d); ok {
		return c.(prometheus.Counter)
	}
	what, reason := allowed, noReason
	if d.reason != "" {
		status, listed := statusOf[d.reason]
		what, reason = refused, d.reason
		if !listed {
			reason = "other"
		}
		if !listed || status >= 500 {
			what = failed
		}
	}
	c := e.decisions.WithLabelValues(d.plugin, what, reason)
	e.known.Store(d, c)
	return c
}

// done counts an event. What ended in a panic the server has counted.
func (e *events) done(d plugin.Done) {
	if d.Reason != pluginserver.ReasonPanic {
		e.counterOf(decision{d.Plugin, d.Reason}).Inc()
	}
	e.whole[d.Plugin].Observe(d.Took.Seconds())
	for _, s := range d.Steps {
		e.stages[s.Stage].Observe(s.Took.Seconds())
	}
	if d.Started != "" {
		e.started.WithLabelValues(d.Started).Inc()
	}
}

// Hooks are what the process tells its metrics by.
func (m *Metrics) Hooks() plugin.Hooks {
	return plugin.Hooks{
		Done:        m.events.done,
		PrefectSent: m.prefect.sent, PrefectEvent: m.prefect.event,
	}
}

// ServerRefused counts what the plugin server itself refused.
func (m *Metrics) ServerRefused(name, reason string) {
	m.events.counterOf(decision{name, reason}).Inc()
}
