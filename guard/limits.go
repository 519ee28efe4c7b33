package guard

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// What the table's last column may say.
const (
	limitOpen   = "open"
	limitNone   = "none"
	limitFilter = "filter"
	limitPools  = "pools"
)

// limitReadsBody tells whether a limited caller's body must be read.
func limitReadsBody(limit string) bool {
	_, at, named := strings.Cut(limit, ":")
	return limit == limitFilter || limit == limitPools || named && !strings.HasPrefix(at, "?")
}

// keepLimits keeps a limited caller to what is theirs. It runs last, when all
// permissions that were needed are known.
func (c *check) keepLimits() error {
	if !c.limited() || c.Route.Limit == limitOpen {
		return nil
	}
	if c.Route.Limit == limitNone {
		return &Refusal{Reason: ReasonLimited}
	}
	seen, err := c.guard.sight.of(c.ctx, c.limits)
	if err != nil {
		return askFailed(err)
	}
	kind, at, named := strings.Cut(c.Route.Limit, ":")
	switch {
	case kind == limitFilter:
		return c.narrow(seen)
	case kind == limitPools:
		return c.narrowPools(seen)
	case named:
		ids, err := c.named(at)
		if err != nil {
			return err
		}
		return c.allTheirs(kind, ids, seen)
	}
	return c.pathTheirs(kind, seen)
}

// pathTheirs checks what the path names.
func (c *check) pathTheirs(kind string, seen *seen) error {
	theirs := false
	switch kind {
	case "deployment_name":
		theirs = seen.names[c.params["flow_name"]+"/"+c.params["deployment_name"]]
	case "flow_name":
		theirs = seen.flowNames[c.params["name"]]
	case "pool":
		name := c.params["work_pool_name"]
		if name == "" {
			name = c.params["name"]
		}
		theirs = seen.pools[name]
	default:
		return c.allTheirs(kind, []string{c.params["id"]}, seen)
	}
	if !theirs {
		return &Refusal{Reason: ReasonOutOfLimit}
	}
	return nil
}

// allTheirs checks ids. Those of runs Prefect is asked for, in one question.
func (c *check) allTheirs(kind string, ids []string, seen *seen) error {
	var canonical []string
	for _, id := range ids {
		u, err := uuid.Parse(id)
		if err != nil {
			return &Refusal{Reason: ReasonOutOfLimit}
		}
		canonical = append(canonical, u.String())
	}
	slices.Sort(canonical)
	canonical = slices.Compact(canonical)
	theirs := false
	switch kind {
	case "deployment":
		theirs = !slices.ContainsFunc(canonical, func(id string) bool { return !seen.deployments[id] })
	case "flow":
		theirs = !slices.ContainsFunc(canonical, func(id string) bool { return !seen.flows[id] })
	case "run", "task_run":
		var n int
		err := c.guard.prefect.Query(c.ctx, "/"+kind2path[kind]+"/count", map[string]any{
			kind2path[kind]: map[string]any{"id": map[string]any{"any_": canonical}},
			"deployments":   seen.filter(),
		}, &n)
		if err != nil {
			return askFailed(err)
		}
		theirs = n == len(canonical)
	}
	if !theirs || len(canonical) == 0 {
		return &Refusal{Reason: ReasonOutOfLimit}
	}
	return nil
}

var kind2path = map[string]string{"run": "flow_runs", "task_run": "task_runs"}

// named collects the ids at a place: ?x is the query's x, [].x the x of each
// item, a.b.c the list or string below.
func (c *check) named(at string) ([]string, error) {
	if name, query := strings.CutPrefix(at, "?"); query {
		values, err := url.ParseQuery(c.Request.Query)
		if err != nil || len(values[name]) != 1 {
			return nil, unreadable("", fmt.Sprintf("the query must name one %s", name))
		}
		return values[name], nil
	}
	items := []any{c.value}
	if rest, list := strings.CutPrefix(at, "[]."); list {
		at = rest
		var err error
		if items, err = listAt(c.value, ""); err != nil {
			return nil, err
		}
	}
	var ids []string
	for _, item := range items {
		for _, name := range strings.Split(at, ".") {
			o, ok := item.(map[string]any)
			if !ok || widened(o) {
				return nil, &Refusal{Reason: ReasonLimited}
			}
			item = o[name]
		}
		switch v := item.(type) {
		case string:
			ids = append(ids, v)
		case []any:
			list, err := texts(v, "/"+strings.ReplaceAll(at, ".", "/"))
			if err != nil {
				return nil, err
			}
			ids = append(ids, list...)
		default:
			// It names none, which would be all.
			return nil, &Refusal{Reason: ReasonLimited}
		}
	}
	return ids, nil
}

// narrow adds the caller's deployments to the filter that goes to Prefect.
func (c *check) narrow(seen *seen) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.Route.Path, "/flows/") && (!empty(o["flow_runs"]) || !empty(o["task_runs"])) {
		// A flow has runs of other deployments too, and would tell of them.
		return &Refusal{Reason: ReasonLimited, Pointer: "/flow_runs"}
	}
	if o["deployments"] == nil {
		o["deployments"] = seen.filter()
		return nil
	}
	given, err := objectAt(o["deployments"], "/deployments")
	if err != nil {
		return err
	}
	return keepIDs(given, "id", "/deployments", seen.deployments)
}

// narrowPools does so for work pools, which have their names.
func (c *check) narrowPools(seen *seen) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	given := map[string]any{}
	if o["work_pools"] != nil {
		if given, err = objectAt(o["work_pools"], "/work_pools"); err != nil {
			return err
		}
	}
	o["work_pools"] = given
	return keepIDs(given, "name", "/work_pools", seen.pools)
}

// keepIDs leaves in a filter's list only what is allowed, and writes the whole
// of it where there is no list.
func keepIDs(filter map[string]any, name, at string, allowed map[string]bool) error {
	if widened(filter) {
		return field(at+"/operator", "your role is limited, and its limit can't be added to this")
	}
	condition := map[string]any{}
	if filter[name] != nil {
		var err error
		if condition, err = objectAt(filter[name], at+"/"+name); err != nil {
			return err
		}
	}
	if condition["any_"] == nil {
		condition["any_"] = sorted(allowed)
		filter[name] = condition
		return nil
	}
	given, err := texts(condition["any_"], at+"/"+name+"/any_")
	if err != nil {
		return err
	}
	kept := []string{}
	for _, s := range given {
		if u, err := uuid.Parse(s); err == nil && name == "id" {
			s = u.String()
		}
		if allowed[s] {
			kept = append(kept, s)
		}
	}
	condition["any_"] = kept
	filter[name] = condition
	return nil
}
