package check

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// sideDoors finds routes by which requests reach Prefect's API past
// prefect-guard: with Kong in front, who guards one route and not another has
// guarded nothing.
func (c *checker) sideDoors() {
	for _, r := range c.file.Routes {
		if r.Service == nil || c.on(r, plugin.GuardName) != nil || c.on(r, plugin.TriggerName) != nil {
			continue
		}
		ours, guarded := c.inFrontOf(r.Service)
		if ours == nil {
			continue
		}
		if request := throughTo(r, apiPath(ours), guarded); request != "" {
			at := cmp.Or(node.In(r.Position.Node, "paths"), r.Position.Node)
			c.find(codeUnguarded, placeOf(r.Position.File, at), "route "+r.Name, "paths",
				fmt.Sprintf("route %s leads to the server of %s, and prefect-guard doesn't run on it: %s reaches Prefect's API", r.Name, ours.entity(), request), "")
		}
	}
}

// inFrontOf is a guard or a trigger of ours that calls the same server, and the
// paths of all routes that are guarded there. A service of a guarded route is
// Prefect, wherever it is.
func (c *checker) inFrontOf(s *kongyml.Service) (ours *pluginEntity, guarded []string) {
	for _, r := range c.file.Routes {
		if p := c.on(r, plugin.TriggerName); p != nil && ours == nil && sameServer(s.Host, apiOf(p)) {
			ours = p
		}
		p := c.on(r, plugin.GuardName)
		if p == nil || r.Service == nil || r.Service != s && !sameServer(s.Host, r.Service.Host) && !sameServer(s.Host, apiOf(p)) {
			continue
		}
		ours = p
		guarded = append(guarded, r.Paths...)
	}
	return ours, guarded
}

// apiPath is where Prefect's API is on its server.
func apiPath(p *pluginEntity) string {
	path, _ := p.values["api_path"].(string)
	return cmp.Or(path, "/api")
}

// apiOf is the host of Prefect's API, with its port; empty: not known.
func apiOf(p *pluginEntity) string {
	prefect, _ := p.values["prefect"].(map[string]any)
	api, _ := prefect["api_url"].(string)
	if u, err := url.Parse(api); err == nil && !strings.Contains(u.Host, unknownHost) {
		return u.Host
	}
	return ""
}

// sameServer compares hosts, and ports where both have one.
func sameServer(a, b string) bool {
	if a == "" || b == "" || !strings.EqualFold(withoutPort(a), withoutPort(b)) {
		return false
	}
	_, portA, okA := strings.Cut(a, ":")
	_, portB, okB := strings.Cut(b, ":")
	return !okA || !okB || portA == portB
}

// throughTo is a request by which a route without a guard leads to the API;
// empty: none is seen. Expressions are left to who wrote them.
func throughTo(r *kongyml.Route, api string, guarded []string) string {
	paths := r.Paths
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	upstream := strings.TrimSuffix(r.Service.Path, "/")
	for _, path := range paths {
		switch {
		case strings.HasPrefix(path, "~"):
		case r.StripPath && strings.Trim(path, "/") != "":
			// What follows the route's path is what the server gets.
			if upstream == "" {
				return strings.TrimSuffix(path, "/") + api
			} else if beginsWith(upstream, api) {
				return path
			}
		case upstream != "":
			if beginsWith(upstream, api) {
				return path
			}
		// Prefect decodes the path: %2f is a slash to it, and none to Kong.
		case strings.HasPrefix(api+"/", path) || strings.HasPrefix(path, api+"/"):
			for _, request := range []string{api + "/", api + "%2f"} {
				if beginning := longest(guarded, request); len(beginning) <= len(path) && (strings.HasPrefix(request, path) || strings.HasPrefix(path, request)) {
					return strings.TrimSuffix(max(path, request), "/")
				}
			}
		}
	}
	return ""
}

// longest is the longest of the plain paths with which a request begins. Kong
// compares characters, not segments.
func longest(paths []string, request string) (best string) {
	for _, path := range paths {
		if strings.HasPrefix(request, path) && len(path) > len(best) {
			best = path
		}
	}
	return best
}
