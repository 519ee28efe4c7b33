package kongyml

import (
	"fmt"
	"net/url"
	"slices"

	"go.yaml.in/yaml/v3"
)

// reader builds a File and knows who has which name or id.
type reader struct {
	file     *File
	services map[reference]*Service
	routes   map[reference]*Route
}

// Read reads a kong.yml. An error wraps [ErrFile].
func Read(data []byte) (*File, error) {
	var d document
	if err := yaml.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if d.Format != "3.0" && d.Format != "3" {
		return nil, fmt.Errorf("%w: its _format_version is %q, and only 3.0 is known here", ErrFile, d.Format)
	}
	r := reader{file: &File{Consumers: d.Consumers}, services: map[reference]*Service{}, routes: map[reference]*Route{}}
	// Routes and services first: a plugin may name one that comes later.
	var later []func() error
	nested := func(list []pluginEntry, route *Route, service *Service) {
		for _, p := range list {
			later = append(later, func() error { return r.plugin(p, route, service) })
		}
	}
	for _, s := range d.Services {
		service := r.service(s)
		nested(s.Plugins, nil, service)
		for _, e := range s.Routes {
			nested(e.Plugins, r.route(e, service), nil)
		}
	}
	for _, e := range d.Routes {
		service, err := find(r.services, e.Service, "service")
		if err != nil {
			return nil, err
		}
		nested(e.Plugins, r.route(e, service), nil)
	}
	nested(d.Plugins, nil, nil)
	for _, add := range later {
		if err := add(); err != nil {
			return nil, err
		}
	}
	return r.file, nil
}

func (r *reader) service(e serviceEntry) *Service {
	s := &Service{Name: e.Name, Path: e.Path}
	if u, err := url.Parse(e.URL); err == nil && u.Path != "" && s.Path == "" {
		s.Path = u.EscapedPath()
	}
	register(r.services, s, e.Name, e.ID)
	return s
}

func (r *reader) route(e routeEntry, s *Service) *Route {
	route := &Route{
		Name: e.Name, Service: s, Paths: e.Paths, Methods: e.Methods, Hosts: e.Hosts, Headers: e.Headers,
		StripPath: e.StripPath == nil || *e.StripPath, RegexPriority: e.RegexPriority,
	}
	if route.Name == "" {
		route.Name = e.ID
	}
	for name, given := range map[string]bool{
		"snis": len(e.SNIs) > 0, "sources": len(e.Sources) > 0, "destinations": len(e.Destinations) > 0, "expression": e.Expression != "",
		"protocols": len(e.Protocols) > 0 && !slices.Contains(e.Protocols, "http") && !slices.Contains(e.Protocols, "https"),
	} {
		if given {
			route.Unknown = append(route.Unknown, name)
		}
	}
	slices.Sort(route.Unknown)
	register(r.routes, route, e.Name, e.ID)
	r.file.Routes = append(r.file.Routes, route)
	return route
}

func (r *reader) plugin(e pluginEntry, route *Route, service *Service) error {
	if e.Enabled != nil && !*e.Enabled {
		return nil
	}
	p := &Plugin{Name: e.Name, Config: e.Config, Route: route, Service: service, Narrowed: e.Consumer != "" || e.ConsumerGroup != ""}
	var err error
	if p.Route == nil {
		if p.Route, err = find(r.routes, e.Route, "route"); err != nil {
			return err
		}
	}
	if p.Service == nil {
		if p.Service, err = find(r.services, e.Service, "service"); err != nil {
			return err
		}
	}
	r.file.plugins = append(r.file.plugins, p)
	return nil
}

func register[T any](known map[reference]*T, value *T, names ...string) {
	for _, name := range names {
		if name != "" {
			known[reference(name)] = value
		}
	}
}

// find gives what a reference names; nil for none.
func find[T any](known map[reference]*T, name reference, what string) (*T, error) {
	if name == "" {
		return nil, nil
	}
	if known[name] == nil {
		return nil, fmt.Errorf("%w: there is no %s %q in it", ErrFile, what, name)
	}
	return known[name], nil
}

// RouteNamed gives the route with a name or id; nil: there is none.
func (f *File) RouteNamed(name string) *Route {
	at := slices.IndexFunc(f.Routes, func(r *Route) bool { return r.Name == name })
	if at < 0 {
		return nil
	}
	return f.Routes[at]
}

// PluginsOf are the plugins that run on a route, each with the one
// configuration that applies: the most specific, for Kong merges nothing. A nil
// route is a request that no route takes: what applies everywhere runs for it
// in no phase that counts here, so there is none.
// Source: Kong's documentation, "Plugin precedence".
func (f *File) PluginsOf(r *Route) []*Plugin {
	if r == nil {
		return nil
	}
	best := map[string]*Plugin{}
	var names []string
	for _, p := range f.plugins {
		if p.Narrowed || p.Route != nil && p.Route != r || p.Service != nil && p.Service != r.Service {
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
	for _, p := range f.plugins {
		if r != nil && p.Narrowed && (p.Route == nil || p.Route == r) && (p.Service == nil || p.Service == r.Service) {
			list = append(list, p)
		}
	}
	return list
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
