package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// authentications are Kong's plugins that say who calls, each with whether it
// reads the Authorization header, where a request has one token.
var authentications = map[string]bool{
	"jwt": true, "oauth2": true, "oauth2-introspection": true, "basic-auth": true, "hmac-auth": true, "ldap-auth": true,
	"ldap-auth-advanced": true, "openid-connect": true, "jwt-signer": true,
	"key-auth": false, "key-auth-enc": false, "mtls-auth": false, "session": false, "vault-auth": false, "header-cert-auth": false, "saml": false,
}

// afterTrigger are Kong's plugins that do their work on a request later than
// prefect-trigger, which has answered it by then.
// Source: the priorities in Kong's documentation, "Plugin execution order".
var afterTrigger = []string{
	"azure-functions", "proxy-cache", "proxy-cache-advanced", "graphql-proxy-cache-advanced", "forward-proxy", "canary",
	"route-by-header", "mocking", "request-termination", "post-function", "upstream-timeout", "websocket-size-limit",
}

// limiters count requests, by consumer unless they are told otherwise.
var limiters = []string{"rate-limiting", "response-ratelimiting", "rate-limiting-advanced"}

func (c *checker) ordering(r *kongyml.Route) {
	for _, p := range c.runningOn(r) {
		m := node.Find(p.node, "ordering")
		if m.Key == nil || !p.ours() && !slices.ContainsFunc(plugin.Names(), func(ours string) bool { return mentions(p, ours) }) {
			continue
		}
		c.find(codeOrdering, placeOf(p.file, m.Key), p.entity(), p.path+".ordering", "an order of its own is set for "+p.name, "")
	}
}

// mentions tells whether a plugin's ordering names another.
func mentions(p *pluginEntity, name string) bool {
	for _, side := range []string{"before", "after"} {
		if slices.Contains(node.Texts(node.In(p.node, "ordering", side, "access")), name) {
			return true
		}
	}
	return false
}

func (c *checker) otherAuthentications(r *kongyml.Route, id *pluginEntity) {
	if id == nil {
		return
	}
	elsewhere := id.values["token_header"] != nil || id.values["token_cookie"] != nil
	for _, p := range c.runningOn(r) {
		readsHeader, authenticates := authentications[p.name]
		if !authenticates || node.In(p.config, "anonymous") != nil {
			continue
		}
		what := fmt.Sprintf("on route %s a caller must satisfy %s and prefect-identity", r.Name, p.name)
		if readsHeader && !elsewhere {
			what += ", and both read the Authorization header"
		}
		c.findAt(p, codeTwoAuthentications, what, "")
	}
}

var exits = regexp.MustCompile(`response\s*\.\s*(exit|error)|ngx\s*\.\s*(exit|redirect|say|print)`)

// functions looks into Lua that runs before everything else.
func (c *checker) functions(r *kongyml.Route, id *pluginEntity) {
	p := c.on(r, "pre-function")
	if p == nil || id == nil {
		return
	}
	for _, phase := range []string{"rewrite", "access"} {
		for _, code := range node.Items(node.In(p.config, phase)) {
			if exits.MatchString(node.Text(code)) {
				c.find(codeAnswersFirst, placeOf(p.file, node.Target(code)), p.entity(), p.path+".config."+phase,
					fmt.Sprintf("on route %s this code may answer before prefect-identity has looked at the caller", r.Name), "")
			}
		}
	}
}

// acl compares what acl allows with the groups that prefect-identity leaves.
func (c *checker) acl(r *kongyml.Route, id *pluginEntity) {
	p := c.on(r, "acl")
	if p == nil || id == nil || id.opaque || p.opaque || c.consumersOfKong(id) {
		return
	}
	allow := node.In(p.config, "allow")
	if allow == nil {
		return
	}
	source, _ := id.values["authenticated_groups"].(string)
	say := func(format string, args ...any) {
		c.find(codeACLGroups, placeOf(p.file, node.Find(p.config, "allow").Key), p.entity(), p.path+".config.allow", fmt.Sprintf(format, args...), "")
	}
	switch source {
	case "none":
		say("acl wants a group, and prefect-identity gives none (authenticated_groups: none)")
	case "", "roles":
		given, sure := rolesGiven(id)
		allowed := node.Texts(allow)
		if sure && !slices.ContainsFunc(allowed, func(group string) bool { return slices.Contains(given, group) }) {
			say("acl allows %s, and prefect-identity gives %s", strings.Join(allowed, ", "), orNone(given))
		}
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no roles"
	}
	return strings.Join(names, ", ")
}

// consumersOfKong tells whether any caller may be one of Kong's consumers.
func (c *checker) consumersOfKong(id *pluginEntity) bool {
	return c.anyMode(id, func(mode string) bool { return mode == "kong" })
}

func (c *checker) anyMode(id *pluginEntity, is func(string) bool) bool {
	return slices.ContainsFunc(records(id.values["issuers"]), func(issuer map[string]any) bool {
		consumer, _ := issuer["consumer"].(map[string]any)
		mode, _ := consumer["mode"].(string)
		return is(mode)
	})
}

// limits finds those that count by a consumer that nobody is.
func (c *checker) limits(r *kongyml.Route, id *pluginEntity) {
	if id == nil || id.opaque || c.anyMode(id, func(mode string) bool { return mode != "none" }) || len(records(id.values["issuers"])) == 0 {
		return
	}
	for _, name := range limiters {
		p := c.on(r, name)
		if p == nil || p.opaque {
			continue
		}
		by := node.Find(p.config, "limit_by")
		if by.Key == nil {
			by = node.Find(p.config, "identifier")
		}
		if kind := node.Text(by.Value); kind == "" || kind == "consumer" || kind == "credential" {
			at := p.nameNode
			if by.Key != nil {
				at = node.Target(by.Value)
			}
			c.find(codeCountsNobody, placeOf(p.file, at), p.entity(), p.path+".config.limit_by",
				fmt.Sprintf("%s counts by consumer on route %s, and consumer.mode none makes nobody one", name, r.Name), "")
		}
	}
}

func (c *checker) neverRun(r *kongyml.Route, trigger *pluginEntity) {
	for _, name := range afterTrigger {
		p := c.on(r, name)
		if p == nil || p.everywhere() {
			continue // what is there for all routes does its work on others
		}
		if name == "post-function" && node.In(p.config, "access") == nil {
			continue
		}
		c.findAt(p, codeNeverRuns, fmt.Sprintf("on route %s prefect-trigger has answered before %s does anything", r.Name, name), "")
	}
}
