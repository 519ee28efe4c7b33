package check

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// gateway is what the files say together, whatever their form.
type gateway struct {
	file    *kongyml.File
	plugins []*pluginEntity
	// whose are the file's plugins, and running those that count on a route.
	whose   map[*kongyml.Plugin]*pluginEntity
	running map[*kongyml.Route][]*pluginEntity
	// methodsAt is where a manifest has a route's methods.
	methodsAt map[*kongyml.Route]*yaml.Node
}

// pluginEntity is one configuration of a plugin.
type pluginEntity struct {
	name     string
	file     string
	path     string // the entity's place in the file: services[1].plugins[2]
	node     *yaml.Node
	nameNode *yaml.Node
	config   *yaml.Node // nil: none
	at       *yaml.Node // where config begins
	manifest bool       // of the ingress controller
	// opaque: the configuration is where nobody can look.
	opaque bool
	// places are where it applies: several for an object that others name, as
	// the ingress controller makes a plugin of each. None: that isn't in the
	// files.
	places []*kongyml.Plugin

	reading *reading
	values  map[string]any
	exam    *plugin.Examination
}

func (p *pluginEntity) ours() bool { return slices.Contains(plugin.Names(), p.name) }

// unplaced tells whether it isn't known where it applies.
func (p *pluginEntity) unplaced() bool {
	return !slices.ContainsFunc(p.places, func(at *kongyml.Plugin) bool { return !at.Unplaced })
}

func (p *pluginEntity) everywhere() bool {
	return slices.ContainsFunc(p.places, func(at *kongyml.Plugin) bool {
		return at.Route == nil && at.Service == nil && at.Consumer == "" && !at.Unplaced
	})
}

func (p *pluginEntity) ofConsumer() bool {
	return slices.ContainsFunc(p.places, func(at *kongyml.Plugin) bool { return at.Consumer != "" })
}

// entity is how people call it.
func (p *pluginEntity) entity() string {
	var routes, services, consumers []string
	for _, at := range p.places {
		if at.Route != nil {
			routes = append(routes, "route "+at.Route.Name)
		}
		if at.Service != nil {
			services = append(services, "service "+at.Service.Name)
		}
		if at.Consumer != "" {
			consumers = append(consumers, "consumer "+at.Consumer)
		}
	}
	names := slices.Concat(routes, services, consumers)
	if len(names) > 3 {
		names = append(names[:3], "others")
	}
	if len(names) == 0 {
		if p.unplaced() {
			return p.name
		}
		return p.name + " for every route"
	}
	return p.name + " on " + strings.Join(names, ", ")
}

// add takes a plugin to the others.
func (g *gateway) add(p *pluginEntity) {
	g.plugins = append(g.plugins, p)
	for _, at := range p.places {
		g.whose[at] = p
	}
}

// runningOn are the plugins on a route, each with the configuration that
// counts there. All files are read by then.
func (g *gateway) runningOn(r *kongyml.Route) []*pluginEntity {
	list, known := g.running[r]
	if !known {
		for _, at := range g.file.PluginsOf(r) {
			if p := g.whose[at]; p != nil { // one of a misspelled name is nobody's
				list = append(list, p)
			}
		}
		g.running[r] = list
	}
	return list
}

// on gives the configuration of a plugin that counts on a route; nil: none.
func (g *gateway) on(r *kongyml.Route, name string) *pluginEntity {
	for _, p := range g.runningOn(r) {
		if p.name == name {
			return p
		}
	}
	return nil
}

// nodeAt finds where a field of a configuration stands, or what there is of
// the way to it: a scalar itself, of anything else its name.
func (p *pluginEntity) nodeAt(field string) *yaml.Node {
	at, n := p.at, node.Target(p.config)
	if field == "" {
		return at
	}
	for _, step := range strings.Split(field, ".") {
		name, index, indexed := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		m := node.Find(n, name)
		if m.Key == nil {
			return at
		}
		at, n = m.Key, node.Target(m.Value)
		if !indexed {
			continue
		}
		list := node.Items(n)
		i := atoi(index) - 1
		if i < 0 || i >= len(list) {
			return at
		}
		at, n = list[i], node.Target(list[i])
	}
	if n.Kind == yaml.ScalarNode && n.Tag != unknownTag {
		return n
	}
	return at
}
