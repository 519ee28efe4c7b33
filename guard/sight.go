package guard

import (
	"context"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// sightAge is how long the list of deployments is used: so late a new
// deployment is seen, and a changed tag counts.
const sightAge = 5 * time.Second

// known is a deployment as far as limits look at it.
type known struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	FlowID   string   `json:"flow_id"`
	Tags     []string `json:"tags"`
	WorkPool string   `json:"work_pool_name"`
	flow     string
}

// seen is what a limited caller may know of.
type seen struct {
	deployments, flows, pools map[string]bool
	// names are flow/deployment.
	names, flowNames map[string]bool
}

// filter is for Prefect's API. An empty list fits none.
func (s *seen) filter() map[string]any {
	return map[string]any{"id": map[string]any{"any_": sorted(s.deployments)}}
}

func sorted(set map[string]bool) []string { return slices.AppendSeq([]string{}, sortedSeq(set)) }

func sortedSeq(set map[string]bool) func(func(string) bool) {
	return slices.Values(slices.Sorted(maps.Keys(set)))
}

// sight resolves limits by a list of all deployments, which it keeps for a
// moment. Requests that come together ask Prefect once.
type sight struct {
	prefect Prefect
	asking  singleflight.Group

	mu   sync.Mutex
	list []known
	read time.Time
}

func newSight(p Prefect) *sight { return &sight{prefect: p} }

// of gives what fits all of the limits, each of which is a choice of several.
func (s *sight) of(ctx context.Context, limits [][]Limit) (*seen, error) {
	list, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	v := &seen{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, d := range list {
		outside := slices.ContainsFunc(limits, func(choice []Limit) bool {
			return !slices.ContainsFunc(choice, func(l Limit) bool { return l.fits(d) })
		})
		if outside {
			continue
		}
		v.deployments[d.ID], v.flows[d.FlowID], v.flowNames[d.flow], v.names[d.flow+"/"+d.Name] = true, true, true, true
		if d.WorkPool != "" {
			v.pools[d.WorkPool] = true
		}
	}
	return v, nil
}

func (l Limit) fits(d known) bool {
	return fitsOne(l.Deployments, d.flow+"/"+d.Name) && fitsOne(l.Flows, d.flow) && fitsOne(l.Tags, d.Tags...) && fitsOne(l.WorkPools, d.WorkPool)
}

// fitsOne: no globs ask for nothing.
func fitsOne(globs []string, values ...string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, glob := range globs {
		for _, v := range values {
			if ok, err := path.Match(glob, v); err == nil && ok {
				return true
			}
		}
	}
	return false
}

func (s *sight) all(ctx context.Context) ([]known, error) {
	s.mu.Lock()
	list, fresh := s.list, time.Since(s.read) < sightAge && !s.read.IsZero()
	s.mu.Unlock()
	if fresh {
		return list, nil
	}
	// The flight belongs to all who wait, so one caller's end must not end it.
	flight := s.asking.DoChan("", func() (any, error) { return s.ask(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.([]known), nil
	}
}

// ask reads the list. Where it is longer than one that is read whole, limits
// can't be resolved, and limited callers are refused.
func (s *sight) ask(ctx context.Context) ([]known, error) {
	began := time.Now()
	var list []known
	if err := prefectclient.QueryAll(ctx, s.prefect, "/deployments/filter", "CREATED_DESC", &list); err != nil {
		return nil, err
	}
	var flows []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	if err := prefectclient.QueryAll(ctx, s.prefect, "/flows/filter", "NAME_ASC", &flows); err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, f := range flows {
		names[f.ID] = f.Name
	}
	for i := range list {
		list[i].flow = names[list[i].FlowID]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.read = list, began
	return list, nil
}

// askFailed is why a question to Prefect has no answer. What isn't there and
// what may not be known of are told apart by nobody.
func askFailed(err error) error {
	switch prefectclient.ReasonOf(err) {
	case prefectclient.ReasonNotFound, prefectclient.ReasonDeploymentNotFound:
		return &Refusal{Reason: ReasonOutOfLimit}
	}
	return &Refusal{Reason: ReasonLimitUnresolved, Cause: err}
}
