package devgateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// pluginKind is a plugin as Kong knows it: name, priority, phases.
type pluginKind struct {
	name     string
	priority int
	phases   map[phase]bool
	schema   *pluginSchema
	run      func(x *exchange, p *Plugin, ph phase)
}

// boundPlugin is a configured plugin with its kind.
type boundPlugin struct {
	plugin *Plugin
	kind   *pluginKind
}

// catalog is every plugin there is here.
type catalog struct {
	kinds   map[string]*pluginKind
	enabled map[string]bool
}

// knownBundled are Kong's own plugins that devgateway does not do.
var knownBundled = strings.Fields(`ai-prompt-decorator ai-prompt-guard ai-prompt-template ai-proxy
	ai-request-transformer ai-response-transformer aws-lambda azure-functions basic-auth bot-detection cors
	datadog file-log grpc-gateway grpc-web hmac-auth http-log ip-restriction jwt ldap-auth loggly oauth2
	opentelemetry post-function pre-function prometheus proxy-cache redirect request-size-limiting
	request-transformer response-ratelimiting response-transformer session standard-webhooks statsd syslog
	tcp-log udp-log zipkin acme`)

func (c *catalog) configSchema(name string) (*pluginSchema, string) {
	switch kind := c.kinds[name]; {
	case kind != nil && c.enabled[name]:
		return kind.schema, ""
	case slices.Contains(knownBundled, name):
		return nil, fmt.Sprintf("plugin '%s' is Kong's, devgateway does not have it", name)
	}
	return nil, fmt.Sprintf("plugin '%s' not enabled; add it to the 'plugins' configuration property", name)
}

// dumpedPlugin is what a plugin server's query command prints of one plugin.
type dumpedPlugin struct {
	Name     string
	Phases   []string
	Version  string
	Priority int
	Schema   json.RawMessage
}

// parseDump reads a query command's output: an object with Protocol and
// Plugins. As in Kong, only the first plugin counts.
func parseDump(server string, out []byte) (*dumpedPlugin, error) {
	var dump struct {
		Protocol string
		Plugins  []dumpedPlugin
	}
	if err := json.Unmarshal(out, &dump); err != nil {
		return nil, fmt.Errorf("pluginserver %s: failed decoding plugin info: %w", server, err)
	}
	if dump.Protocol != "ProtoBuf:1" {
		return nil, fmt.Errorf("pluginserver %s: protocol %q is not done here (only ProtoBuf:1)", server, dump.Protocol)
	}
	if len(dump.Plugins) == 0 || dump.Plugins[0].Name == "" {
		return nil, fmt.Errorf("pluginserver %s: the dump names no plugin", server)
	}
	return &dump.Plugins[0], nil
}

func newExternalKind(d *dumpedPlugin, socket string) (*pluginKind, error) {
	schema, err := parsePluginSchema(d.Schema)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", d.Name, err)
	}
	e := &externalPlugin{socket: socket}
	k := &pluginKind{name: d.Name, priority: d.Priority, phases: map[phase]bool{}, schema: schema, run: e.handleEvent}
	for _, p := range d.Phases {
		switch ph := phase(p); ph {
		case phaseRewrite, phaseAccess, phaseResponse, phaseLog:
			k.phases[ph] = true
		default:
			return nil, fmt.Errorf("plugin %s: phase %q is not done here", d.Name, p)
		}
	}
	return k, nil
}

// newCatalog joins the bundled plugins and the external ones.
func newCatalog(s Settings, external []*pluginKind) (*catalog, error) {
	c := &catalog{kinds: map[string]*pluginKind{}, enabled: map[string]bool{}}
	for name, b := range bundledPlugins {
		k, err := b.kind(name)
		if err != nil {
			return nil, err
		}
		c.kinds[name] = k
	}
	for _, k := range external {
		c.kinds[k.name] = k
	}
	var missing []string
	for _, name := range s.Plugins {
		switch {
		case name == "bundled":
			for b := range bundledPlugins {
				c.enabled[b] = true
			}
		case name == "off":
		case c.kinds[name] == nil:
			missing = append(missing, name)
		default:
			c.enabled[name] = true
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("KONG_PLUGINS: %s: neither bundled here nor offered by a plugin server", strings.Join(missing, ", "))
	}
	return c, nil
}

// generation is one loaded configuration; requests keep the one they began
// with.
type generation struct {
	decl   *Declarative
	router *router
	order  []*pluginKind
	combos map[string]map[string]*Plugin // plugin name, then "route:service"
	tally  *rateCounters
}

func newGeneration(d *Declarative, c *catalog, tally *rateCounters) *generation {
	g := &generation{decl: d, router: newRouter(d.Routes), combos: map[string]map[string]*Plugin{}, tally: tally}
	for _, p := range d.Plugins {
		if g.combos[p.Name] == nil {
			g.combos[p.Name] = map[string]*Plugin{}
			g.order = append(g.order, c.kinds[p.Name])
		}
		g.combos[p.Name][routeID(p.Route)+":"+serviceID(p.Service)] = p
	}
	// Equal priorities run in descending order of their names.
	sort.SliceStable(g.order, func(i, j int) bool {
		a, b := g.order[i], g.order[j]
		if a.priority != b.priority {
			return a.priority > b.priority
		}
		return a.name > b.name
	})
	return g
}

// pick gives the most specific configuration of a plugin for a request: route
// and service, route, service, global.
func (g *generation) pick(name, route, service string) *Plugin {
	combos := g.combos[name]
	for _, key := range []string{route + ":" + service, route + ":", ":" + service, ":"} {
		if p := combos[key]; p != nil {
			return p
		}
	}
	return nil
}

// globals are the plugins that are configured for everything.
func (g *generation) globals() []*boundPlugin {
	var out []*boundPlugin
	for _, k := range g.order {
		if p := g.combos[k.name][":"]; p != nil {
			out = append(out, &boundPlugin{p, k})
		}
	}
	return out
}
