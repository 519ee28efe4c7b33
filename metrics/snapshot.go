package metrics

import (
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/signing"
)

// Sources are what is read at every scrape.
type Sources struct {
	Process *plugin.Process
	Server  *pluginserver.Server
	Signing *signing.Keys
	// Audit is nil where there is none. Sinks are the names of its sinks.
	Audit *audit.Log
	Sinks []string
	// Outbox is nil where there is none.
	Outbox outbox.Store
	// Logged counts the process's log by level.
	Logged func() map[string]uint64
}

// Watch reads the sources at every scrape.
func (m *Metrics) Watch(s Sources) {
	m.keys(s)
	m.servers(s)
	m.audit(s)
	m.outbox(s)
	m.build(s)
}

// reading is one metric of a snapshot.
type reading struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func (m *Metrics) reading(kind prometheus.ValueType, name, help string, labels ...string) reading {
	typeName := "gauge"
	if kind == prometheus.CounterValue {
		typeName = "counter"
	}
	return reading{prometheus.NewDesc(m.family(typeName, name, help, labels...), help, labels, nil), kind}
}

// emit gives one value of a metric.
type emit func(r reading, value float64, labels ...string)

// snapshot reads several metrics at once, so that they belong together.
type snapshot struct {
	readings []reading
	read     func(emit)
}

func (m *Metrics) snapshot(read func(emit), readings ...reading) {
	m.registry.MustRegister(snapshot{readings, read})
}

// Describe implements [prometheus.Collector].
func (s snapshot) Describe(to chan<- *prometheus.Desc) {
	for _, r := range s.readings {
		to <- r.desc
	}
}

// Collect implements [prometheus.Collector].
func (s snapshot) Collect(to chan<- prometheus.Metric) {
	s.read(func(r reading, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(r.desc, r.kind, value, labels...)
	})
}

// keys are those of the issuers, the tokens they verified, and the gateway's
// own.
func (m *Metrics) keys(s Sources) {
	lookups := m.reading(prometheus.CounterValue, "token_cache_lookups_total", "Looks for a verified token: hit, miss, or dropped where it was there and held no more.", "result")
	evictions := m.reading(prometheus.CounterValue, "token_cache_evictions_total", "Verified tokens that went because there was no more room.")
	m.snapshot(func(to emit) {
		c := s.Process.TokenCacheStats()
		to(lookups, float64(c.Hits), "hit")
		to(lookups, float64(c.Misses), "miss")
		to(lookups, float64(c.Dropped), "dropped")
		to(evictions, float64(c.Evictions))
	}, lookups, evictions)

	count := m.reading(prometheus.GaugeValue, "issuer_keys", "Public keys of an issuer in use; 0: none were ever had.", "issuer")
	age := m.reading(prometheus.GaugeValue, "issuer_keys_age_seconds", "Time since an issuer's keys were fetched or seen unchanged. Nobody fetches them while no token comes.", "issuer")
	failing := m.reading(prometheus.GaugeValue, "issuer_keys_failing", "Failed tries to get an issuer's keys since the last good one.", "issuer")
	fetches := m.reading(prometheus.CounterValue, "issuer_keys_fetches_total", "Tries to get an issuer's keys.", "issuer", "result")
	m.snapshot(func(to emit) {
		for issuer, k := range issuerKeys(s.Process) {
			to(count, float64(k.Keys), issuer)
			to(age, k.Age.Seconds(), issuer)
			to(failing, float64(k.Failing), issuer)
			to(fetches, float64(k.Fetched), issuer, "ok")
			to(fetches, float64(k.Failed), issuer, "failed")
		}
	}, count, age, failing, fetches)

	made := m.reading(prometheus.GaugeValue, "signing_key_made_timestamp_seconds", "When the gateway's own signing key was made.")
	due := m.reading(prometheus.GaugeValue, "signing_key_rotation_due_timestamp_seconds", "When a new signing key takes over; absent where none does by itself.")
	broken := m.reading(prometheus.GaugeValue, "signing_keys_unreadable", "1: the file of the signing keys can't be used, and those of before stay in use.")
	m.snapshot(func(to emit) {
		k := s.Signing.Stats()
		to(made, float64(k.Made.Unix()))
		if !k.RotationDue.IsZero() {
			to(due, float64(k.RotationDue.Unix()))
		}
		to(broken, one(k.Err != nil))
	}, made, due, broken)
}

// servers are the Prefect servers and the plugin server itself.
func (m *Metrics) servers(s Sources) {
	breakers := m.reading(prometheus.GaugeValue, "prefect_breakers", "Breakers by their state, one for each API address at a server; open: the server is left alone.", "server", "state")
	calls := m.reading(prometheus.GaugeValue, "prefect_calls", "Calls under way at a Prefect server.", "server")
	limit := m.reading(prometheus.GaugeValue, "prefect_calls_limit", "Calls that may be under way at a Prefect server (max_concurrent).", "server")
	waiting := m.reading(prometheus.GaugeValue, "prefect_calls_waiting", "Calls that wait for their turn at a Prefect server.", "server")
	m.snapshot(func(to emit) {
		for name, p := range prefectServers(s.Process) {
			m.prefect.known(name)
			for state, n := range p.breakers {
				to(breakers, float64(n), name, state)
			}
			to(calls, float64(p.calls), name)
			to(limit, float64(p.limit), name)
			to(waiting, float64(p.waiting), name)
		}
	}, breakers, calls, limit, waiting)

	connections := m.reading(prometheus.GaugeValue, "connections", "Connections of Kong's workers.")
	running := m.reading(prometheus.GaugeValue, "events_running", "Events under way.")
	answers := m.reading(prometheus.GaugeValue, "answers_waiting", "Answers of prefect-trigger that wait for their run's end.")
	configurations := m.reading(prometheus.GaugeValue, "configurations", "Distinct configurations that Kong has started.", "plugin")
	broken := m.reading(prometheus.GaugeValue, "configurations_broken", "Configurations that can't work and met a request in the last ten minutes; their routes refuse every one.", "plugin")
	digest := m.reading(prometheus.GaugeValue, "configuration_info", "1, with the digest of all configurations that Kong has started.", "digest")
	m.snapshot(func(to emit) {
		server := s.Server.Stats()
		to(connections, float64(server.Connections))
		to(running, float64(server.Running))
		to(answers, float64(s.Process.Waiting()))
		for _, name := range plugins {
			to(configurations, float64(server.Configurations[name]), name)
			to(broken, float64(server.Broken[name]), name)
		}
		to(digest, 1, server.Digest[:16])
	}, connections, running, answers, configurations, broken, digest)
}

// audit is the record of decisions and how runs end.
func (m *Metrics) audit(s Sources) {
	records := m.reading(prometheus.CounterValue, "audit_records_total", "Events that the audit took in.", "type")
	finished := m.reading(prometheus.CounterValue, "runs_finished_total", "Runs that ended, by Prefect's terminal state; GONE: Prefect has it no more. Needs the audit.", "outcome")
	lost := m.reading(prometheus.CounterValue, "audit_refused_total", "Events that the audit did not take in; what they would have allowed didn't happen.")
	failures := m.reading(prometheus.CounterValue, "audit_write_failures_total", "Groups of records that could not be written.")
	unwritable := m.reading(prometheus.GaugeValue, "audit_unwritable", "1: the last records could not be written.")
	queued := m.reading(prometheus.GaugeValue, "audit_queued", "Events that wait for the disk.")
	limit := m.reading(prometheus.GaugeValue, "audit_queue_limit", "Events that may wait for the disk; more are refused.")
	unfinished := m.reading(prometheus.GaugeValue, "runs_unfinished", "Runs on record that have not ended, in the one process of a node that follows them. Needs the audit.")
	lag := m.reading(prometheus.GaugeValue, "audit_sink_lag_records", "Records that a sink has not taken yet.", "sink")
	if s.Audit == nil {
		return
	}
	m.snapshot(func(to emit) {
		a := s.Audit.Stats()
		for kind, n := range a.Records {
			to(records, float64(n), string(kind))
		}
		for _, outcome := range audit.Outcomes {
			to(finished, float64(a.Outcomes[outcome]), outcome)
		}
		to(lost, float64(a.Refused))
		to(failures, float64(a.Failures))
		to(unwritable, one(a.Err != nil))
		to(queued, float64(a.Queued))
		to(limit, float64(a.Limit))
		to(unfinished, float64(a.Unfinished))
		for _, sink := range s.Sinks {
			if seq, err := s.Audit.Delivered(sink); err == nil {
				to(lag, float64(max(a.Seq, seq)-seq), sink)
			}
		}
	}, records, finished, lost, failures, unwritable, queued, limit, unfinished, lag)
}

func (m *Metrics) build(s Sources) {
	info := m.reading(prometheus.GaugeValue, "build_info", "1, with the version.", "version", "revision", "go_version")
	revision, goVersion := "unknown", "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		goVersion = strings.TrimPrefix(b.GoVersion, "go")
		for _, setting := range b.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	logged := m.reading(prometheus.CounterValue, "log_records_total", "Records of the process's own log; warnings and errors are in Kong's too.", "level")
	m.snapshot(func(to emit) {
		to(info, 1, plugin.Version, revision, goVersion)
		for level, n := range s.Logged() {
			to(logged, float64(n), level)
		}
	}, info, logged)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
