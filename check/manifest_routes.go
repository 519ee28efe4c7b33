package check

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
)

// ingress makes one route of all rules that lead to one service.
func (k *kubernetes) ingress(m manifest) {
	paths := map[string][]string{}
	var order []string
	add := func(backend *yaml.Node, path string) {
		name := node.Text(node.In(backend, "service", "name"))
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
		paths[name] = append(paths[name], strings.Replace(path, "/~", "~", 1))
	}
	if backend := node.In(m.Root, "spec", "defaultBackend"); backend != nil {
		add(backend, "/")
	}
	for _, rule := range node.Items(node.In(m.Root, "spec", "rules")) {
		for _, p := range node.Items(node.In(rule, "http", "paths")) {
			add(node.In(p, "backend"), node.Text(node.In(p, "path")))
		}
	}
	for _, name := range order {
		r := k.route(m, m.String(), k.service(m.namespace, name))
		r.Paths = paths[name]
		k.attach(m, kongyml.Plugin{Route: r})
	}
}

// gatewayRoute makes a route of each rule, which may have plugins of its own.
func (k *kubernetes) gatewayRoute(m manifest) {
	rules := node.Items(node.In(m.Root, "spec", "rules"))
	for i, rule := range rules {
		name := m.String()
		if len(rules) > 1 {
			name = fmt.Sprintf("%s rule %d", m, i+1)
		}
		var s *kongyml.Service
		if backends := node.Items(node.In(rule, "backendRefs")); len(backends) > 0 {
			s = k.service(m.namespace, node.Text(node.In(backends[0], "name")))
		}
		r := k.route(m, name, s)
		for _, match := range node.Items(node.In(rule, "matches")) {
			path := node.Text(node.In(match, "path", "value"))
			if node.Text(node.In(match, "path", "type")) == "RegularExpression" {
				path = "~" + path
			}
			r.Paths = append(r.Paths, path)
			if method := node.In(match, "method"); method != nil {
				r.Methods, k.methodsAt[r] = append(r.Methods, node.Text(method)), method
			}
		}
		at := kongyml.Plugin{Route: r}
		k.attach(m, at)
		for _, filter := range node.Items(node.In(rule, "filters")) {
			if ref := node.In(filter, "extensionRef"); node.Text(node.In(ref, "kind")) == "KongPlugin" {
				k.attachNamed(m, node.Text(node.In(ref, "name")), node.In(ref, "name"), "spec.rules.filters.extensionRef.name", at)
			}
		}
	}
}

func (k *kubernetes) route(m manifest, name string, s *kongyml.Service) *kongyml.Route {
	r := &kongyml.Route{Name: name, Position: kongyml.Position{File: m.File, Node: m.Root}, Service: s, StripPath: node.Text(m.annotation(stripAnnotation).Value) == "true"}
	k.file.Routes = append(k.file.Routes, r)
	return r
}
