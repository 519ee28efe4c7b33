package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-prefect/kong-prefect/outbox"
)

const (
	// outboxLimit bounds what a scrape reads of the outbox.
	outboxLimit = 1000
	outboxTime  = 2 * time.Second
)

// outbox are the requests that were accepted while Prefect is away.
func (m *Metrics) outbox(s Sources) {
	entries := m.reading(prometheus.GaugeValue, "outbox_entries", "Accepted requests that wait for Prefect, or are dead; 1,000 are counted at most.", "status")
	oldest := m.reading(prometheus.GaugeValue, "outbox_oldest_seconds", "How long the oldest accepted request has waited; 0: none waits.")
	unreadable := m.reading(prometheus.GaugeValue, "outbox_unreadable", "1: the outbox can't be read.")
	if s.Outbox == nil {
		return
	}
	m.snapshot(func(to emit) {
		ctx, cancel := context.WithTimeout(context.Background(), outboxTime)
		defer cancel()
		waiting, err := s.Outbox.List(ctx, outbox.Waiting, outboxLimit)
		var dead []outbox.Entry
		if err == nil {
			dead, err = s.Outbox.List(ctx, outbox.Dead, outboxLimit)
		}
		to(unreadable, one(err != nil))
		if err != nil {
			return
		}
		to(entries, float64(len(waiting)), string(outbox.Waiting))
		to(entries, float64(len(dead)), string(outbox.Dead))
		age := 0.0
		if len(waiting) > 0 {
			age = time.Since(waiting[0].Accepted).Seconds()
		}
		to(oldest, age)
	}, entries, oldest, unreadable)
}
