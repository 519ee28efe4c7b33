package check

import (
	"cmp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
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
	return node.Find(n, "apiVersion").Key != nil && node.Find(n, "kind").Key != nil
}

// manifest is one object of Kubernetes'.
type manifest struct {
	kongyml.Document
	kind, namespace, name string
}

func (m manifest) String() string { return m.kind + " " + m.namespace + "/" + m.name }

func (m manifest) annotation(name string) node.Member {
	return node.Find(node.In(m.Root, "metadata", "annotations"), name)
}

// readManifests takes what the objects say of the gateway, all of them
// together: each may name others.
func (c *checker) readManifests(documents []kongyml.Document) {
	var all []manifest
	for _, d := range documents {
		for _, one := range append(node.Items(node.In(d.Root, "items")), d.Root) {
			all = append(all, manifest{
				Document:  kongyml.Document{File: d.File, Root: one},
				kind:      node.Text(node.In(one, "kind")),
				namespace: cmp.Or(node.Text(node.In(one, "metadata", "namespace")), "default"),
				name:      node.Text(node.In(one, "metadata", "name")),
			})
		}
	}
	k := &kubernetes{checker: c, plugins: map[string]*pluginEntity{}, services: map[string]*kongyml.Service{}}
	for _, m := range all {
		switch m.kind {
		case "KongPlugin", "KongClusterPlugin":
			k.plugin(m)
		}
	}
	for _, m := range all {
		if m.kind == "Service" {
			k.attach(m, kongyml.Plugin{Service: k.service(m.namespace, m.name)})
		}
	}
	for _, m := range all {
		switch m.kind {
		case "Ingress":
			k.ingress(m)
		case "HTTPRoute", "GRPCRoute":
			k.gatewayRoute(m)
		case "KongConsumer", "KongConsumerGroup":
			c.file.Consumers = append(c.file.Consumers, kongyml.Consumer{Username: node.Text(node.In(m.Root, "username")), CustomID: node.Text(node.In(m.Root, "custom_id"))})
			k.attach(m, kongyml.Plugin{Consumer: m.name})
		}
	}
	for _, p := range c.plugins {
		if !p.manifest || !p.ours() {
			continue
		}
		if p.opaque {
			c.notChecked(p, "", "its configuration is in a Secret (configFrom)")
		}
		if p.unplaced() {
			c.notChecked(p, "", "no object in these files names it in "+pluginsAnnotation+", so which routes it is on isn't known")
		}
	}
}

// kubernetes is what is known of the objects so far.
type kubernetes struct {
	*checker
	plugins  map[string]*pluginEntity
	services map[string]*kongyml.Service
}

func keyOf(kind, namespace, name string) string {
	if kind == "KongClusterPlugin" {
		namespace = ""
	}
	return namespace + "/" + name
}

func (k *kubernetes) global(m manifest) bool {
	return m.kind == "KongClusterPlugin" && node.Text(node.In(m.Root, "metadata", "labels", globalLabel)) == "true"
}

func (k *kubernetes) plugin(m manifest) {
	name := node.Find(m.Root, "plugin")
	if name.Key == nil {
		return // the API server refuses it
	}
	p := &pluginEntity{name: node.Text(name.Value), file: m.File, manifest: true, node: m.Root, nameNode: node.Target(name.Value), at: node.Target(name.Value)}
	if near := nearPlugin(p.name); near != "" {
		k.find(codePluginUnknown, placeOf(m.File, p.nameNode), m.String(), "plugin", "there is no plugin "+quote(p.name)+near, "")
		return
	}
	if node.Text(node.In(m.Root, "disabled")) == "true" {
		return
	}
	if config := node.Find(m.Root, "config"); config.Key != nil {
		p.config, p.at = config.Value, config.Key
	}
	if from := node.Find(m.Root, "configFrom"); from.Key != nil {
		p.opaque, p.at = true, from.Key
	}
	for _, patch := range node.Items(node.In(m.Root, "configPatches")) {
		path := strings.Split(strings.TrimPrefix(node.Text(node.In(patch, "path")), "/"), "/")
		at := node.Target(node.Find(patch, "path").Value)
		if at == nil {
			continue
		}
		p.config = graft(p.config, path, &yaml.Node{Kind: yaml.ScalarNode, Tag: unknownTag, Value: "a Secret", Line: at.Line, Column: at.Column})
	}
	k.plugins[keyOf(m.kind, m.namespace, m.name)] = p
	k.add(p)
	if k.global(m) {
		k.put(p, kongyml.Plugin{})
	}
}

// put gives a plugin one more place.
func (k *kubernetes) put(p *pluginEntity, at kongyml.Plugin) {
	at.Name = p.name
	p.places = append(p.places, &at)
	k.whose[&at] = p
	k.file.Plugins = append(k.file.Plugins, &at)
}

// graft gives a configuration with a value set below it.
func graft(config *yaml.Node, path []string, value *yaml.Node) *yaml.Node {
	made := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: value.Line, Column: value.Column}
	below := value
	if len(path) > 1 {
		below = graft(node.Find(config, path[0]).Value, path[1:], value)
	}
	made.Content = []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[0], Line: value.Line, Column: value.Column}, below}
	for _, m := range node.Members(config) {
		if m.Key.Value == path[0] {
			made.Content[0] = m.Key
		} else {
			made.Content = append(made.Content, m.Key, m.Value)
		}
	}
	return made
}

// attach puts the plugins that an object names where it is.
func (k *kubernetes) attach(m manifest, at kongyml.Plugin) {
	annotation := m.annotation(pluginsAnnotation)
	for name := range strings.SplitSeq(node.Text(annotation.Value), ",") {
		if name = strings.TrimSpace(name); name != "" {
			k.attachNamed(m, name, annotation.Value, "metadata.annotations."+pluginsAnnotation, at)
		}
	}
}

// attachNamed: the object's namespace counts before the cluster, and another
// namespace is named with a colon.
func (k *kubernetes) attachNamed(m manifest, name string, named *yaml.Node, field string, at kongyml.Plugin) {
	namespace, local, elsewhere := strings.Cut(name, ":")
	if !elsewhere {
		namespace, local = m.namespace, name
	}
	for _, key := range []string{keyOf("KongPlugin", namespace, local), keyOf("KongClusterPlugin", "", local)} {
		if p := k.plugins[key]; p != nil {
			k.put(p, at)
			return
		}
	}
	k.find(codeReferenceUnknown, placeOf(m.File, named), m.String(), field, "there is no KongPlugin or KongClusterPlugin "+quote(name)+" in these files", "")
}

func (k *kubernetes) service(namespace, name string) *kongyml.Service {
	key := namespace + "/" + name
	if k.services[key] == nil {
		k.services[key] = &kongyml.Service{Name: key}
		k.file.Services = append(k.file.Services, k.services[key])
	}
	return k.services[key]
}
