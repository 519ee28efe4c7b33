package audit

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// follower knows what has begun and not ended yet.
type follower struct {
	log     *Log
	prefect Prefect
	settle  time.Duration

	news chan struct{} // there is something in fresh or hinted

	mu       sync.Mutex
	runs     map[string]*pendingRun // by run id
	requests map[string]Event       // allowed, without a result; by request and key

	// Of the runs, by id:
	fresh  map[string]bool // to be watched now
	later  map[string]bool // to be watched at the next tick
	hinted map[string]bool // to be asked for now
}

type pendingRun struct {
	created Event
	unknown int // how often in a row Prefect didn't have it
}

func newFollower(l *Log, prefect Prefect, settle time.Duration) *follower {
	return &follower{
		log: l, prefect: prefect, settle: settle, news: make(chan struct{}, 1),
		runs: map[string]*pendingRun{}, requests: map[string]Event{},
		fresh: map[string]bool{}, later: map[string]bool{}, hinted: map[string]bool{},
	}
}

func requestOf(e Event) string { return e.RequestID + "\x00" + e.IdempotencyKey }

// take reads one record. A repeated request has a result; its run is followed
// since its first request.
func (f *follower) take(r Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Type {
	case AccessAllowed, RunUnknown, RunAccepted:
		if r.IdempotencyKey != "" {
			f.requests[requestOf(r.Event)] = r.Event
		}
	case AccessRefused:
		// A refusal behind an unknown outcome is the caller's answer, not the
		// run's end.
		if f.requests[requestOf(r.Event)].Type == AccessAllowed {
			delete(f.requests, requestOf(r.Event))
		}
	case RunAbsent, RunRepeated, RunDead:
		delete(f.requests, requestOf(r.Event))
	case RunCreated:
		delete(f.requests, requestOf(r.Event))
		if f.runs[r.RunID] == nil {
			f.runs[r.RunID] = &pendingRun{created: r.Event}
			f.fresh[r.RunID] = true
			f.tellNews()
		}
	case RunFinished:
		delete(f.runs, r.RunID)
		f.unwatch(r.RunID)
	}
}

func (f *follower) run(ctx context.Context, o OutcomeOptions, reading <-chan error) error {
	tick, poll := time.NewTicker(o.Every), time.NewTicker(o.PollEvery)
	defer tick.Stop()
	defer poll.Stop()
	f.lookFor(ctx)
	f.ask(ctx, f.pending())
	for {
		f.watch()
		select {
		case <-ctx.Done():
			<-reading
			return ctx.Err()
		case err := <-reading:
			return err
		case <-f.news:
			f.ask(ctx, f.hints())
		case <-tick.C:
			f.lookFor(ctx)
			f.watchLater()
		case <-poll.C:
			f.ask(ctx, f.pending())
		}
	}
}

// lookFor looks for the runs of requests without a result.
func (f *follower) lookFor(ctx context.Context) {
	for _, e := range f.unsettled() {
		id, startedBy, err := f.prefect.RunOf(ctx, e.Prefect, e.DeploymentID, e.IdempotencyKey)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.log.options.Logger.Warn("a request's run can't be looked for now", "request", e.RequestID, "prefect", e.Prefect, "error", err)
			return // asked again next time
		}
		e.Time, e.Reason, e.LatencyMicros, e.RunID = time.Time{}, "", 0, id
		e.Detail = "looked for by its idempotency key, since its request left no result"
		switch {
		case id == "":
			e.Type = RunAbsent
		case startedBy != "" && startedBy != e.RequestID:
			e.Type = RunRepeated
		default:
			e.Type = RunCreated
		}
		if err := f.log.Append(ctx, e, true); err != nil {
			f.log.options.Logger.Error("a request's result can't be put on record", "request", e.RequestID, "error", err)
			return
		}
		f.take(Record{Event: e})
	}
}

// unsettled are the requests that have had no result for long enough. Those
// that were accepted get theirs from who delivers them.
func (f *follower) unsettled() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.log.options.Now().Add(-f.settle)
	var all []Event
	for _, key := range slices.Sorted(maps.Keys(f.requests)) {
		if e := f.requests[key]; e.Type != RunAccepted && e.Time.Before(before) {
			all = append(all, e)
		}
	}
	return all
}

// ask looks at runs, by server.
func (f *follower) ask(ctx context.Context, servers map[string][]string) {
	for server, ids := range servers {
		for ids := range slices.Chunk(ids, maxAsked) {
			states, err := f.prefect.RunStates(ctx, server, ids)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				f.log.options.Logger.Warn("the outcomes of runs can't be had now", "prefect", server, "runs", len(ids), "error", err)
				break // this server; asked again next time
			}
			for _, id := range ids {
				if err := f.saw(ctx, id, states); err != nil {
					f.log.options.Logger.Error("an outcome can't be put on record", "run", id, "error", err)
				}
			}
		}
	}
}

// pending are the runs that have not ended, by server.
func (f *follower) pending() map[string][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.counts.unfinished(len(f.runs))
	servers := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(f.runs)) {
		server := f.runs[id].created.Prefect
		servers[server] = append(servers[server], id)
	}
	return servers
}

// saw puts an end on record.
func (f *follower) saw(ctx context.Context, id string, states map[string]RunState) error {
	end, ended := f.ended(id, states)
	if !ended {
		return nil
	}
	if err := f.log.Append(ctx, end, true); err != nil {
		return err
	}
	f.take(Record{Event: end})
	return nil
}

func (f *follower) ended(id string, states map[string]RunState) (Event, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	run := f.runs[id]
	if run == nil {
		return Event{}, false
	}
	state, found := states[id]
	if found {
		run.unknown = 0
	} else if run.unknown++; run.unknown >= goneAfter {
		state = RunState{Type: OutcomeGone, Final: true}
	}
	end := run.created
	end.Type, end.Time, end.Outcome = RunFinished, time.Time{}, state.Type
	end.LatencyMicros, end.Status, end.Detail = 0, 0, ""
	if !state.At.IsZero() {
		end.Detail = "ended at " + state.At.UTC().Format(time.RFC3339Nano)
	}
	return end, state.Final
}
