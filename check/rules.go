package check

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// rules look at what the plugins are to each other, route by route. Each is
// one function, named after what it finds.
func (c *checker) rules() {
	c.repeatedPlugins()
	for _, p := range c.plugins {
		switch {
		case p.name == plugin.IdentityName && p.ofConsumer():
			c.findAt(p, codeIdentityOnConsumer, "who calls is known only after prefect-identity, so on a consumer it never runs", "")
		case p.name == plugin.IdentityName:
			c.anonymousConsumer(p)
		case p.name == plugin.TriggerName && p.everywhere():
			c.findAt(p, codeTriggerEverywhere, "every route of the gateway would start this deployment", "")
		case p.name == plugin.GuardName && p.everywhere():
			c.findAt(p, codeGuardEverywhere, "Prefect's credential would go to the upstream of every route", "")
		}
	}
	for _, r := range c.file.Routes {
		c.route(r)
	}
	c.sideDoors()
	if len(c.file.Routes) == 0 {
		c.withoutRoutes()
	}
}

// route looks at one route that our plugins concern.
func (c *checker) route(r *kongyml.Route) {
	id, trigger, guard := c.on(r, plugin.IdentityName), c.on(r, plugin.TriggerName), c.on(r, plugin.GuardName)
	for _, p := range []*pluginEntity{trigger, guard} {
		switch {
		case p == nil:
		case id == nil:
			c.identityMissing(p, r)
		default:
			c.rolesOf(p, id, r)
		}
	}
	if trigger != nil && guard != nil {
		c.findAt(guard, codeTriggerAndGuard, fmt.Sprintf("on route %s prefect-trigger runs as well, and answers every request", r.Name), "")
	}
	if id == nil && trigger == nil && guard == nil {
		return
	}
	c.ordering(r)
	c.otherAuthentications(r, id)
	c.functions(r, id)
	c.acl(r, id)
	c.limits(r, id)
	if trigger != nil {
		c.neverRun(r, trigger)
		c.triggerPath(r, trigger)
		c.methods(r, trigger)
	}
	if guard != nil {
		c.guardPath(r, guard)
		c.guardUpstream(r, guard)
	}
}

func (c *checker) identityMissing(p *pluginEntity, r *kongyml.Route) {
	c.findAt(p, codeIdentityMissing, fmt.Sprintf("no prefect-identity reaches route %s, so nobody can be told who calls", r.Name), "")
	if p.manifest {
		c.report.Findings[len(c.report.Findings)-1].Severity = Warning
	}
}

// withoutRoutes looks at a file that is a part: nothing is known of routes.
func (c *checker) withoutRoutes() {
	for _, p := range c.plugins {
		if id := c.only(plugin.IdentityName); id != nil && p.everywhere() && (p.name == plugin.TriggerName || p.name == plugin.GuardName) {
			c.rolesOf(p, id, nil)
		}
	}
}

// only is the one configuration of a plugin for every route.
func (c *checker) only(name string) *pluginEntity {
	for _, p := range c.plugins {
		if p.name == name && p.everywhere() {
			return p
		}
	}
	return nil
}

// repeatedPlugins finds two configurations of one plugin in one place.
func (c *checker) repeatedPlugins() {
	first := map[string]*pluginEntity{}
	for _, p := range c.plugins {
		if p.unplaced() || p.manifest {
			continue // which of two KongPlugins counts, the controller says
		}
		at := p.places[0]
		key := strings.Join([]string{fmt.Sprintf("%p %p", at.Route, at.Service), at.Consumer, p.name, node.Text(node.In(p.node, "instance_name"))}, "\x00")
		if before := first[key]; before != nil {
			c.findAt(p, codePluginRepeated, fmt.Sprintf("%s is there already, in line %d", p.entity(), before.nameNode.Line), "")
		} else {
			first[key] = p
		}
	}
}

func (c *checker) anonymousConsumer(id *pluginEntity) {
	name, _ := id.values["anonymous"].(string)
	if name == "" || id.reading.unknown["anonymous"] != "" || c.file.Partial {
		return
	}
	if !slices.ContainsFunc(c.file.Consumers, func(one kongyml.Consumer) bool { return one.Username == name || one.ID == name }) {
		c.findIn(id, codeConsumerUnknown, nil, "anonymous", "there is no consumer "+quote(name)+" in these files", "")
	}
}

// triggerPath compares the beginning of the route's paths with the trigger's.
func (c *checker) triggerPath(r *kongyml.Route, trigger *pluginEntity) {
	template, _ := trigger.values["path"].(string)
	if template == "" || len(r.Paths) == 0 || trigger.reading.unknown["path"] != "" {
		return
	}
	wanted := strings.Split(strings.Trim(template, "/"), "/")
	for _, path := range r.Paths {
		if strings.HasPrefix(path, "~") || beginsAlike(wanted, strings.Split(strings.Trim(path, "/"), "/")) {
			return
		}
	}
	c.findIn(trigger, codePathUnreachable, nil, "path",
		fmt.Sprintf("route %s has the paths %s, and no request below them is of the form %s", r.Name, strings.Join(r.Paths, ", "), template), "")
}

func beginsAlike(template, path []string) bool {
	for i, segment := range path {
		if i >= len(template) || segment == "" {
			return segment == ""
		}
		last := i == len(path)-1 // Kong compares characters, not segments
		isPart := strings.HasPrefix(template[i], "{")
		if !isPart && template[i] != segment && !(last && strings.HasPrefix(template[i], segment)) {
			return false
		}
	}
	return true
}

func (c *checker) methods(r *kongyml.Route, trigger *pluginEntity) {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, "POST") {
		c.find(codeMethodExcluded, placeOf(r.Position.File, cmp.Or(c.methodsAt[r], node.In(r.Position.Node, "methods"))), trigger.entity(), "methods",
			fmt.Sprintf("route %s lets only %s through, and runs are started by POST", r.Name, strings.Join(r.Methods, ", ")), "")
	}
}

// guardPath finds a route that takes /api away before the guard looks for it.
func (c *checker) guardPath(r *kongyml.Route, guard *pluginEntity) {
	api := apiPath(guard)
	if !r.StripPath || r.Service == nil || beginsWith(r.Service.Path, api) {
		return
	}
	for _, path := range r.Paths {
		if beginsWith(path, api) {
			at, why := node.Find(r.Position.Node, "strip_path").Value, "strip_path"
			if at == nil {
				at, why = cmp.Or(node.In(r.Position.Node, "paths"), r.Position.Node), "strip_path, which is on by default"
			}
			c.find(codePathStripped, placeOf(r.Position.File, at), guard.entity(), "strip_path",
				fmt.Sprintf("route %s takes %s away from the path (%s), and prefect-guard looks for %s", r.Name, path, why, api), "")
			return
		}
	}
}

func beginsWith(path, beginning string) bool {
	path, beginning = strings.TrimSuffix(path, "/"), strings.TrimSuffix(beginning, "/")
	return path == beginning || strings.HasPrefix(path, beginning+"/")
}

// guardUpstream compares where requests go with whom the guard asks.
func (c *checker) guardUpstream(r *kongyml.Route, guard *pluginEntity) {
	prefect, _ := guard.values["prefect"].(map[string]any)
	api, _ := prefect["api_url"].(string)
	u, err := url.Parse(api)
	if err != nil || u.Host == "" || strings.Contains(u.Host, unknownHost) || r.Service == nil || r.Service.Host == "" || strings.Contains(r.Service.Host, "{") {
		return
	}
	if host := withoutPort(r.Service.Host); !strings.EqualFold(host, u.Hostname()) {
		c.findIn(guard, codeUpstreamDiffers, nil, "prefect.api_url", fmt.Sprintf("the guard asks %s, and service %s sends requests to %s", u.Host, r.Service.Name, r.Service.Host), "")
	}
}

func withoutPort(host string) string {
	if u, err := url.Parse("//" + host); err == nil {
		return u.Hostname()
	}
	return host
}
