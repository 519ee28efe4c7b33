package quota

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// minute is how long a run counts, and how long a place in a line is held at
// most: no request takes longer.
const minute = time.Minute

// ErrUnavailable says that nobody can count now.
var ErrUnavailable = errors.New("runs can't be counted")

// Limits bound the runs of one deployment. Zero: no bound.
type Limits struct {
	CallerPerMinute     int // started by one caller
	DeploymentPerMinute int // started by all callers
	CallerAtOnce        int // of one caller, that haven't ended
	DeploymentAtOnce    int // of all, that haven't ended
}

// Ask is a request for one run.
type Ask struct {
	Deployment string // stands for it, everywhere
	Caller     string // stands for them, everywhere
	Run        string // the run's idempotency key
}

// Prefect knows what becomes of runs.
type Prefect interface {
	// Running counts the deployment's runs that haven't ended, those of the
	// one who asks or all.
	Running(ctx context.Context, all bool) (int, error)
	// Started tells whether the run that is asked for is there already.
	Started(ctx context.Context) (bool, error)
}

// Quota keeps limits for one route.
type Quota struct {
	limits Limits
	counts *Counts
}

// New returns a quota; several may share their counts.
func New(l Limits, c *Counts) *Quota { return &Quota{l, c} }

// Standing is how it stands with one limit.
type Standing struct {
	Name  string // caller, deployment, caller-at-once, deployment-at-once
	Most  int
	Left  int
	Reset time.Duration // until a place frees; zero: nobody knows
}

// AtOnce tells a limit on runs that haven't ended from one on runs a minute.
func (s Standing) AtOnce() bool { return s.Name == callerAtOnce || s.Name == deploymentAtOnce }

// Names of the limits.
const (
	perCaller        = "caller"
	perDeployment    = "deployment"
	callerAtOnce     = "caller-at-once"
	deploymentAtOnce = "deployment-at-once"
)

// Exceeded says which limit doesn't let one more through.
type Exceeded struct{ Standing }

// Error is for the log.
func (e *Exceeded) Error() string {
	return fmt.Sprintf("the limit %s of %d is reached", e.Name, e.Most)
}

// Place is a run that was let through.
type Place struct {
	Standings []Standing // of the limits a minute
	run       string
	rooms     rooms    // where it was counted
	lines     []string // held until Prefect counts the run itself
	windows   []string // given back if no run is made; empty: it was counted before
	again     []string // where it was counted before; whoever did may give it back
	ended     bool
}

// Take lets one more run through, or says which limit is reached: [Exceeded],
// or [ErrUnavailable]. Other errors are Prefect's. Who has a place ends it by
// [Place.Made], [Place.WasThere] or [Place.GiveBack].
func (q *Quota) Take(ctx context.Context, a Ask, prefect Prefect) (*Place, error) {
	list := q.rooms(a)
	if len(list) == 0 {
		return &Place{}, nil
	}
	counted, stays, err := q.counts.enter(ctx, a.Run, list)
	if err != nil {
		return nil, err
	}
	p := &Place{run: a.Run, rooms: counted}
	repeated := false
	for i, r := range list {
		s := stays[i]
		repeated = repeated || s.before && r.most > 0
		if r.most == 0 {
			p.lines = append(p.lines, r.key)
			continue
		}
		p.windows = append(p.windows, r.key)
		standing := Standing{r.name, r.most, max(0, r.most-s.count), s.reset}
		if s.full {
			return nil, &Exceeded{standing}
		}
		p.Standings = append(p.Standings, standing)
	}
	if repeated {
		p.again, p.windows = p.windows, nil
	}
	if err := q.checkAtOnce(ctx, list, stays, prefect); err != nil {
		p.GiveBack(ctx)
		return nil, err
	}
	return p, nil
}

// rooms are what a run is counted in: a window for each limit a minute, and a
// line for each on those at once.
func (q *Quota) rooms(a Ask) (list []room) {
	all, own := "{"+a.Deployment+"}", "{"+a.Deployment+"}:"+a.Caller
	add := func(most int, r room) {
		if most > 0 {
			list = append(list, r)
		}
	}
	add(q.limits.CallerPerMinute, room{perCaller, "minute:" + own, q.limits.CallerPerMinute})
	add(q.limits.DeploymentPerMinute, room{perDeployment, "minute:" + all, q.limits.DeploymentPerMinute})
	add(q.limits.CallerAtOnce, room{callerAtOnce, "line:" + own, 0})
	add(q.limits.DeploymentAtOnce, room{deploymentAtOnce, "line:" + all, 0})
	return list
}

// checkAtOnce asks Prefect how many there are. Those before this one in the
// line may be in its count or not: they count in any case, so that there is
// never one too many. Prefect is asked after the place in line is taken: who
// left the line before is in its count. That a run was counted a moment ago
// says nothing here: who counted it may be refused yet.
func (q *Quota) checkAtOnce(ctx context.Context, list []room, stays []stay, prefect Prefect) error {
	for i, r := range list {
		if r.most > 0 {
			continue
		}
		most, all := q.limits.CallerAtOnce, r.name == deploymentAtOnce
		if all {
			most = q.limits.DeploymentAtOnce
		}
		running, err := prefect.Running(ctx, all)
		if err != nil {
			return err
		}
		if running+stays[i].rank < most {
			continue
		}
		if started, err := prefect.Started(ctx); err != nil || started {
			return err // the run is one of those that are counted
		}
		return &Exceeded{Standing{Name: r.name, Most: most}}
	}
	return nil
}

// Made says that Prefect has the run, or may have it, or that it will be told
// of it. What was said first counts; a nil place has nothing to say.
func (p *Place) Made(ctx context.Context) {
	if p != nil && !p.ended && len(p.again) > 0 {
		var list []room
		for _, key := range p.again {
			list = append(list, room{key: key}) // however full: the run is made
		}
		_, _ = p.rooms.enter(context.WithoutCancel(ctx), p.run, list)
	}
	p.end(ctx, false)
}

// WasThere says that another request made the run, not long ago: it counts for
// the minute.
func (p *Place) WasThere(ctx context.Context) { p.end(ctx, false) }

// GiveBack says that no run was made.
func (p *Place) GiveBack(ctx context.Context) { p.end(ctx, true) }

// end frees what it can: what it can't ends by itself within a minute.
func (p *Place) end(ctx context.Context, windowsToo bool) {
	if p == nil || p.ended {
		return
	}
	p.ended = true
	keys := p.lines
	if windowsToo {
		keys = append(keys, p.windows...)
	}
	if len(keys) > 0 {
		_ = p.rooms.leave(context.WithoutCancel(ctx), p.run, keys)
	}
}
