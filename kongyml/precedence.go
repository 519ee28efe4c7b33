package kongyml

import "slices"

// RouteNamed gives the route with a name or id; nil: there is none.
func (f *File) RouteNamed(name string) *Route {
	at := slices.IndexFunc(f.Routes, func(r *Route) bool { return r.Name == name || r.ID != "" && r.ID == name })
	if at < 0 {
		return nil
	}
	return f.Routes[at]
}

// PluginsOf are the plugins that run on a route, each with the one
// configuration that applies: the most specific, for Kong merges nothing. What
// is for some consumers counts for them alone. A nil route is a request that
// no route takes: what applies everywhere runs for it in no phase that counts
// here, so there is none.
// Source: Kong's documentation, "Plugin precedence".
func (f *File) PluginsOf(r *Route) []*Plugin {
	best := map[string]*Plugin{}
	var names []string
	for _, p := range f.Plugins {
		if p.Consumer != "" || !p.reaches(r) {
			continue
		}
		held := best[p.Name]
		if held == nil {
			names = append(names, p.Name)
		}
		if held == nil || p.weight() > held.weight() {
			best[p.Name] = p
		}
	}
	list := make([]*Plugin, len(names))
	for i, name := range names {
		list[i] = best[name]
	}
	return list
}

// NarrowedOf are the configurations on a route that count for some consumers
// alone, which nobody here can tell.
func (f *File) NarrowedOf(r *Route) (list []*Plugin) {
	for _, p := range f.Plugins {
		if p.Consumer != "" && p.reaches(r) {
			list = append(list, p)
		}
	}
	return list
}

// reaches tells whether a configuration is for a route, whoever calls.
func (p *Plugin) reaches(r *Route) bool {
	return r != nil && !p.Unplaced && (p.Route == nil || p.Route == r) && (p.Service == nil || p.Service == r.Service)
}

func (p *Plugin) weight() (w int) {
	if p.Route != nil {
		w += 2
	}
	if p.Service != nil {
		w++
	}
	return w
}
