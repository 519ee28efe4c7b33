package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// OutcomeGone is the outcome of a run that was deleted in Prefect before it was
// known to have ended.
const OutcomeGone = "GONE"

const (
	// outcomesLockName is held by the one process that writes outcomes.
	outcomesLockName = "outcomes.lock"
	lockRetryEvery   = time.Second
	// maxAsked is how many runs are asked for at once: Prefect's own limit of
	// one answer.
	maxAsked = 200
	// goneAfter is how often in a row Prefect must not know a run.
	goneAfter = 3
)

// Prefect is asked how runs stand. It is the server itself that is asked: no
// event is believed.
type Prefect interface {
	// RunStates answers with those of the runs that the server has.
	RunStates(ctx context.Context, server string, runIDs []string) (map[string]RunState, error)
	// RunOf answers with the id of the run of an idempotency key, empty where
	// the server has none, and with the request that started it as far as the
	// run tells. The deployment may be unknown.
	RunOf(ctx context.Context, server, deploymentID, idempotencyKey string) (runID, requestID string, err error)
	// Watch has ended called once, when there is reason to ask how the run
	// stands: an event of the server's, or a look at the run itself. It returns
	// at once, and an error where the run can't be watched now.
	Watch(server, runID string, ended func()) error
}

// RunState is the state of one run.
type RunState struct {
	Type  string // by Prefect's name
	Final bool
	At    time.Time
}

// OutcomeOptions for [Log.FollowOutcomes].
type OutcomeOptions struct {
	// Every is how often runs are looked for whose creation nobody saw, and
	// watched that couldn't be watched before. Default: five seconds.
	Every time.Duration
	// PollEvery is how often Prefect is asked for all runs that have not
	// ended, whatever events say. Default: one minute.
	PollEvery time.Duration
	// Settle is how old an allowed request must be before its run is looked
	// for: longer than any request takes. Default: 90 seconds.
	Settle time.Duration
}

// FollowOutcomes writes how each run ended, under the identity that asked for
// it, until ctx ends. It reads the log itself, so it takes in the runs of other
// processes and of those that were killed. Of several processes one does it.
//
// A request that was allowed and has no result on record, since its process
// was killed or Prefect gave no answer, gets one: its run is looked for.
func (l *Log) FollowOutcomes(ctx context.Context, prefect Prefect, o OutcomeOptions) error {
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	if o.PollEvery <= 0 {
		o.PollEvery = time.Minute
	}
	if o.Settle <= 0 {
		o.Settle = 90 * time.Second
	}
	lock, err := holdAlone(ctx, filepath.Join(l.options.Dir, outcomesLockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	f := newFollower(l, prefect, o.Settle)
	// All that is on record comes first: a run whose end is there must not end
	// twice.
	var last uint64
	if err := Records(l.options.Dir, 0, func(r Record) bool {
		last = r.Seq
		f.take(r)
		return ctx.Err() == nil
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading := make(chan error, 1)
	go func() {
		reading <- Follow(ctx, l.options.Dir, last, func(r Record) error {
			f.take(r)
			return nil
		})
	}()
	err = f.run(ctx, o, reading)
	cancel()
	return err
}

// holdAlone waits for a lock that the kernel lets go when its holder dies.
func holdAlone(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockRetryEvery)
	defer tick.Stop()
	for {
		err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-tick.C:
		}
	}
}
