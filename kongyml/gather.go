package kongyml

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml/node"
)

// gathering builds a File and knows who has which name or id.
type gathering struct {
	file     *File
	problems []Problem
	services map[string]*Service
	routes   map[string]*Route
	// later finds what references name, when all is read that they may name.
	later []func()
}

// Gather takes what documents say together, as far as it is in order. What
// isn't in its field's type is left out, as is what stands in a list of
// records and is none.
func Gather(documents []Document) (*File, []Problem) {
	g := &gathering{file: &File{}, services: map[string]*Service{}, routes: map[string]*Route{}}
	for _, d := range documents {
		r := &reader{g, d, node.In(d.Root, "_plugin_configs"), node.In(d.Root, "_info", "defaults"), map[string]bool{}}
		r.read()
	}
	for _, resolve := range g.later {
		resolve()
	}
	return g.file, g.problems
}

// reader reads one document.
type reader struct {
	*gathering
	Document
	shared   *yaml.Node // decK's shared configurations
	defaults *yaml.Node // decK's, by kinds of entities
	seen     map[string]bool
}

func (r *reader) read() {
	root := Position{File: r.File, Node: r.Root}
	r.file.Partial = r.file.Partial || node.In(r.Root, "_info", "select_tags") != nil
	for _, at := range r.entries(root, "services") {
		s := r.service(at)
		r.plugins(at, Plugin{Service: s})
		for _, at := range r.entries(at, "routes") {
			r.plugins(at, Plugin{Route: r.route(at, s)})
		}
	}
	for _, at := range r.entries(root, "routes") {
		r.plugins(at, Plugin{Route: r.route(at, nil)})
	}
	for _, at := range r.entries(root, "consumers") {
		c := r.consumer(at)
		r.file.Consumers = append(r.file.Consumers, c)
		r.plugins(at, Plugin{Consumer: cmp.Or(c.Username, c.ID, at.Path)})
	}
	for _, at := range r.entries(root, "consumer_groups") {
		var f struct{ ID, Name string }
		r.fields(at, "consumer_group", &f)
		r.plugins(at, Plugin{Consumer: cmp.Or(f.Name, f.ID, at.Path)})
	}
	r.plugins(root, Plugin{})
}

// entries are the records of a list.
func (r *reader) entries(within Position, key string) (list []Position) {
	m := node.Find(within.Node, key)
	path := strings.TrimPrefix(within.Path+"."+key, ".")
	if n := node.Target(m.Value); n != nil && n.Kind != yaml.SequenceNode {
		r.problem(TypeWrong, m.Key, path, path+" must be a list")
	}
	for i, item := range node.Items(m.Value) {
		at := Position{r.File, fmt.Sprintf("%s[%d]", path, i+1), item}
		if node.IsMapping(item) {
			list = append(list, at)
		} else {
			r.problem(TypeWrong, item, at.Path, at.Path+" must be a record")
		}
	}
	return list
}

// fields reads an entity's own, and what decK's defaults have beside them.
func (r *reader) fields(at Position, kind string, into any) {
	r.problems = append(r.problems, misfits(at, node.Overlay(at.Node, node.In(r.defaults, kind)).Decode(into))...)
}

func (r *reader) problem(kind Kind, n *yaml.Node, path, text string) {
	r.problems = append(r.problems, Problem{kind, r.File, n.Line, n.Column, path, text})
}

func (r *reader) service(at Position) *Service {
	var f struct{ ID, Name, Host, Port, Path, URL string }
	r.fields(at, "service", &f)
	s := &Service{Name: cmp.Or(f.Name, f.ID, at.Path), Host: f.Host, Path: f.Path}
	if u, err := url.Parse(f.URL); err == nil && u.Host != "" {
		s.Host, s.Path = u.Host, u.EscapedPath() // Kong lets url count before its parts
	} else if s.Host != "" && f.Port != "" {
		s.Host += ":" + f.Port
	}
	r.unique("service", at, "name", f.Name)
	register(r.services, s, f.Name, f.ID)
	r.file.Services = append(r.file.Services, s)
	return s
}

func (r *reader) route(at Position, s *Service) *Route {
	var f struct {
		ID, Name       string
		Service        reference
		Paths, Methods []string
		Hosts          []string
		Headers        map[string][]string
		StripPath      bool `yaml:"strip_path"`
		RegexPriority  int  `yaml:"regex_priority"`

		Protocols, SNIs       []string
		Sources, Destinations []any
		Expression            string
	}
	f.StripPath = true
	r.fields(at, "route", &f)
	route := &Route{
		Position: at, ID: f.ID, Name: cmp.Or(f.Name, f.ID, at.Path), Service: s,
		Paths: f.Paths, Methods: f.Methods, Hosts: f.Hosts, Headers: f.Headers,
		StripPath: f.StripPath, RegexPriority: f.RegexPriority,
	}
	for name, given := range map[string]bool{
		"snis": len(f.SNIs) > 0, "sources": len(f.Sources) > 0, "destinations": len(f.Destinations) > 0, "expression": f.Expression != "",
		"protocols": len(f.Protocols) > 0 && !slices.Contains(f.Protocols, "http") && !slices.Contains(f.Protocols, "https"),
	} {
		if given {
			route.Unknown = append(route.Unknown, name)
		}
	}
	slices.Sort(route.Unknown)
	if s == nil {
		r.later = append(r.later, func() { route.Service, _ = find(r, r.services, f.Service, at, "service") })
	}
	r.unique("route", at, "name", f.Name)
	register(r.routes, route, f.Name, f.ID)
	r.file.Routes = append(r.file.Routes, route)
	return route
}

func (r *reader) consumer(at Position) Consumer {
	var f struct {
		ID, Username string
		CustomID     string `yaml:"custom_id"`
	}
	r.fields(at, "consumer", &f)
	r.unique("consumer", at, "username", f.Username)
	return Consumer(f)
}

// plugins reads those that stand below an entity, or for themselves and say
// where they apply; on is what is known of that.
func (r *reader) plugins(below Position, on Plugin) {
	for _, at := range r.entries(below, "plugins") {
		var f struct {
			Name                     string
			Enabled                  bool
			Route, Service, Consumer reference
			ConsumerGroup            reference `yaml:"consumer_group"`
			Shared                   string    `yaml:"_config"`
		}
		f.Enabled = true
		r.fields(at, "plugin", &f)
		if f.Name == "" || !f.Enabled {
			continue // Kong refuses what has no name; what is off, it doesn't run
		}
		p := on
		p.Position, p.Name, p.Settings = at, f.Name, node.Find(at.Node, "config").Value
		if shared := node.In(r.shared, f.Shared); shared != nil && f.Shared != "" {
			p.Settings = node.Overlay(p.Settings, shared)
		}
		p.Consumer = cmp.Or(on.Consumer, string(f.Consumer), string(f.ConsumerGroup))
		r.file.Plugins = append(r.file.Plugins, &p)
		r.later = append(r.later, func() {
			ok, also := true, true
			if p.Service == nil {
				p.Service, ok = find(r, r.services, f.Service, at, "service")
			}
			if p.Route == nil {
				p.Route, also = find(r, r.routes, f.Route, at, "route")
			}
			p.Unplaced = !ok || !also
		})
	}
}
