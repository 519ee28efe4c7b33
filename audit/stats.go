package audit

import (
	"maps"
	"sync"
)

// Outcomes are a run's terminal states by Prefect's names, and [OutcomeGone].
var Outcomes = []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED", OutcomeGone}

// Stats is what a log did since it was opened, and how it stands.
type Stats struct {
	// Records are the events that were taken in, by type; Outcomes those of
	// runs that ended, by outcome.
	Records  map[Type]uint64
	Outcomes map[string]uint64
	// Refused are events that weren't taken in: the queue was full, the event
	// too long or the log closed.
	Refused uint64
	// Failures are groups of events that could not be written. Err is why the
	// last one couldn't; nil: it was written.
	Failures uint64
	Err      error
	// Queued events wait for the disk, and Limit is how many may.
	Queued, Limit int
	// Seq is the number of the last record that this process wrote.
	Seq uint64
	// Unfinished are the runs on record that have not ended yet, in the one
	// process that follows them.
	Unfinished int
}

// counts is what a log did.
type counts struct {
	mu    sync.Mutex
	stats Stats
}

// Stats tells how the log stands now.
func (l *Log) Stats() Stats {
	l.counts.mu.Lock()
	defer l.counts.mu.Unlock()
	s := l.counts.stats
	s.Records, s.Outcomes = maps.Clone(s.Records), maps.Clone(s.Outcomes)
	s.Queued, s.Limit = len(l.queue), cap(l.queue)
	return s
}

// Queued is how many events wait for the disk.
func (l *Log) Queued() int { return len(l.queue) }

// taken counts an event that was to be taken in.
func (c *counts) taken(e Event, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.stats.Refused++
		return
	}
	if c.stats.Records == nil {
		c.stats.Records, c.stats.Outcomes = map[Type]uint64{}, map[string]uint64{}
	}
	c.stats.Records[e.Type]++
	if e.Type == RunFinished {
		c.stats.Outcomes[e.Outcome]++
	}
}

// written notes how the writing of a group went.
func (c *counts) written(seq uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stats.Err = err; err != nil {
		c.stats.Failures++
		return
	}
	c.stats.Seq = seq
}

func (c *counts) unfinished(runs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Unfinished = runs
}

// Delivered is the number of the last record that a sink has taken.
func (l *Log) Delivered(sink string) (uint64, error) { return delivered(l.options.Dir, sink) }
