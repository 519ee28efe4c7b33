package check

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// How Kong's ingress controller says which plugin is where.
// Source: Kong Ingress Controller's documentation, "Annotations" and "Custom
// resources".
const (
	pluginsAnnotation = "konghq.com/plugins"
	stripAnnotation   = "konghq.com/strip-path"
	globalLabel       = "global"
)

func isManifest(n *yaml.Node) bool {
	return find(n, "apiVersion").key != nil && find(n, "kind").key != nil
}

// manifest is one object of Kubernetes'.
type manifest struct {
	document
	kind, namespace, name string
}

func (m manifest) String() string { return m.kind + " " + m.namespace + "/" + m.name }

func (m manifest) annotation(name string) member {
	return find(in(m.root, "metadata", "annotations"), name)
}

// readManifests takes what the objects say of the gateway, all of them
// together: each may name others.
func (c *checker) readManifests(documents []document) {
	var all []manifest
	for _, d := range documents {
		for _, one := range append(items(in(d.root, "items")), d.root) {
			m := manifest{document{d.file, one}, text(in(one, "kind")), text(in(one, "metadata", "namespace")), text(in(one, "metadata", "name"))}
			if m.namespace == "" {
				m.namespace = "default"
			}
			all = append(all, m)
		}
	}
	k := &kubernetes{checker: c, plugins: map[string]*pluginEntity{}, services: map[string]*service{}}
	for _, m := range all {
		switch m.kind {
		case "KongPlugin", "KongClusterPlugin":
			k.plugin(m)
		}
	}
	for _, m := range all {
		if m.kind == "Service" {
			k.attach(m, func(p *pluginEntity) { p.services = append(p.services, k.service(m.namespace, m.name)) })
		}
	}
	for _, m := range all {
		switch m.kind {
		case "Ingress":
			k.ingress(m)
		case "HTTPRoute", "GRPCRoute":
			k.gatewayRoute(m)
		case "KongConsumer", "KongConsumerGroup":
			c.consumers = append(c.consumers, consumer{username: text(in(m.root, "username")), customID: text(in(m.root, "custom_id"))})
			k.attach(m, func(p *pluginEntity) { p.consumer = m.name })
		}
	}
	for _, m := range all {
		if p := k.plugins[keyOf(m.kind, m.namespace, m.name)]; p != nil && !k.global(m) {
			if p.unplaced = len(p.routes)+len(p.services) == 0 && p.consumer == ""; p.unplaced && p.ours() {
				c.notChecked(p, "", "no object in these files names it in "+pluginsAnnotation+", so which routes it is on isn't known")
			}
		}
	}
}

// kubernetes is what is known of the objects so far.
type kubernetes struct {
	*checker
	plugins  map[string]*pluginEntity
	services map[string]*service
}

func keyOf(kind, namespace, name string) string {
	if kind == "KongClusterPlugin" {
		namespace = ""
	}
	return namespace + "/" + name
}

func (k *kubernetes) global(m manifest) bool {
	return m.kind == "KongClusterPlugin" && text(in(m.root, "metadata", "labels", globalLabel)) == "true"
}

func (k *kubernetes) plugin(m manifest) {
	name := find(m.root, "plugin")
	if name.key == nil {
		return // the API server refuses it
	}
	p := &pluginEntity{name: text(name.value), file: m.file, node: m.root, nameNode: target(name.value), at: target(name.value)}
	if near := nearPlugin(p.name); near != "" {
		k.find(codePluginUnknown, placeOf(m.file, p.nameNode), m.String(), "plugin", "there is no plugin "+quote(p.name)+near, "")
		return
	}
	if text(in(m.root, "disabled")) == "true" {
		return
	}
	if config := find(m.root, "config"); config.key != nil {
		p.config, p.at = config.value, config.key
	}
	if from := find(m.root, "configFrom"); from.key != nil {
		p.opaque, p.at = true, from.key
		if p.ours() {
			k.notChecked(p, "", "its configuration is in a Secret (configFrom)")
		}
	}
	for _, patch := range items(in(m.root, "configPatches")) {
		path := strings.Split(strings.TrimPrefix(text(in(patch, "path")), "/"), "/")
		at := target(find(patch, "path").value)
		if at == nil {
			continue
		}
		p.config = graft(p.config, path, &yaml.Node{Kind: yaml.ScalarNode, Tag: unknownTag, Value: "a Secret", Line: at.Line, Column: at.Column})
	}
	k.plugins[keyOf(m.kind, m.namespace, m.name)] = p
	k.checker.plugins = append(k.checker.plugins, p)
}

// graft gives a configuration with a value set below it.
func graft(config *yaml.Node, path []string, value *yaml.Node) *yaml.Node {
	made := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: value.Line, Column: value.Column}
	below := value
	if len(path) > 1 {
		below = graft(find(config, path[0]).value, path[1:], value)
	}
	made.Content = []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[0], Line: value.Line, Column: value.Column}, below}
	for _, m := range members(config) {
		if m.key.Value == path[0] {
			made.Content[0] = m.key
		} else {
			made.Content = append(made.Content, m.key, m.value)
		}
	}
	return made
}

// attach puts the plugins that an object names where it is.
func (k *kubernetes) attach(m manifest, put func(*pluginEntity)) {
	annotation := m.annotation(pluginsAnnotation)
	for name := range strings.SplitSeq(text(annotation.value), ",") {
		if name = strings.TrimSpace(name); name != "" {
			k.attachNamed(m, name, annotation.value, "metadata.annotations."+pluginsAnnotation, put)
		}
	}
}

// attachNamed: the object's namespace counts before the cluster, and another
// namespace is named with a colon.
func (k *kubernetes) attachNamed(m manifest, name string, at *yaml.Node, field string, put func(*pluginEntity)) {
	namespace, local, elsewhere := strings.Cut(name, ":")
	if !elsewhere {
		namespace, local = m.namespace, name
	}
	for _, key := range []string{keyOf("KongPlugin", namespace, local), keyOf("KongClusterPlugin", "", local)} {
		if p := k.plugins[key]; p != nil {
			put(p)
			return
		}
	}
	k.find(codeReferenceUnknown, placeOf(m.file, at), m.String(), field, "there is no KongPlugin or KongClusterPlugin "+quote(name)+" in these files", "")
}

func (k *kubernetes) service(namespace, name string) *service {
	key := namespace + "/" + name
	if k.services[key] == nil {
		k.services[key] = &service{name: key}
		k.checker.services = append(k.checker.services, k.services[key])
	}
	return k.services[key]
}

// ingress makes one route of all rules that lead to one service.
func (k *kubernetes) ingress(m manifest) {
	paths := map[string][]string{}
	var order []string
	add := func(backend *yaml.Node, path string) {
		name := text(in(backend, "service", "name"))
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
		paths[name] = append(paths[name], strings.Replace(path, "/~", "~", 1))
	}
	if backend := in(m.root, "spec", "defaultBackend"); backend != nil {
		add(backend, "/")
	}
	for _, rule := range items(in(m.root, "spec", "rules")) {
		for _, p := range items(in(rule, "http", "paths")) {
			add(in(p, "backend"), text(in(p, "path")))
		}
	}
	for _, name := range order {
		r := k.route(m, m.String(), k.service(m.namespace, name))
		r.paths = paths[name]
		k.attach(m, func(p *pluginEntity) { p.routes = append(p.routes, r) })
	}
}

// gatewayRoute makes a route of each rule, which may have plugins of its own.
func (k *kubernetes) gatewayRoute(m manifest) {
	rules := items(in(m.root, "spec", "rules"))
	for i, rule := range rules {
		name := m.String()
		if len(rules) > 1 {
			name = fmt.Sprintf("%s rule %d", m, i+1)
		}
		var s *service
		if backends := items(in(rule, "backendRefs")); len(backends) > 0 {
			s = k.service(m.namespace, text(in(backends[0], "name")))
		}
		r := k.route(m, name, s)
		for _, match := range items(in(rule, "matches")) {
			path := text(in(match, "path", "value"))
			if text(in(match, "path", "type")) == "RegularExpression" {
				path = "~" + path
			}
			r.paths = append(r.paths, path)
			if method := in(match, "method"); method != nil {
				r.methods, r.methodsAt = append(r.methods, text(method)), method
			}
		}
		put := func(p *pluginEntity) { p.routes = append(p.routes, r) }
		k.attach(m, put)
		for _, filter := range items(in(rule, "filters")) {
			if ref := in(filter, "extensionRef"); text(in(ref, "kind")) == "KongPlugin" {
				k.attachNamed(m, text(in(ref, "name")), in(ref, "name"), "spec.rules.filters.extensionRef.name", put)
			}
		}
	}
}

func (k *kubernetes) route(m manifest, name string, s *service) *route {
	r := &route{name: name, file: m.file, node: m.root, service: s, stripPath: text(m.annotation(stripAnnotation).value) == "true"}
	k.routes = append(k.routes, r)
	return r
}
