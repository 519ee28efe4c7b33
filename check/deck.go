package check

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// topLevel are the keys of a declarative file that people write. Kong's
// plugins may bring more, so only what is nearly one of these is wrong.
// Source: Kong's documentation, "DB-less mode", and decK's "File format".
var topLevel = []string{
	"_format_version", "_transform", "_comment", "_info", "_workspace", "_konnect", "_plugin_configs", "_ignore",
	"services", "routes", "plugins", "consumers", "consumer_groups", "upstreams", "targets", "certificates", "snis",
	"ca_certificates", "vaults", "keys", "key_sets", "partials", "acls", "keyauth_credentials", "jwt_secrets",
	"basicauth_credentials", "hmacauth_credentials", "oauth2_credentials", "filter_chains", "licenses",
}

// pluginFields are those of a plugin entity.
// Source: Kong's kong/db/schema/entities/plugins.lua, and decK's _config.
var pluginFields = []string{
	"id", "name", "instance_name", "enabled", "protocols", "tags", "config", "_config", "ordering", "partials", "condition",
	"route", "service", "consumer", "consumer_group", "created_at", "updated_at",
}

// deck reads one declarative document.
type deck struct {
	*checker
	document
	configs  *yaml.Node // decK's shared configurations
	defaults *yaml.Node // _info.defaults
	seen     map[string]bool
}

// readDeck takes what a declarative file says of the gateway.
func (c *checker) readDeck(d document) {
	r := &deck{c, d, in(d.root, "_plugin_configs"), in(d.root, "_info", "defaults"), map[string]bool{}}
	r.head()
	if r.partial = r.partial || in(d.root, "_info", "select_tags") != nil; target(d.root).Kind != yaml.MappingNode {
		return
	}
	for i, n := range items(in(d.root, "services")) {
		path := fmt.Sprintf("services[%d]", i+1)
		s := r.service(n, path)
		for j, n := range items(in(n, "routes")) {
			r.route(n, s, fmt.Sprintf("%s.routes[%d]", path, j+1))
		}
		for j, n := range items(in(n, "plugins")) {
			r.plugin(n, &pluginEntity{path: fmt.Sprintf("%s.plugins[%d]", path, j+1), services: []*service{s}})
		}
	}
	for i, n := range items(in(d.root, "routes")) {
		path := fmt.Sprintf("routes[%d]", i+1)
		r.route(n, r.serviceNamed(n, path), path)
	}
	r.people("consumers")
	r.people("consumer_groups")
	for i, n := range items(in(d.root, "plugins")) {
		r.flatPlugin(n, fmt.Sprintf("plugins[%d]", i+1))
	}
}

func (r *deck) head() {
	root := target(r.root)
	if root.Kind != yaml.MappingNode {
		r.find(codeFormat, placeOf(r.file, root), "", "", "this is no declarative configuration: a file of Kong's begins with _format_version", "")
		return
	}
	version := find(root, "_format_version")
	switch {
	case version.key == nil:
		r.find(codeFormat, placeOf(r.file, root), "", "_format_version", "_format_version is missing, and Kong takes no file without", "")
	case !slices.Contains([]string{"1.1", "2.1", "3.0"}, text(version.value)):
		r.find(codeFormat, placeOf(r.file, version.value), "", "_format_version", "Kong knows no format "+quote(text(version.value)), "")
	}
	for _, m := range members(root) {
		if near := didYouMean(m.key.Value, topLevel); near != "" && !slices.Contains(topLevel, m.key.Value) {
			r.find(codeFieldUnknown, placeOf(r.file, m.key), "", m.key.Value, "Kong has no "+quote(m.key.Value)+near, "")
		}
	}
}

func (r *deck) service(n *yaml.Node, path string) *service {
	s := &service{name: nameOf(n, path), file: r.file, node: n, host: text(in(n, "host")), path: text(in(n, "path"))}
	if u, err := url.Parse(text(in(n, "url"))); err == nil && u.Host != "" {
		s.host, s.path = u.Host, u.Path
	} else if port := text(in(n, "port")); s.host != "" && port != "" {
		s.host += ":" + port
	}
	r.unique("service", n, "name", path)
	r.services = append(r.services, s)
	return s
}

func (r *deck) route(n *yaml.Node, s *service, path string) {
	strip := text(in(n, "strip_path"))
	if strip == "" {
		strip = text(in(r.defaults, "route", "strip_path"))
	}
	made := &route{
		name: nameOf(n, path), file: r.file, node: n, service: s,
		paths: texts(in(n, "paths")), methods: texts(in(n, "methods")), methodsAt: in(n, "methods"), stripPath: strip != "false",
	}
	r.unique("route", n, "name", path)
	r.routes = append(r.routes, made)
	for j, n := range items(in(n, "plugins")) {
		r.plugin(n, &pluginEntity{path: fmt.Sprintf("%s.plugins[%d]", path, j+1), routes: []*route{made}})
	}
}

// people reads consumers, or groups of them, for their plugins and names.
func (r *deck) people(key string) {
	for i, n := range items(in(r.root, key)) {
		path := fmt.Sprintf("%s[%d]", key, i+1)
		one := consumer{username: text(in(n, "username")), id: text(in(n, "id")), customID: text(in(n, "custom_id"))}
		if key == "consumers" {
			r.consumers = append(r.consumers, one)
			r.unique("consumer", n, "username", path)
		}
		for j, n := range items(in(n, "plugins")) {
			r.plugin(n, &pluginEntity{path: fmt.Sprintf("%s.plugins[%d]", path, j+1), consumer: nameOf(n, path)})
		}
	}
}

// flatPlugin reads a plugin that says itself where it applies.
func (r *deck) flatPlugin(n *yaml.Node, path string) {
	p := &pluginEntity{path: path}
	if in(n, "service") != nil {
		if s := r.serviceNamed(n, path); s != nil {
			p.services = []*service{s}
		}
		p.unplaced = len(p.services) == 0
	}
	if name := referenced(in(n, "route")); name != "" {
		for _, candidate := range r.routes {
			if candidate.name == name || text(in(candidate.node, "id")) == name {
				p.routes = []*route{candidate}
			}
		}
		if p.unplaced = p.unplaced || len(p.routes) == 0; len(p.routes) == 0 {
			r.missing("route", name, n, path)
		}
	}
	for _, key := range []string{"consumer", "consumer_group"} {
		if name := referenced(in(n, key)); name != "" {
			p.consumer = name
		}
	}
	r.plugin(n, p)
}

func (r *deck) serviceNamed(n *yaml.Node, path string) *service {
	name := referenced(in(n, "service"))
	if name == "" {
		return nil
	}
	for _, s := range r.services {
		if s.name == name || text(in(s.node, "id")) == name {
			return s
		}
	}
	r.missing("service", name, n, path)
	return nil
}

func (r *deck) missing(kind, name string, n *yaml.Node, path string) {
	if r.partial {
		return // decK finds it among what is in Kong already
	}
	r.find(codeReferenceUnknown, placeOf(r.file, find(n, kind).key), "", path+"."+kind, "there is no "+kind+" "+quote(name)+" in these files", "")
}

// referenced is the name or id in a reference, which may be a record.
func referenced(n *yaml.Node) string {
	for _, key := range []string{"name", "id", "username"} {
		if name := text(in(n, key)); name != "" {
			return name
		}
	}
	return text(n)
}

func (r *deck) unique(kind string, n *yaml.Node, key, path string) {
	name := text(in(n, key))
	if name == "" {
		return
	}
	if r.seen[kind+name] {
		r.find(codeNameRepeated, placeOf(r.file, in(n, key)), "", path+"."+key, "there is another "+kind+" with the name "+quote(name), "")
	}
	r.seen[kind+name] = true
}

func nameOf(n *yaml.Node, path string) string {
	for _, key := range []string{"name", "username", "id"} {
		if name := text(in(n, key)); name != "" {
			return name
		}
	}
	return path
}

// plugin takes one plugin, of ours or another's.
func (r *deck) plugin(n *yaml.Node, p *pluginEntity) {
	name := find(n, "name")
	if name.key == nil || text(in(n, "enabled")) == "false" {
		return // Kong refuses what has no name; what is off, it doesn't run
	}
	p.name, p.file, p.node, p.nameNode, p.at = text(name.value), r.file, n, target(name.value), target(name.value)
	if near := nearPlugin(p.name); near != "" {
		r.find(codePluginUnknown, placeOf(r.file, p.nameNode), "", p.path+".name", "there is no plugin "+quote(p.name)+near, "")
		return
	}
	if m := find(n, "config"); m.key != nil {
		p.config, p.at = m.value, m.key
	}
	if shared := in(r.configs, text(in(n, "_config"))); shared != nil {
		p.config = overlay(p.config, shared)
	}
	if p.ours() {
		r.entityFields(n, p)
	}
	r.plugins = append(r.plugins, p)
}

func (r *deck) entityFields(n *yaml.Node, p *pluginEntity) {
	for _, m := range members(n) {
		if !slices.Contains(pluginFields, m.key.Value) {
			r.find(codeFieldUnknown, placeOf(r.file, m.key), p.entity(), p.path+"."+m.key.Value,
				"a plugin has no field "+quote(m.key.Value)+didYouMean(m.key.Value, append([]string{"config"}, pluginFields...)),
				"The plugin's own settings stand below config.")
		}
	}
	known := r.schemas[p.name].field("protocols").Elements.OneOf
	for i, protocol := range items(in(n, "protocols")) {
		if !slices.Contains(known, text(protocol)) {
			r.find(codeValueNotAllowed, placeOf(r.file, protocol), p.entity(), fmt.Sprintf("%s.protocols[%d]", p.path, i+1),
				quote(text(protocol))+" is none of "+strings.Join(known, ", "), "")
		}
	}
}

// nearPlugin recognizes a misspelled name of ours.
func nearPlugin(name string) string {
	if slices.Contains(plugin.Names(), name) {
		return ""
	}
	if strings.HasPrefix(name, "prefect") {
		if near := didYouMean(strings.ReplaceAll(name, "_", "-"), plugin.Names()); near != "" {
			return near
		}
		return "; there are " + strings.Join(plugin.Names(), ", ")
	}
	return didYouMean(name, plugin.Names())
}

// overlay is a configuration with what a shared one has beside it.
func overlay(own, shared *yaml.Node) *yaml.Node {
	made := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if n := target(own); n != nil {
		made.Line, made.Column = n.Line, n.Column
	}
	list := members(own)
	for _, m := range members(shared) {
		if find(own, m.key.Value).key == nil {
			list = append(list, m)
		}
	}
	for _, m := range list {
		made.Content = append(made.Content, m.key, m.value)
	}
	return made
}
