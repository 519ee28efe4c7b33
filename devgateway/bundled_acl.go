package devgateway

import (
	"slices"
	"strings"
)

const aclSchema = `"fields":[{"config":{"type":"record","fields":[
 {"allow":{"type":"array","elements":{"type":"string"}}},
 {"deny":{"type":"array","elements":{"type":"string"}}},
 {"hide_groups_header":{"type":"boolean","required":true,"default":false}},
 {"always_use_authenticated_groups":{"type":"boolean","required":true,"default":false}}]}}],
 "entity_checks":[{"only_one_of":["config.allow","config.deny"]},{"at_least_one_of":["config.allow","config.deny"]}]`

const aclRefused = "You cannot consume this service"

// acl believes the groups in ctx.shared only where there is no consumer, or a
// consumer without a credential, or where it is told to.
func acl(x *exchange, p *Plugin) {
	id, hasID := consumerID(x)
	groups, fromShared := []string(nil), true
	var ok bool
	if !hasID {
		if groups, ok = sharedGroups(x); !ok {
			x.aclRefuse()
			return
		}
	} else {
		if x.credential == nil || p.Config["always_use_authenticated_groups"] == true {
			groups, ok = sharedGroups(x)
		}
		if !ok {
			fromShared = false
			if id == "" {
				x.crash() // Kong's database refuses an empty id
				return
			}
			groups = x.conf.groupsOf(id)
			if groups == nil && isEmpty(p.Config["deny"]) {
				x.aclRefuse()
				return
			}
		}
	}
	if !aclAllows(p.Config, groups) {
		x.errorAnswer(403, aclRefused, nil)
		return
	}
	if p.Config["hide_groups_header"] != true {
		name := "X-Authenticated-Groups"
		if !fromShared {
			name = "X-Consumer-Groups"
		}
		value := strings.Join(groups, ", ")
		if value == "" {
			value = " "
		}
		x.headers.set(name, escapeHeaderValue(value))
	}
}

func (x *exchange) aclRefuse() {
	if x.credential != nil {
		x.errorAnswer(403, aclRefused, nil)
		return
	}
	x.errorAnswer(401, "", nil)
}

func aclAllows(config dict, groups []string) bool {
	deny, _ := config["deny"].(list)
	allow, _ := config["allow"].(list)
	in := func(l list) bool {
		return slices.ContainsFunc(l, func(g any) bool { s, _ := g.(string); return slices.Contains(groups, s) })
	}
	if len(deny) > 0 {
		return !in(deny)
	}
	return in(allow)
}

func consumerID(x *exchange) (string, bool) {
	if id, ok := x.consumer["id"].(string); ok {
		return id, true
	}
	id, ok := x.credential["consumer_id"].(string)
	return id, ok
}

// sharedGroups reads a list of strings; a struct is a table too, with no
// elements.
func sharedGroups(x *exchange) ([]string, bool) {
	v := x.shared["authenticated_groups"]
	switch v.(type) {
	case list, dict:
	default:
		v = x.ngxCtx["authenticated_groups"]
	}
	switch l := v.(type) {
	case dict:
		return nil, true
	case list:
		var out []string
		for _, e := range l {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out, true
	}
	return nil, false
}

func (g *generation) groupsOf(consumer string) []string {
	for _, c := range g.decl.Consumers {
		if c.ID == consumer {
			return c.Groups
		}
	}
	return nil
}
