// Package kongyml reads a kong.yml as far as it decides what our plugins do to
// a request: its services, routes and plugins, which route a request takes,
// and which configuration of a plugin applies there.
//
// It refuses to be Kong: it checks nothing that Kong itself checks, and a
// route whose rules it doesn't know is never chosen, only named
// ([Route.Unknown]).
//
// Read [Read] first, then [File.Find] and [File.PluginsOf].
package kongyml

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// File is a kong.yml of format 3.0.
type File struct {
	Routes    []*Route
	Consumers []Consumer

	plugins []*Plugin
}

// Service is where requests are sent.
type Service struct {
	Name string
	Path string // before the request's; often empty
}

// Route says which requests go to a service.
type Route struct {
	Name    string
	Service *Service // nil: none
	Paths   []string // those with "~" before them are regular expressions
	Methods []string
	Hosts   []string
	Headers map[string][]string
	// StripPath takes the matched part away from what the service gets.
	StripPath     bool
	RegexPriority int
	// Unknown are rules of the route that this package doesn't know, by their
	// fields' names.
	Unknown []string
}

// Consumer is one of Kong's consumers.
type Consumer struct {
	ID       string `yaml:"id"`
	Username string `yaml:"username"`
	CustomID string `yaml:"custom_id"`
}

// Plugin is one configuration of a plugin.
type Plugin struct {
	Name   string
	Config map[string]any // with references as they are written
	// Route and Service are where it applies; both nil: everywhere.
	Route   *Route
	Service *Service
	// Narrowed says that it applies to some consumers alone.
	Narrowed bool
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

// ErrFile is in the errors of files that can't be read.
var ErrFile = errors.New("kong.yml can't be read")

// The file as it is written. Kong has many more fields, which decide nothing
// here.
type (
	document struct {
		Format    string         `yaml:"_format_version"`
		Services  []serviceEntry `yaml:"services"`
		Routes    []routeEntry   `yaml:"routes"`
		Plugins   []pluginEntry  `yaml:"plugins"`
		Consumers []Consumer     `yaml:"consumers"`
	}
	serviceEntry struct {
		ID      string        `yaml:"id"`
		Name    string        `yaml:"name"`
		Path    string        `yaml:"path"`
		URL     string        `yaml:"url"`
		Routes  []routeEntry  `yaml:"routes"`
		Plugins []pluginEntry `yaml:"plugins"`
	}
	routeEntry struct {
		ID            string              `yaml:"id"`
		Name          string              `yaml:"name"`
		Service       reference           `yaml:"service"`
		Protocols     []string            `yaml:"protocols"`
		Paths         []string            `yaml:"paths"`
		Methods       []string            `yaml:"methods"`
		Hosts         []string            `yaml:"hosts"`
		Headers       map[string][]string `yaml:"headers"`
		StripPath     *bool               `yaml:"strip_path"`
		RegexPriority int                 `yaml:"regex_priority"`
		SNIs          []string            `yaml:"snis"`
		Sources       []any               `yaml:"sources"`
		Destinations  []any               `yaml:"destinations"`
		Expression    string              `yaml:"expression"`
		Plugins       []pluginEntry       `yaml:"plugins"`
	}
	pluginEntry struct {
		Name          string         `yaml:"name"`
		Enabled       *bool          `yaml:"enabled"`
		Config        map[string]any `yaml:"config"`
		Route         reference      `yaml:"route"`
		Service       reference      `yaml:"service"`
		Consumer      reference      `yaml:"consumer"`
		ConsumerGroup reference      `yaml:"consumer_group"`
	}
)

// reference names another entity by its name or id, written alone or as a
// record.
type reference string

// UnmarshalYAML takes both ways.
func (r *reference) UnmarshalYAML(n *yaml.Node) error {
	var record struct{ Name, ID string }
	if n.Kind == yaml.ScalarNode {
		return n.Decode((*string)(r))
	}
	if err := n.Decode(&record); err != nil {
		return err
	}
	if *r = reference(record.Name); record.Name == "" {
		*r = reference(record.ID)
	}
	return nil
}
