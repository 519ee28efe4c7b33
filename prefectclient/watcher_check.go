package prefectclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
)

const (
	// checkTick is how often the watcher looks for runs whose poll is due.
	checkTick = 250 * time.Millisecond
	// maxRunsOfOneRead is the most that Prefect answers to one filter.
	maxRunsOfOneRead = 200
)

// check reads runs: those that an event told of, new ones, and those whose
// poll is due. Many are read by one request. It ends when nothing was watched
// for a while, or with ctx.
func (w *Watcher) check(ctx context.Context, end context.CancelFunc) {
	defer end()
	tick := time.NewTicker(checkTick)
	defer tick.Stop()
	idleSince := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-tick.C:
			w.markDue(time.Now())
		}
		for batch := w.batch(); len(batch) > 0 && ctx.Err() == nil; batch = w.batch() {
			idleSince = time.Now()
			if !w.read(ctx, batch) {
				w.pollSoon(batch...)
				break
			}
		}
		if time.Since(idleSince) > w.options.Linger && w.endIfIdle() {
			return
		}
	}
}

// endIfIdle says whether the work is over. A run that comes after it begins
// new work.
func (w *Watcher) endIfIdle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.runs) > 0 || w.closed {
		return false
	}
	w.stop()
	w.stop = nil
	return true
}

func (w *Watcher) markDue(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := w.options.PollEvery
	if w.live == 0 {
		most = w.options.PollEveryWithoutEvents
	}
	for id, run := range w.runs {
		if latest := now.Add(most); run.nextPoll.After(latest) {
			run.nextPoll = latest
		}
		if now.Before(run.nextPoll) {
			continue
		}
		run.nextPoll = now.Add(min(max(now.Sub(run.since), w.options.FirstPoll), most))
		w.dirty[id] = struct{}{}
	}
}

// pollSoon has runs read again shortly.
func (w *Watcher) pollSoon(ids ...uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if run := w.runs[id]; run != nil {
			run.nextPoll = time.Now().Add(time.Second)
		}
	}
}

// batch takes runs to read.
func (w *Watcher) batch() (ids []uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.dirty {
		if len(ids) == maxRunsOfOneRead {
			break
		}
		ids = append(ids, id)
		delete(w.dirty, id)
	}
	return ids
}

// read reads runs and tells of those that have ended. It returns false when
// the server gave no answer.
func (w *Watcher) read(ctx context.Context, ids []uuid.UUID) bool {
	if len(ids) == 1 {
		run, err := w.client().FlowRun(ctx, ids[0])
		switch {
		case ReasonOf(err) == ReasonNotFound:
			w.tell(ids[0], FlowRun{}, err)
		case err == nil && run.State.Final():
			w.tell(run.ID, run, nil)
		}
		return err == nil || ReasonOf(err) == ReasonNotFound
	}
	runs, err := w.client().flowRuns(ctx, ids)
	if err != nil {
		return false
	}
	found := make(map[uuid.UUID]bool, len(runs))
	for _, run := range runs {
		found[run.ID] = true
		if run.State.Final() {
			w.tell(run.ID, run, nil)
		}
	}
	for _, id := range ids {
		if !found[id] {
			w.tell(id, FlowRun{}, &Error{Op: watchName, Reason: ReasonNotFound, Status: http.StatusNotFound})
		}
	}
	return true
}

func (w *Watcher) tell(id uuid.UUID, run FlowRun, err error) {
	w.mu.Lock()
	tells := w.takeLocked(id)
	w.mu.Unlock()
	for _, tell := range tells {
		tell(run, err)
	}
}

// flowRuns reads the runs of these ids, 200 at most; those that don't exist
// are left out.
func (c *Client) flowRuns(ctx context.Context, ids []uuid.UUID) ([]FlowRun, error) {
	asked := make(map[uuid.UUID]bool, len(ids))
	filter := valueFilter{}
	for _, id := range ids {
		asked[id] = true
		filter.Any = append(filter.Any, id.String())
	}
	body, err := json.Marshal(map[string]any{"flow_runs": map[string]any{"id": filter}, "limit": maxRunsOfOneRead})
	if err != nil {
		return nil, err
	}
	var runs []FlowRun
	err = c.call(ctx, &operation{
		name: "read flow runs", method: http.MethodPost, path: "/flow_runs/filter", body: body, notFound: ReasonNotFound,
		decode: func(body []byte) error {
			runs = nil
			if err := decode(body, &runs); err != nil {
				return err
			}
			for _, run := range runs {
				if !asked[run.ID] {
					return errors.New("not the flow runs that were asked for")
				}
			}
			return nil
		},
	})
	return runs, err
}
