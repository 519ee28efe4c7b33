package devgateway

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
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

func (r *declReader) service(d dict, path []any) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	s := &Service{CreatedAt: r.now}
	s.ID, s.Name = f.str("id", ""), f.str("name", "")
	s.Protocol = f.oneOf("protocol", "http", "http", "https")
	s.Host, s.Path = f.str("host", ""), f.str("path", "")
	s.Port = f.num("port", 80, 0, 65535)
	r.serviceURL(s, f, d)
	s.Retries = f.num("retries", 5, 0, 32767)
	s.ConnectTimeout = f.num("connect_timeout", 60000, 1, 2147483646)
	s.WriteTimeout = f.num("write_timeout", 60000, 1, 2147483646)
	s.ReadTimeout = f.num("read_timeout", 60000, 1, 2147483646)
	s.Tags, s.Enabled = f.strings("tags"), f.boolean("enabled", true)
	f.skip("routes", "plugins", "created_at", "updated_at")
	f.refuse("client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates")
	f.rest()
	if s.Host == "" {
		r.say(append(slices.Clone(path), "host"), "required field missing")
	}
	if s.Path != "" && !strings.HasPrefix(s.Path, "/") {
		r.say(append(slices.Clone(path), "path"), "should start with: /")
	}
	if s.ID == "" {
		s.ID = entityUUID("services", firstNonEmpty(s.Name, fmt.Sprint(path...)))
	}
	r.unique(path, "services", s.Name, s.ID)
	r.services[s.ID] = s
	if s.Name != "" {
		r.services[s.Name] = s
	}
	r.out.Services = append(r.out.Services, s)
	for i, e := range r.entries(d, path, "routes") {
		r.route(e, append(slices.Clone(path), "routes", i), s)
	}
	for i, e := range r.entries(d, path, "plugins") {
		r.plugin(e, append(slices.Clone(path), "plugins", i), s, nil)
	}
}

func (r *declReader) serviceURL(s *Service, f *fieldReader, d dict) {
	raw := f.str("url", "")
	if raw == "" {
		return
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		r.say(append(slices.Clone(f.path), "url"), "expected http://host[:port][/path] or https://")
		return
	}
	s.Protocol, s.Host, s.Path = u.Scheme, u.Hostname(), u.EscapedPath()
	s.Port = map[string]int{"http": 80, "https": 443}[u.Scheme]
	if p, err := strconv.Atoi(u.Port()); err == nil {
		s.Port = p
	}
	if p, ok := d["port"].(float64); ok {
		s.Port = int(p)
	}
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

func (r *declReader) consumer(d dict, path []any) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	c := &Consumer{CreatedAt: r.now}
	c.ID, c.Username, c.CustomID = f.str("id", ""), f.str("username", ""), f.str("custom_id", "")
	c.Tags = f.strings("tags")
	f.skip("keyauth_credentials", "acls", "created_at", "updated_at")
	f.rest()
	if c.Username == "" && c.CustomID == "" {
		r.say(path, "at least one of these fields must be non-empty: 'custom_id', 'username'")
	}
	if c.ID == "" {
		c.ID = entityUUID("consumers", firstNonEmpty(c.Username, c.CustomID))
	}
	r.unique(path, "consumers", "", c.ID)
	r.people[c.ID] = c
	if c.Username != "" {
		r.people[c.Username] = c
	}
	r.out.Consumers = append(r.out.Consumers, c)
	r.credentials(d, path, c)
}

func (r *declReader) credentials(d dict, path []any, c *Consumer) {
	owner := func(f *fieldReader) *Consumer {
		if c != nil {
			return c
		}
		ref := f.ref("consumer")
		if r.people[ref] == nil {
			r.say(append(slices.Clone(f.path), "consumer"), "no consumer %q in this file", ref)
		}
		return r.people[ref]
	}
	for i, e := range r.entries(d, path, "keyauth_credentials") {
		f := r.fields(e, append(slices.Clone(path), "keyauth_credentials", i))
		cred := &Credential{ID: f.str("id", ""), Key: f.str("key", "")}
		if who := owner(f); who != nil {
			cred.ConsumerID = who.ID
		}
		f.skip("tags", "ttl", "created_at")
		f.rest()
		if cred.Key == "" {
			cred.Key = uuid.NewString()
		}
		if cred.ID == "" {
			cred.ID = entityUUID("keyauth_credentials", cred.Key)
		}
		r.out.Credentials = append(r.out.Credentials, cred)
	}
	for i, e := range r.entries(d, path, "acls") {
		f := r.fields(e, append(slices.Clone(path), "acls", i))
		group := f.str("group", "")
		if group == "" {
			r.say(append(slices.Clone(f.path), "group"), "required field missing")
		}
		if who := owner(f); who != nil {
			who.Groups = append(who.Groups, group)
		}
		f.skip("id", "tags", "created_at")
		f.rest()
	}
}

func (r *declReader) upstream(d dict, path []any) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	u := &Upstream{Name: f.str("name", "")}
	if u.Name == "" {
		r.say(append(slices.Clone(path), "name"), "required field missing")
	}
	f.skip("id", "targets", "tags")
	f.rest()
	for i, e := range r.entries(d, path, "targets") {
		t := r.fields(e, append(slices.Clone(path), "targets", i))
		target := t.str("target", "")
		if !strings.Contains(target, ":") {
			target += ":8000"
		}
		if t.num("weight", 100, 0, 65535) > 0 {
			u.Targets = append(u.Targets, target)
		}
		t.skip("id", "tags")
		t.rest()
	}
	r.out.Upstreams = append(r.out.Upstreams, u)
}

func (r *declReader) plugin(d dict, path []any, s *Service, rt *Route) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	p := &Plugin{ID: f.str("id", ""), Name: f.str("name", ""), Service: s, Route: rt}
	if p.Name == "" {
		r.say(append(slices.Clone(path), "name"), "required field missing")
		return
	}
	p.Service = orFound(r, f, "service", r.services, p.Service)
	p.Route = orFound(r, f, "route", r.routes, p.Route)
	if v, ok := d["consumer"]; ok && !isNull(v) {
		r.say(append(slices.Clone(path), "consumer"), "plugin %s: a plugin scoped to a consumer is not done here", p.Name)
	}
	enabled := f.boolean("enabled", true)
	p.Protocols = f.strings("protocols")
	f.skip("consumer", "config", "tags", "instance_name", "created_at", "updated_at")
	f.refuse("consumer_group", "ordering", "condition")
	f.rest()
	schema, reason := r.catalog.configSchema(p.Name)
	if schema == nil {
		r.say(append(slices.Clone(path), "name"), "%s", reason)
		return
	}
	r.pluginConfig(p, d, path, schema)
	key := p.Name
	for _, id := range []string{serviceID(p.Service), routeID(p.Route)} {
		key += ":" + id
	}
	if p.ID == "" {
		p.ID = entityUUID("plugins", key)
	}
	if r.seen["plugin\x00"+key] {
		r.say(path, "uniqueness violation: plugin %s is configured twice at the same place", p.Name)
	}
	r.seen["plugin\x00"+key] = true
	if enabled {
		r.out.Plugins = append(r.out.Plugins, p)
	}
}

func orFound[T any](r *declReader, f *fieldReader, key string, known map[string]*T, nested *T) *T {
	v, ok := f.d[key]
	if !ok || isNull(v) {
		f.skip(key)
		return nested
	}
	ref := f.ref(key)
	if known[ref] == nil {
		r.say(append(slices.Clone(f.path), key), "no %s %q in this file", key, ref)
	}
	return known[ref]
}

func (r *declReader) pluginConfig(p *Plugin, d dict, path []any, schema *pluginSchema) {
	p.schema = schema.Config
	cfg, present := d["config"]
	filled := schema.Config.fillDefaults(cfg, present && !isNull(cfg))
	switch problem := schema.Config.validate(filled).(type) {
	case nil:
		p.Config, _ = asDict(filled)
	default:
		r.tree(append(slices.Clone(path), "config"), problem)
	}
	errs := fieldErrors{}
	whole := &fieldSchema{Type: "record", Fields: []namedField{{"config", schema.Config}}}
	entity := dict{}
	maps.Copy(entity, d)
	entity["config"] = filled
	for _, c := range schema.EntityChecks {
		c.run(whole, entity, errs)
	}
	r.tree(path, errs)
}

// tree turns a validation's result into problems with their places.
func (r *declReader) tree(path []any, problem any) {
	switch x := problem.(type) {
	case nil:
	case string:
		r.say(path, "%s", x)
	case fieldErrors:
		for _, k := range sortedKeys(x) {
			r.tree(append(slices.Clone(path), k), x[k])
		}
	case []any:
		for i, e := range x {
			r.tree(append(slices.Clone(path), i), e)
		}
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
