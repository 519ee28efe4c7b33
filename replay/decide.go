package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/token"
)

// gateway is a configuration that can decide.
type gateway struct {
	file   *kongyml.File
	rights map[*kongyml.Plugin]plugin.Rights
	// said is each configuration as far as it decides, as JSON.
	said map[*kongyml.Plugin]string
}

func newGateway(f *kongyml.File, env func(string) (string, bool)) (*gateway, error) {
	g := &gateway{file: f, rights: map[*kongyml.Plugin]plugin.Rights{}, said: map[*kongyml.Plugin]string{}}
	for _, r := range f.Routes {
		for _, p := range f.PluginsOf(r) {
			if _, known := g.said[p]; known || !slices.Contains(plugin.Names(), p.Name) {
				continue
			}
			if err := g.add(p, env); err != nil {
				return nil, fmt.Errorf("%s of %s: %w", p.Name, p.Where(), err)
			}
		}
	}
	return g, nil
}

// decidesNothing are fields in which two configurations may differ and still
// let the same callers do the same.
var decidesNothing = []string{"prefect", "stamp", "audit", "wait", "durable", "headers", "assertion", "realm", "resource", "team", "business_function"}

func (g *gateway) add(p *kongyml.Plugin, env func(string) (string, bool)) error {
	config, missing := kongyml.Resolve(p.Config, env)
	for _, m := range missing {
		if p.Name == plugin.IdentityName {
			return fmt.Errorf("%s", m)
		}
		// Where Prefect is, and how to sign in there, decides nothing.
		if prefect, ok := config["prefect"].(map[string]any); ok {
			prefect["api_url"] = "http://prefect.invalid/api"
		}
	}
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if g.rights[p], err = plugin.RightsOf(p.Name, data); err != nil {
		return err
	}
	deciding := maps.Clone(config)
	for _, name := range decidesNothing {
		delete(deciding, name)
	}
	if data, err = json.Marshal(deciding); err != nil {
		return err
	}
	g.said[p] = string(data)
	return nil
}

type verdict int

const (
	refused verdict = iota
	permitted
	undecidable
)

// decision is what a configuration says of a record.
type decision struct {
	answer  verdict
	why     string
	instead string // another deployment than before
}

func (d decision) text() string {
	switch {
	case d.answer == permitted && d.instead != "":
		return "allowed, and starts " + d.instead
	case d.answer == permitted:
		return "allowed"
	case d.answer == refused:
		return "refused, " + d.why
	}
	return "undecidable: " + d.why
}

// deciders are the plugins that decide on a record; why says why there are
// none.
func (g *gateway) deciders(r audit.Record) (identity, function *kongyml.Plugin, why *decision) {
	route, why := g.routeOf(r)
	if why != nil {
		return nil, nil, why
	}
	for _, p := range g.file.PluginsOf(route) {
		switch p.Name {
		case plugin.IdentityName:
			identity = p
		case r.Plugin:
			function = p
		}
	}
	if identity == nil {
		return nil, nil, &decision{answer: refused, why: plugin.CodeIdentityMissing}
	}
	return identity, function, nil
}

// routeOf finds the route that a record's request takes now: by its path, or
// else as the only one that can start its deployment, or guards its server.
func (g *gateway) routeOf(r audit.Record) (*kongyml.Route, *decision) {
	var fits []*kongyml.Route
	certain := true
	for _, route := range g.file.Routes {
		certain = certain && len(route.Unknown)+len(route.Hosts)+len(route.Headers) == 0
		for _, p := range g.file.PluginsOf(route) {
			rights := g.rights[p]
			if p.Name == r.Plugin && (p.Name == plugin.GuardName || r.Deployment == "" || rights.Offers(r.Deployment)) {
				fits = append(fits, route)
			}
		}
	}
	if r.Plugin == plugin.TriggerName && r.Path != "" {
		method := r.Method
		if method == "" {
			method = http.MethodPost
		}
		found, err := g.file.Find(kongyml.Request{Method: method, Path: r.Path})
		if err == nil && found.Route != nil && g.has(found.Route, r.Plugin) {
			return found.Route, nil
		}
		if err == nil && certain {
			return nil, &decision{answer: refused, why: "no route of the new configuration starts a run there"}
		}
	}
	if r.Plugin == plugin.GuardName {
		if same := slices.DeleteFunc(slices.Clone(fits), func(route *kongyml.Route) bool { return !g.serves(route, r.Prefect) }); len(same) > 0 {
			fits = same
		}
	}
	switch {
	case len(fits) == 1:
		return fits[0], nil
	case len(fits) == 0 && certain:
		return nil, &decision{answer: refused, why: "no route of the new configuration is for it"}
	}
	return nil, &decision{answer: undecidable, why: "which route it would take isn't known"}
}

func (g *gateway) has(r *kongyml.Route, name string) bool {
	return slices.ContainsFunc(g.file.PluginsOf(r), func(p *kongyml.Plugin) bool { return p.Name == name })
}

func (g *gateway) serves(r *kongyml.Route, server string) bool {
	return slices.ContainsFunc(g.file.PluginsOf(r), func(p *kongyml.Plugin) bool { return p.Name == plugin.GuardName && g.rights[p].Server == server })
}

// saysTheSame tells whether two configurations have the same to say about a
// request, word for word.
func (g *gateway) saysTheSame(other *gateway, r audit.Record) bool {
	identity, function, why := g.deciders(r)
	theirIdentity, theirFunction, theirWhy := other.deciders(r)
	return why == nil && theirWhy == nil && g.said[identity] == other.said[theirIdentity] && g.said[function] == other.said[theirFunction]
}

func (g *gateway) decide(r audit.Record) decision {
	identity, function, why := g.deciders(r)
	if why != nil {
		return *why
	}
	who := g.rights[identity]
	if !slices.Contains(who.Issuers, r.Caller.Issuer) {
		return decision{answer: refused, why: token.ReasonIssuer}
	}
	id := claims.Identity{Subject: r.Caller.Subject, Issuer: r.Caller.Issuer, Kind: r.Caller.Kind, Client: r.Caller.Client}
	if r.Basis != nil {
		id.Groups, id.Scopes = r.Basis.Groups, r.Basis.Scopes
	}
	sure, maybe := who.Grants.Likely(id, r.Basis == nil)
	lacks := "a condition or a claim decides that isn't on record"
	switch {
	case r.Basis == nil:
		lacks = "the caller's groups and scopes aren't on record"
	case r.Basis.ParentRequestID != "":
		// The rights of the run that asks narrow the caller's.
		sure, maybe = nil, append(maybe, sure...)
		lacks = "a run asks, and its rights aren't on record"
	}
	if r.Plugin == plugin.GuardName {
		return atGuard(g.rights[function], permissionOf(r), sure, maybe, lacks)
	}
	return atTrigger(g.rights[function], r.Deployment, sure, maybe, lacks)
}

func atTrigger(rights plugin.Rights, deployment string, sure, maybe []string, lacks string) decision {
	d := decision{}
	switch rights.Policy.Foretell(sure, maybe) {
	case policy.Yes:
		d.answer = permitted
	case policy.Maybe:
		return decision{answer: undecidable, why: lacks}
	default:
		return decision{answer: refused, why: plugin.CodeRoleNotAllowed}
	}
	switch {
	case deployment == "" || rights.Offers(deployment):
	case rights.Deployment != "":
		d.instead = rights.Deployment
	default:
		return decision{answer: refused, why: plugin.CodeDeploymentNotOffered}
	}
	return d
}

func atGuard(rights plugin.Rights, permission string, sure, maybe []string, lacks string) decision {
	d := decision{answer: refused, why: "permission_missing"}
	for _, grant := range rights.GuardGrants {
		if !slices.Contains(grant.Permissions, permission) {
			continue
		}
		l := grant.Limit
		limited := len(l.Deployments)+len(l.Flows)+len(l.Tags)+len(l.WorkPools) > 0
		switch {
		case slices.Contains(sure, grant.Role) && !limited:
			return decision{answer: permitted}
		case slices.Contains(sure, grant.Role):
			d = decision{answer: undecidable, why: fmt.Sprintf("the role %s is limited, and whether this is within isn't on record", grant.Role)}
		case slices.Contains(maybe, grant.Role) && d.answer == refused:
			d = decision{answer: undecidable, why: lacks}
		}
	}
	return d
}
