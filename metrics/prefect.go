package metrics

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// prefect counts what the clients of Prefect's API do.
type prefect struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	breaker  *prometheus.CounterVec
	switches *prometheus.CounterVec
}

func newPrefect(m *Metrics) *prefect {
	return &prefect{
		requests: m.counter("prefect_requests_total", "Requests to a Prefect server, repeated ones each for itself; status is 2xx to 5xx, or none where there was no answer.", "server", "operation", "status"),
		seconds:  m.histogram("prefect_request_seconds", "Time of a request to a Prefect server.", requestBuckets, "server"),
		retries:  m.counter("prefect_retries_total", "Requests to a Prefect server that failed and were repeated.", "server", "reason"),
		breaker:  m.counter("prefect_breaker_changes_total", "Changes of a breaker, by the state it took.", "server", "state"),
		switches: m.counter("prefect_credential_switches_total", "Times that a Prefect server refused the credential and the other one was used.", "server"),
	}
}

// known begins the counters of a server at 0: of one that appears with 1
// nobody could say that it has grown.
func (p *prefect) known(server string) {
	for _, state := range prefectclient.BreakerStates {
		p.breaker.WithLabelValues(server, state)
	}
	p.switches.WithLabelValues(server)
}

func (p *prefect) sent(r prefectclient.Sent) {
	operation, status := r.Operation, "none"
	if !slices.Contains(prefectclient.Operations, operation) {
		operation = "other"
	}
	if class := r.Status / 100; class >= 1 && class <= 5 {
		status = strconv.Itoa(class) + "xx"
	}
	p.requests.WithLabelValues(r.Server, operation, status).Inc()
	p.seconds.WithLabelValues(r.Server).Observe(r.Took.Seconds())
}

func (p *prefect) event(e prefectclient.Event) {
	switch e.Kind {
	case prefectclient.EventRetry:
		p.retries.WithLabelValues(e.Server, e.Reason).Inc()
	case prefectclient.EventBreaker:
		p.breaker.WithLabelValues(e.Server, e.State).Inc()
	case prefectclient.EventCredentialSwitched:
		p.switches.WithLabelValues(e.Server).Inc()
	}
}
