package check

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// gateway is what the files say together, whatever their form.
type gateway struct {
	services  []*service
	routes    []*route
	consumers []consumer
	plugins   []*pluginEntity
	// partial: the files say themselves that there is more elsewhere.
	partial bool
}

type service struct {
	name, file string
	node       *yaml.Node
	host, path string // empty: not known
}

type route struct {
	name, file string
	node       *yaml.Node
	service    *service // nil: none that is known
	paths      []string // as Kong's routes have them: those with "~" are expressions
	methods    []string // empty: all
	methodsAt  *yaml.Node
	stripPath  bool
}

type consumer struct{ username, id, customID string }

// pluginEntity is one configuration of a plugin.
type pluginEntity struct {
	name     string
	file     string
	path     string // the entity's place in the file: services[1].plugins[2]
	node     *yaml.Node
	nameNode *yaml.Node
	config   *yaml.Node // nil: none
	at       *yaml.Node // where config begins
	// opaque: the configuration is where nobody can look.
	opaque bool

	// Where it applies. None of the three: everywhere.
	routes   []*route
	services []*service
	consumer string
	// unplaced: that isn't in the files.
	unplaced bool

	reading *reading
	values  map[string]any
	exam    *plugin.Examination
}

func (p *pluginEntity) ours() bool { return slices.Contains(plugin.Names(), p.name) }

func (p *pluginEntity) everywhere() bool {
	return len(p.routes)+len(p.services) == 0 && p.consumer == "" && !p.unplaced
}

// entity is how people call it.
func (p *pluginEntity) entity() string {
	var names []string
	for _, r := range p.routes {
		names = append(names, "route "+r.name)
	}
	for _, s := range p.services {
		names = append(names, "service "+s.name)
	}
	if p.consumer != "" {
		names = append(names, "consumer "+p.consumer)
	}
	if len(names) > 3 {
		names = append(names[:3], "others")
	}
	if len(names) == 0 {
		if p.unplaced {
			return p.name
		}
		return p.name + " for every route"
	}
	return p.name + " on " + strings.Join(names, ", ")
}

// on gives the configuration of a plugin that counts on a route: the most
// specific; Kong merges nothing. What is on consumers counts for them alone.
// Source: Kong's documentation, "Plugin precedence".
func (g *gateway) on(r *route, name string) *pluginEntity {
	var best *pluginEntity
	weight := -1
	for _, p := range g.plugins {
		if p.name != name || p.unplaced {
			continue
		}
		if w, here := p.weight(r); here && w > weight {
			best, weight = p, w
		}
	}
	return best
}

// weight is how specific a plugin is on a route. Kong wants the route and the
// service that an entity names; the ingress controller makes an entity of each
// place that an object has.
func (p *pluginEntity) weight(r *route) (w int, here bool) {
	onRoute, onService := slices.Contains(p.routes, r), r.service != nil && slices.Contains(p.services, r.service)
	switch {
	case isManifest(p.node) && onRoute:
		return 2, true
	case isManifest(p.node) && onService:
		return 1, true
	case p.consumer != "":
		return 0, false
	case isManifest(p.node):
		return 0, len(p.routes)+len(p.services) == 0
	}
	if len(p.routes) > 0 {
		w += 2
	}
	if len(p.services) > 0 {
		w++
	}
	return w, (len(p.routes) == 0 || onRoute) && (len(p.services) == 0 || onService)
}

// names are the plugins that run on a route.
func (g *gateway) names(r *route) (list []string) {
	for _, p := range g.plugins {
		if !slices.Contains(list, p.name) && g.on(r, p.name) != nil {
			list = append(list, p.name)
		}
	}
	return list
}

// nodeAt finds where a field of a configuration stands, or what there is of
// the way to it: a scalar itself, of anything else its name.
func (p *pluginEntity) nodeAt(field string) *yaml.Node {
	at, n := p.at, target(p.config)
	if field == "" {
		return at
	}
	for _, step := range strings.Split(field, ".") {
		name, index, indexed := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		m := find(n, name)
		if m.key == nil {
			return at
		}
		at, n = m.key, target(m.value)
		if !indexed {
			continue
		}
		list := items(n)
		i := atoi(index) - 1
		if i < 0 || i >= len(list) {
			return at
		}
		at, n = list[i], target(list[i])
	}
	if n.Kind == yaml.ScalarNode && n.Tag != unknownTag {
		return n
	}
	return at
}
