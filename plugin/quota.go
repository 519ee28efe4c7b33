package plugin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/quota"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// quotaRetryAfter is when a caller should ask again who has too many runs at
// once: nobody knows when one ends.
const quotaRetryAfter = 10 * time.Second

// countsKey are the settings by which routes count together.
type countsKey struct {
	redisURL string
	alone    bool
}

// maxCounts bounds what a process keeps that lives through years of changing
// configurations.
const maxCounts = 64

// quota is nil for a route without one, and in a process that only looks.
func (p *Process) quota(c TriggerConfig) (*quota.Quota, error) {
	q := c.Quota
	limits := quota.Limits{
		CallerPerMinute: q.CallerPerMinute, DeploymentPerMinute: q.DeploymentPerMinute,
		CallerAtOnce: q.CallerAtOnce, DeploymentAtOnce: q.DeploymentAtOnce,
	}
	switch {
	case limits == quota.Limits{} || p.Withhold != nil:
		return nil, nil
	case c.Durable.Enabled && (q.CallerAtOnce > 0 || q.DeploymentAtOnce > 0):
		return nil, errors.New("caller_at_once and deployment_at_once: Prefect counts these, and can't while durable.enabled accepts requests in its place")
	case q.CallerAtOnce > 0 && !slices.Contains(c.Stamp.Write, string(stamp.PartCreatedBy)):
		return nil, errors.New("caller_at_once: needs created_by in stamp.write, by which Prefect knows a caller's runs")
	}
	counts, err := p.countsOf(countsKey{q.RedisURL, q.WithoutRedis == "count_alone"})
	if err != nil {
		return nil, fmt.Errorf("redis_url: %w", err)
	}
	return quota.New(limits, counts), nil
}

func (p *Process) countsOf(key countsKey) (*quota.Counts, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.counts[key]; known != nil {
		return known, nil
	}
	made, err := quota.NewCounts(quota.CountsOptions{RedisURL: key.redisURL, AloneWithoutRedis: key.alone, Logger: p.log})
	if err != nil {
		return nil, err
	}
	for old := range p.counts {
		if len(p.counts) < maxCounts {
			break
		}
		// Routes that hold it go on with it; it is only no longer shared.
		delete(p.counts, old)
	}
	if p.counts == nil {
		p.counts = map[countsKey]*quota.Counts{}
	}
	p.counts[key] = made
	return made, nil
}

// firstCaller is for whom a request is made: the first caller of a chain of
// runs, else the one who asks.
func (o order) firstCaller() claims.Identity {
	if p := o.parent; p != nil {
		return claims.Identity{Subject: p.Caller.Subject, Issuer: p.Caller.Issuer}
	}
	return o.caller.Identity
}

// createCounted creates a run that the quota lets through.
func (h *trigger) createCounted(ctx context.Context, o order, d *resolved, w wanted) (*reply, *Problem) {
	if h.quota == nil {
		return h.create(ctx, o, d, w)
	}
	caller := stamp.CallerID(o.firstCaller())
	place, err := h.quota.Take(ctx, quota.Ask{Deployment: d.id.String(), Caller: caller.String(), Run: w.run.IdempotencyKey},
		runsOf{h.client, d.id, caller, w})
	if err != nil {
		return nil, h.quotaProblem(w.name, err)
	}
	w.place = place
	r, problem := h.create(ctx, o, d, w)
	place.GiveBack(ctx) // where nobody knew of a run: it never got to Prefect
	if r != nil {
		r.headers = append(r.headers, rateLimit(place.Standings)...)
	}
	return r, problem
}

// isRecent tells whether a run that another request made still counts: that
// request may have come together with this one, which then was the one counted.
func isRecent(made *time.Time) bool { return made != nil && time.Since(*made) < time.Minute }

// runsOf asks Prefect about a deployment's runs, for the quota.
type runsOf struct {
	client     *prefectclient.Client
	deployment uuid.UUID
	caller     uuid.UUID
	wanted     wanted
}

// Running counts the runs that haven't ended.
func (r runsOf) Running(ctx context.Context, all bool) (int, error) {
	by := r.caller
	if all {
		by = uuid.Nil
	}
	return r.client.UnfinishedRuns(ctx, r.deployment, by)
}

// Started tells whether the run is there. Only a request with a key of its
// caller's can be one that is repeated.
func (r runsOf) Started(ctx context.Context) (bool, error) {
	if r.wanted.clientKey == "" {
		return false, nil
	}
	_, found, err := r.client.FlowRunOfDeployment(ctx, r.deployment, r.wanted.run.IdempotencyKey)
	return found, err
}

func (h *trigger) quotaProblem(deployment string, err error) *Problem {
	var exceeded *quota.Exceeded
	switch {
	case errors.Is(err, quota.ErrUnavailable):
		return &Problem{Code: CodeQuotaUnavailable, RetryAfter: unavailableRetryAfter, Cause: err}
	case !errors.As(err, &exceeded):
		return prefectProblem(deployment, err)
	}
	s := exceeded.Standing
	p := &Problem{Code: CodeQuotaExceeded, RetryAfter: max(s.Reset, time.Second), Cause: err,
		Detail: fmt.Sprintf("The quota %q is %d within 60 seconds.", s.Name, s.Most)}
	if s.AtOnce() {
		p = &Problem{Code: CodeTooManyRuns, RetryAfter: quotaRetryAfter, Cause: err, Detail: fmt.Sprintf("The quota %q is %d.", s.Name, s.Most)}
	}
	p.Headers = rateLimit([]quota.Standing{s})
	return p
}

// rateLimit makes the fields RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4).
func rateLimit(standings []quota.Standing) []pluginserver.Header {
	var policies, limits []string
	for _, s := range standings {
		policy, limit := fmt.Sprintf("%q;q=%d", s.Name, s.Most), fmt.Sprintf("%q;r=%d", s.Name, s.Left)
		if s.AtOnce() {
			policy += `;qu="concurrent-runs"`
		} else {
			policy += `;qu="runs";w=60`
			limit += fmt.Sprintf(";t=%d", int(math.Ceil(s.Reset.Seconds())))
		}
		policies, limits = append(policies, policy), append(limits, limit)
	}
	if len(policies) == 0 {
		return nil
	}
	return []pluginserver.Header{header("RateLimit-Policy", strings.Join(policies, ", ")), header("RateLimit", strings.Join(limits, ", "))}
}
