// Package kongyml reads a kong.yml, Kong's own or decK's, as far as it decides
// what our plugins do to a request: its services, routes, plugins and
// consumers with their places in the file, which route a request takes, and
// which configuration of a plugin applies there.
//
// It refuses to be Kong: of what Kong itself checks it checks no more than who
// and what is meant, and a route whose rules it doesn't know is never chosen,
// only named ([Route.Unknown]).
//
// Read [Read] first, then [File.Find] and [File.PluginsOf]. Who wants to know
// all that is wrong calls [Parse] and [Gather] in place of Read.
package kongyml

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// File is what one kong.yml, or several that belong together, say of the
// gateway.
type File struct {
	Services  []*Service
	Routes    []*Route
	Plugins   []*Plugin // those that are on
	Consumers []Consumer
	// Partial: the files say themselves that there is more elsewhere.
	Partial bool
}

// Position is where something stands.
type Position struct {
	File string // its name
	// Path in the file: services[1].routes[2]. Lists count from 1, as Kong
	// counts.
	Path string
	Node *yaml.Node // its record
}

// Service is where requests are sent.
type Service struct {
	Name string // without one of its own its id, or its place in the file
	Host string // with its port, where one is given; empty: not known
	Path string // before the request's, percent-encoded; often empty
}

// Route says which requests go to a service.
type Route struct {
	Position Position
	ID       string
	Name     string   // without one of its own its id, or its place in the file
	Service  *Service // nil: none, or not known
	Paths    []string // those with "~" before them are regular expressions
	Methods  []string
	Hosts    []string
	Headers  map[string][]string
	// StripPath takes the matched part away from what the service gets.
	StripPath     bool
	RegexPriority int
	// Unknown are rules of the route that this package doesn't know, by their
	// fields' names.
	Unknown []string
}

// Consumer is one of Kong's consumers.
type Consumer struct{ ID, Username, CustomID string }

// Plugin is one configuration of a plugin.
type Plugin struct {
	Position Position
	Name     string
	// Settings are its configuration as it is written, with what decK shares
	// (_config); nil: none.
	Settings *yaml.Node
	Config   map[string]any // the same with references as they are written; of [Read] alone
	// Route and Service are where it applies; both nil: everywhere.
	Route   *Route
	Service *Service
	// Consumer is the consumer or group of consumers that it applies to alone;
	// empty: to all.
	Consumer string
	// Unplaced: a route or service that it names isn't in the files.
	Unplaced bool
}

// Where names the place of a configuration, for people.
func (p *Plugin) Where() string {
	switch {
	case p.Route != nil:
		return fmt.Sprintf("route %q", p.Route.Name)
	case p.Service != nil:
		return fmt.Sprintf("service %q", p.Service.Name)
	default:
		return "the whole gateway"
	}
}
