package prefectclient

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

// WatcherOptions configures a [Watcher]. Only Client is required.
type WatcherOptions struct {
	// Client reads the runs and names the server and the credential.
	Client *Client
	// Choose gives the client for each read and each new subscription, where
	// there are several for the server; nil stands for Client. Default: Client
	// for all of them.
	Choose func() *Client
	// PollEvery is the longest time between two looks at a run that no event
	// told of, while events arrive. Default: 30 s.
	PollEvery time.Duration
	// FirstPoll is when a young run is looked at again; then after twice that
	// time, four times and so on, up to PollEvery. Default: 1 s.
	FirstPoll time.Duration
	// PollEveryWithoutEvents is the same while the server's events can't be
	// had. Default: 3 s.
	PollEveryWithoutEvents time.Duration
	// MaxRuns bounds the runs that are watched at once. Default: 20,000.
	MaxRuns int
	// Linger is how long the subscription is kept when no run is watched.
	// Default: 1 min.
	Linger time.Duration
}

// Watcher tells of the final states of flow runs. It holds one subscription to
// the server's events, whatever the number of runs and waiting callers, and
// polls slowly behind it. An event is a hint only, since anyone who reaches
// Prefect can send one: the run itself is read before its end is told.
//
// Nothing is missed between the creation of a run and the call that watches
// it: a run is read at once when its watch begins, and every run is read again
// whenever the subscription begins anew.
type Watcher struct {
	options WatcherOptions
	log     *slog.Logger

	wake chan struct{} // the checker has something to do

	mu      sync.Mutex
	runs    map[uuid.UUID]*watched
	dirty   map[uuid.UUID]struct{} // to be read now
	live    int                    // subscriptions in force: one, or two for a moment
	stop    context.CancelFunc     // ends the goroutines; nil: they don't run
	closed  bool
	working sync.WaitGroup
}

// watched is a run somebody waits for.
type watched struct {
	since    time.Time
	nextPoll time.Time
	tell     map[int]func(FlowRun, error)
	lastTell int
}

// NewWatcher builds a watcher without touching the network: the subscription
// begins with the first run. Close ends it.
func NewWatcher(o WatcherOptions) (*Watcher, error) {
	if o.Client == nil || o.PollEvery < 0 || o.FirstPoll < 0 || o.PollEveryWithoutEvents < 0 || o.MaxRuns < 0 || o.Linger < 0 {
		return nil, errors.New("prefectclient: a Watcher needs a Client, and no negative limits")
	}
	orElse(&o.PollEvery, 30*time.Second)
	orElse(&o.FirstPoll, time.Second)
	orElse(&o.PollEveryWithoutEvents, 3*time.Second)
	orElse(&o.MaxRuns, 20_000)
	orElse(&o.Linger, time.Minute)
	return &Watcher{
		options: o, log: o.Client.log,
		wake: make(chan struct{}, 1),
		runs: map[uuid.UUID]*watched{}, dirty: map[uuid.UUID]struct{}{},
	}, nil
}

// client is whom to ask with now, with slots of the watcher's own.
func (w *Watcher) client() *Client {
	client := w.options.Client
	if w.options.Choose != nil {
		if chosen := w.options.Choose(); chosen != nil {
			client = chosen
		}
	}
	return client.Route("prefectclient.Watcher")
}

// ErrWatcherClosed is what those learn who watch when the watcher is closed.
var ErrWatcherClosed = errors.New("the watcher is closed")

const watchName = "watch flow run"

// Notify calls tell once: with the run when it is in a final state, or with an
// error of reason not_found when Prefect no longer has it, or with
// ErrWatcherClosed. tell runs in the watcher's goroutine and must return
// quickly. forget ends the watch; tell may be running while it returns.
//
// An error of reason prefect_busy means that too many runs are watched.
func (w *Watcher) Notify(id uuid.UUID, tell func(FlowRun, error)) (forget func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrWatcherClosed
	}
	run := w.runs[id]
	if run == nil {
		if len(w.runs) >= w.options.MaxRuns {
			return nil, &Error{Op: watchName, Reason: ReasonBusy, Detail: "too many runs are watched", RetryAfter: time.Second}
		}
		now := time.Now()
		run = &watched{since: now, nextPoll: now.Add(w.options.FirstPoll), tell: map[int]func(FlowRun, error){}}
		w.runs[id] = run
	}
	run.lastTell++
	number := run.lastTell
	run.tell[number] = tell
	w.markDirty(id)
	w.startWork()
	return func() { w.forget(id, number) }, nil
}

// Wait returns the run when it is in a final state. When ctx ends first, the
// error wraps ctx's.
func (w *Watcher) Wait(ctx context.Context, id uuid.UUID) (FlowRun, error) {
	type end struct {
		run FlowRun
		err error
	}
	ended := make(chan end, 1)
	forget, err := w.Notify(id, func(run FlowRun, err error) { ended <- end{run, err} })
	if err != nil {
		return FlowRun{}, err
	}
	defer forget()
	select {
	case e := <-ended:
		return e.run, e.err
	case <-ctx.Done():
		return FlowRun{}, &Error{Op: watchName, Reason: ReasonCanceled, cause: context.Cause(ctx)}
	}
}

// Live says whether the server's events arrive at the moment. Without them
// runs are polled.
func (w *Watcher) Live() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live > 0
}

// Close ends the subscription and tells everybody who still waits.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	if w.stop != nil {
		w.stop()
	}
	var tells []func(FlowRun, error)
	for id := range w.runs {
		tells = append(tells, w.takeLocked(id)...)
	}
	w.mu.Unlock()
	w.working.Wait()
	for _, tell := range tells {
		tell(FlowRun{}, ErrWatcherClosed)
	}
}

func (w *Watcher) forget(id uuid.UUID, number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run := w.runs[id]
	if run == nil {
		return
	}
	if delete(run.tell, number); len(run.tell) == 0 {
		w.takeLocked(id)
	}
}

// takeLocked ends the watch of a run and returns whom to tell.
func (w *Watcher) takeLocked(id uuid.UUID) (tells []func(FlowRun, error)) {
	run := w.runs[id]
	if run == nil {
		return nil
	}
	delete(w.runs, id)
	delete(w.dirty, id)
	for _, tell := range run.tell {
		tells = append(tells, tell)
	}
	return tells
}

// markDirty has a run read soon. The caller holds mu.
func (w *Watcher) markDirty(id uuid.UUID) {
	if w.runs[id] == nil {
		return
	}
	w.dirty[id] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// startWork starts the goroutines unless they run. The caller holds mu.
func (w *Watcher) startWork() {
	if w.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	w.working.Go(func() { w.check(ctx, cancel) })
	w.working.Go(func() { w.subscribe(ctx) })
}
