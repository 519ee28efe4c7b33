// Package metrics makes Prometheus metrics of what the process does: it fills
// the stages' hooks, which hand over plain values, and reads their counters
// when it is scraped. No stage knows it, and none waits for it.
//
// It refuses labels that a request could make up: each is from a list in the
// code (plugin, reason, stage, operation) or from the configuration (issuer,
// server, sink). No token, caller, path or run is in a metric.
//
// Read [New] first; docs/operations.md lists every metric, and a test holds
// the page to [Metrics.Families].
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace begins every name.
const namespace = "kong_prefect_"

// Family is one metric, as the documentation lists it.
type Family struct {
	Name   string
	Type   string // counter, gauge or histogram
	Help   string
	Labels []string
}

// Metrics are the process's, in a registry of their own.
type Metrics struct {
	registry *prometheus.Registry
	families []Family
	events   *events
	prefect  *prefect
}

// New makes the metrics. [Metrics.Hooks] and [Metrics.Watch] tie them to the
// process.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.events = newEvents(m)
	m.prefect = newPrefect(m)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Families are the metrics of kong-prefect's own, in the order of their making.
// Those of the Go runtime and the process are client_golang's.
func (m *Metrics) Families() []Family { return m.families }

func (m *Metrics) family(kind, name, help string, labels ...string) (fullName string) {
	m.families = append(m.families, Family{Name: namespace + name, Type: kind, Help: help, Labels: labels})
	return namespace + name
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.family("counter", name, help, labels...), Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.family("histogram", name, help, labels...), Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}
