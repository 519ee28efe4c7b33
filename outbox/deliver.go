package outbox

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// lookEvery is how often the deliverer looks for entries that another
	// process accepted.
	lookEvery = time.Second
	// batch is how many queues are looked at together.
	batch = 64
	// forgetEvery is how often old entries are removed.
	forgetEvery = time.Hour
	// minPause and maxPause are between two attempts at a server that is away.
	minPause, maxPause = 250 * time.Millisecond, 5 * time.Second
)

// ErrAway is in the error of a delivery that may succeed later: the entry keeps
// its place.
var ErrAway = errors.New("it can't be delivered now")

// Courier carries entries to their server.
type Courier interface {
	// Deliver returns how the entry ended, once that is on record, or an error
	// with [ErrAway] in it. It must be safe to repeat: the process may die
	// before the store notes the end.
	Deliver(ctx context.Context, e Entry) (Settlement, error)
	// Expired returns how an entry ended whose time ran out, once that is on
	// record: as [Expiry] has it, unless an earlier attempt turns out to have
	// delivered it or may have. After an error it is asked again.
	Expired(ctx context.Context, e Entry) (Settlement, error)
}

// Options for [Run].
type Options struct {
	Store   Store
	Server  string
	Courier Courier
	// Wake, where given, makes it look at once: an entry was added.
	Wake <-chan struct{}
	// Parallel is how many entries, of different queues, are under way at
	// once. Default: 8.
	Parallel int
	// KeepDelivered is how long an entry that is done can be looked up.
	// Default: a week. KeepDead is how long a dead one can be retried.
	// Default: 30 days.
	KeepDelivered, KeepDead time.Duration
	// MaxKept bounds how many of each are kept. Default: 100,000.
	MaxKept int
	// Logger is told what goes wrong. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.KeepDelivered <= 0 {
		o.KeepDelivered = 7 * 24 * time.Hour
	}
	if o.KeepDead <= 0 {
		o.KeepDead = 30 * 24 * time.Hour
	}
	if o.MaxKept <= 0 {
		o.MaxKept = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Run delivers the entries of one server until ctx ends. Of all processes that
// run it for the same store and server, one does the work.
func Run(ctx context.Context, o Options) {
	o.setDefaults()
	d := &deliverer{o: o, log: o.Logger.With("prefect", o.Server), pauses: &backoff.ExponentialBackOff{
		InitialInterval: minPause, MaxInterval: maxPause, Multiplier: 2, RandomizationFactor: 0.3,
	}}
	d.pauses.Reset()
	for ctx.Err() == nil {
		leading, release, err := o.Store.Lead(ctx, o.Server)
		if err != nil {
			d.trouble(ctx, "the outbox can't be delivered", err)
			d.rest(ctx, d.pauses.NextBackOff())
			continue
		}
		d.lead(leading)
		release()
	}
}

type deliverer struct {
	o         Options
	log       *slog.Logger
	pauses    *backoff.ExponentialBackOff
	away      bool   // the server was, at the last attempt
	said      string // the trouble that the log was told last
	forgotten time.Time
}

// lead works while nobody else does.
func (d *deliverer) lead(ctx context.Context) {
	for ctx.Err() == nil {
		settled, err := d.round(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			d.away = true
			d.trouble(ctx, "accepted requests wait", err)
			d.rest(ctx, d.pauses.NextBackOff())
		case settled > 0:
			d.recovered()
		default:
			d.forget(ctx)
			d.idle(ctx)
		}
	}
}

// round looks at the first entry of each queue and carries what it can. The
// error is that of an entry which keeps its place.
func (d *deliverer) round(ctx context.Context) (settled int, err error) {
	heads, err := d.o.Store.Heads(ctx, d.o.Server, batch)
	if err != nil || len(heads) == 0 {
		return 0, err
	}
	var good []Entry
	for _, e := range heads {
		if d.o.Now().Before(e.Expires) {
			good = append(good, e)
			continue
		}
		end, err := d.o.Courier.Expired(ctx, e)
		if err != nil {
			return settled, err
		}
		if err := d.settle(ctx, e, end); err != nil {
			return settled, err
		}
		settled++
	}
	if d.away && len(good) > 1 {
		// One of them asks whether the server is back. Any, so that one that
		// never gets an answer can't stand before all.
		at := rand.IntN(len(good))
		good = good[at : at+1]
	}
	carried, err := d.carry(ctx, good)
	return settled + carried, err
}

// carry delivers entries of different queues side by side. After the first
// that finds the server away no further one is begun.
func (d *deliverer) carry(ctx context.Context, entries []Entry) (carried int, err error) {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, d.o.Parallel)
	)
	for _, e := range entries {
		slots <- struct{}{}
		mu.Lock()
		over := err != nil || ctx.Err() != nil
		mu.Unlock()
		if over {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			end, failed := d.o.Courier.Deliver(ctx, e)
			if failed == nil {
				failed = d.settle(ctx, e, end)
			}
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
			} else {
				carried++
			}
		})
	}
	wg.Wait()
	return carried, err
}

// settle notes an end, even if the lead is lost meanwhile.
func (d *deliverer) settle(ctx context.Context, e Entry, end Settlement) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	end.At = d.o.Now()
	if end.Status == Dead {
		d.log.Warn("an accepted request is dead", "id", e.ID, "caller", e.Caller, "deployment", e.Deployment, "reason", end.Reason, "detail", end.Detail)
	}
	err := d.o.Store.Settle(ctx, e.ID, Waiting, end)
	if errors.Is(err, ErrChanged) || errors.Is(err, ErrUnknown) {
		return nil // whoever changed it knows better
	}
	return err
}

// settleLimit is for what the disk needs.
const settleLimit = 15 * time.Second

func (d *deliverer) trouble(ctx context.Context, message string, err error) {
	if text := err.Error(); ctx.Err() == nil && text != d.said {
		d.said = text
		d.log.Warn(message, "error", err)
	}
}

func (d *deliverer) recovered() {
	d.away = false
	d.pauses.Reset()
	if d.said != "" {
		d.said = ""
		d.log.Info("accepted requests are delivered again")
	}
}

// forget removes what was settled long ago.
func (d *deliverer) forget(ctx context.Context) {
	now := d.o.Now()
	if now.Sub(d.forgotten) < forgetEvery {
		return
	}
	d.forgotten = now
	for _, status := range []Status{Delivered, Dead, Dropped} {
		keep := d.o.KeepDelivered
		if status == Dead {
			keep = d.o.KeepDead
		}
		if _, err := d.o.Store.Forget(ctx, status, now.Add(-keep), d.o.MaxKept); err != nil {
			d.trouble(ctx, "old entries can't be removed", err)
		}
	}
}

// idle waits for work.
func (d *deliverer) idle(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-d.o.Wake:
	case <-timer.C:
	}
}

// rest waits whatever comes.
func (d *deliverer) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
