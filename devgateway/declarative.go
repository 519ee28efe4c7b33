package devgateway

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"
)

// Service is a Kong service: where requests are sent.
type Service struct {
	ID, Name, Protocol, Host, Path            string
	Port, Retries                             int
	ConnectTimeout, WriteTimeout, ReadTimeout int // milliseconds
	Tags                                      []string
	Enabled                                   bool
	CreatedAt                                 int64
}

// Route is a Kong route: which requests go to a service.
type Route struct {
	ID, Name                  string
	Protocols, Methods, Hosts []string
	Paths, SNIs, Tags         []string
	Headers                   map[string][]string
	Sources                   []routeSource
	HTTPSRedirectStatusCode   int
	RegexPriority             int
	StripPath, PreserveHost   bool
	Service                   *Service
	CreatedAt                 int64
}

// Consumer is a Kong consumer with what the bundled plugins know of it.
type Consumer struct {
	ID, Username, CustomID string
	Tags, Groups           []string
	CreatedAt              int64
}

// Credential is a key-auth credential.
type Credential struct {
	ID, Key    string
	ConsumerID string
}

// Plugin is one configured plugin. Config has its defaults in place, nulls for
// what is unset, and vault references unresolved.
type Plugin struct {
	ID, Name  string
	Service   *Service
	Route     *Route
	Config    dict
	Protocols []string
	Seq       int64
	schema    *fieldSchema
}

// Upstream is a named list of targets for kong.service.set_upstream and for
// services whose host is its name.
type Upstream struct {
	Name    string
	Targets []string // host:port
}

// Declarative is a whole kong.yml.
type Declarative struct {
	Services    []*Service
	Routes      []*Route
	Plugins     []*Plugin
	Consumers   []*Consumer
	Credentials []*Credential
	Upstreams   []*Upstream
}

// pluginCatalog knows which plugins are there and what their configuration is.
type pluginCatalog interface {
	// configSchema gives nil and a reason for a plugin that can't be used.
	configSchema(name string) (*pluginSchema, string)
}

// declReader reads one document and collects all that is wrong with it.
type declReader struct {
	doc      *yaml.Node
	catalog  pluginCatalog
	out      *Declarative
	problems []problem
	now      int64
	services map[string]*Service // by name and by id
	routes   map[string]*Route
	people   map[string]*Consumer
	seen     map[string]bool
}

// ParseDeclarative reads a kong.yml of format 3.0.
func parseDeclarative(data []byte, catalog pluginCatalog) (*Declarative, error) {
	r := &declReader{
		doc: &yaml.Node{}, catalog: catalog, out: &Declarative{}, now: time.Now().Unix(),
		services: map[string]*Service{}, routes: map[string]*Route{}, people: map[string]*Consumer{},
		seen: map[string]bool{},
	}
	var tree any
	if err := yaml.Unmarshal(data, r.doc); err != nil {
		return nil, fmt.Errorf("failed parsing declarative configuration: %w", err)
	}
	if err := r.doc.Decode(&tree); err != nil {
		return nil, fmt.Errorf("failed parsing declarative configuration: %w", err)
	}
	root, ok := fromYAML(tree).(dict)
	if !ok {
		return nil, fmt.Errorf("failed parsing declarative configuration: expected an object")
	}
	r.root(root)
	if len(r.problems) > 0 {
		return nil, &ConfigError{problems: r.problems}
	}
	return r.out, nil
}

func (r *declReader) say(path []any, format string, a ...any) {
	r.problems = append(r.problems, problem{slices.Clone(path), fmt.Sprintf(format, a...), lineOf(r.doc, path)})
}

func (r *declReader) root(d dict) {
	known := []string{"_format_version", "_transform", "_info", "_comment", "services", "routes", "plugins",
		"consumers", "keyauth_credentials", "acls", "upstreams", "targets"}
	for _, k := range sortedKeys(d) {
		if !slices.Contains(known, k) && !strings.HasPrefix(k, "_ignore") {
			r.say([]any{k}, "%s", unknownOrRefused(k))
		}
	}
	switch v := d["_format_version"].(type) {
	case string:
		if v != "1.1" && v != "2.1" && v != "3.0" {
			r.say([]any{"_format_version"}, "expected one of: 1.1, 2.1, 3.0")
		} else if v != "3.0" {
			r.say([]any{"_format_version"}, "only 3.0 is done here")
		}
	case float64:
		if v != 3 {
			r.say([]any{"_format_version"}, "only 3.0 is done here")
		}
	default:
		r.say([]any{"_format_version"}, "required field missing")
	}
	for i, e := range r.entries(d, nil, "services") {
		r.service(e, []any{"services", i})
	}
	for i, e := range r.entries(d, nil, "routes") {
		r.route(e, []any{"routes", i}, nil)
	}
	for i, e := range r.entries(d, nil, "consumers") {
		r.consumer(e, []any{"consumers", i})
	}
	r.credentials(d, nil, nil)
	for i, e := range r.entries(d, nil, "upstreams") {
		r.upstream(e, []any{"upstreams", i})
	}
	for i, e := range r.entries(d, nil, "plugins") {
		r.plugin(e, []any{"plugins", i}, nil, nil)
	}
}

var refusedEntities = []string{"vaults", "certificates", "snis", "ca_certificates", "workspaces",
	"consumer_groups", "partials", "key_sets", "keys", "filter_chains", "jwt_secrets", "basicauth_credentials",
	"hmacauth_credentials", "oauth2_credentials", "oauth2_tokens"}

func unknownOrRefused(name string) string {
	if slices.Contains(refusedEntities, name) {
		return "Kong has this, devgateway does not"
	}
	return "unknown field"
}

// entries gives the list of tables under key.
func (r *declReader) entries(d dict, path []any, key string) []dict {
	v, ok := d[key]
	if !ok || isNull(v) {
		return nil
	}
	l, ok := asList(v)
	if !ok {
		r.say(append(slices.Clone(path), key), "expected an array")
		return nil
	}
	out := make([]dict, len(l))
	for i, e := range l {
		if out[i], ok = asDict(e); !ok {
			r.say(append(slices.Clone(path), key, i), "expected a record")
			out[i] = nil
		}
	}
	return out
}

// entityUUID is the id Kong derives from an entity's name when none is given.
func entityUUID(entity, key string) string {
	base := uuid.MustParse("fd02801f-0957-4a15-a55a-c8d9606f30b5")
	return uuid.NewSHA1(uuid.NewSHA1(base, []byte(entity)), []byte(key)).String()
}

func (r *declReader) unique(path []any, entity, name, id string) {
	for field, v := range map[string]string{"name": name, "id": id} {
		if v == "" {
			continue
		}
		key := entity + "\x00" + field + "\x00" + v
		if r.seen[key] {
			r.say(append(slices.Clone(path), field), "uniqueness violation: '%s' entity with %s set to '%s' already declared", entity, field, v)
		}
		r.seen[key] = true
	}
}

func serviceID(s *Service) string {
	if s == nil {
		return ""
	}
	return s.ID
}

func routeID(r *Route) string {
	if r == nil {
		return ""
	}
	return r.ID
}
