package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// facts is a stage in the making: what is empty is left out.
type facts []Fact

func (f *facts) add(name string, value any) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	case map[string]any:
		if len(v) == 0 {
			return
		}
	}
	*f = append(*f, Fact{name, value})
}

func (x *explaining) stage(name string, f facts) {
	if len(f) > 0 {
		x.done.Stages = append(x.done.Stages, Stage{name, f})
	}
}

func (x *explaining) tellRoute(applies map[string]*kongyml.Plugin) {
	var f facts
	f.add("route", x.match.Route.Name)
	f.add("by path", x.match.By)
	if s := x.match.Route.Service; s != nil {
		f.add("service", s.Name)
	}
	for _, name := range order {
		if p := applies[name]; p != nil {
			f.add(name, "as configured for "+p.Where())
		}
	}
	if applies[plugin.IdentityName] == nil {
		f.add(plugin.IdentityName, "is not there: nobody establishes who calls")
	}
	x.stage("route", f)
}

// tell makes the stages of what the plugins noted, and the verdict.
func (x *explaining) tell(answered string) {
	x.tellToken()
	x.tellIdentity()
	switch {
	case x.way.Operation != nil || answered == plugin.GuardName:
		x.tellGuard()
	case answered == plugin.TriggerName:
		x.tellTrigger()
	}
	if answered == "" {
		x.tellUpstream()
	}
	x.done.Verdict = x.verdict(answered)
}

func (x *explaining) tellToken() {
	var f facts
	if !x.way.Token.IsZero() {
		f.add("found in", x.way.Source)
		f.add("signed", x.signature())
		f.add("issuer", x.way.Token.Issuer())
		f.add("for", x.way.Token.Audiences())
		f.add("good until", x.way.Token.Expiry().UTC().Format(time.RFC3339))
		f.add("bound", map[bool]string{true: "to its holder's key, which was proved"}[x.way.Token.Bound()])
		f.add("claims", x.way.Token.Claims())
		x.stage("token", f)
		return
	}
	said, ok := x.said()
	if !ok {
		return
	}
	f.add("found in", x.way.Source)
	f.add("says of its key", said.header)
	f.add("says, not verified", said.claims)
	x.stage("token", f)
}

func (x *explaining) signature() string {
	if x.way.Token.Opaque() {
		return "not at all: its issuer was asked about it"
	}
	said, ok := x.said()
	if !ok {
		return ""
	}
	if said.keyID == "" {
		return "by " + said.algorithm + " with a key without an id"
	}
	return fmt.Sprintf("by %s with the key %q", said.algorithm, said.keyID)
}

func (x *explaining) tellIdentity() {
	c := x.way.Caller
	if c.Identity.Subject == "" {
		return
	}
	var f facts
	f.add("subject", c.Identity.Subject)
	f.add("issuer", c.Identity.Issuer)
	f.add("kind", string(c.Identity.Kind))
	f.add("username", c.Identity.Username)
	f.add("name", c.Identity.Name)
	f.add("email", c.Identity.Email)
	f.add("client", c.Identity.Client)
	f.add("groups", c.Identity.Groups)
	f.add("scopes", c.Identity.Scopes)
	for _, a := range c.Identity.Actors {
		f.add("acting for it", strings.TrimSpace(a.Subject+" "+a.Client))
	}
	f.add("attributes", c.Identity.Attributes)
	f.add("consumer", x.way.Consumer)
	x.stage("identity", f)

	var roles facts
	for _, g := range x.way.Given {
		roles.add(g.Role, fmt.Sprintf("by roles[%d]", g.Grant))
	}
	if len(x.way.Given) == 0 {
		roles.add("none", "no entry of roles fits")
	}
	if p := x.way.Parent; p != nil {
		roles.add("asked for by a run", p.DeploymentID)
		roles.add("left in its chain", x.way.Roles)
	}
	x.stage("roles", roles)
}

func (x *explaining) tellTrigger() {
	var d facts
	d.add("deployment", x.way.Deployment)
	if found := x.way.Found; found != nil {
		d.add("id", found.ID.String())
		d.add("tags", found.Tags)
		d.add("work pool", found.WorkPool)
		if found.Paused {
			d.add("paused", true)
		}
	} else if x.way.Deployment != "" {
		d.add("in Prefect", map[bool]string{true: "not asked", false: "not found out"}[x.Offline])
	}
	d.add("parameters", x.way.Parameters)
	x.stage("deployment", d)

	var rules facts
	for _, w := range x.way.Rules {
		says := "its roles aren't the caller's"
		switch {
		case w.HasRole && w.Failed != nil:
			says = "its condition can't be decided: " + w.Failed.Error()
		case w.HasRole && !w.Holds:
			says = "its condition doesn't hold: " + w.When
		case w.HasRole:
			says = "allows"
		}
		if w.Name == x.way.Rule {
			says += ", and decides"
		}
		rules.add(w.Name, says)
	}
	x.stage("rules", rules)

	if s := x.way.Stamp; s != nil {
		var f facts
		f.add("rule", s.Rule)
		f.add("roles", s.Roles)
		f.add("good until", s.ExpiresAt.UTC().Format(time.RFC3339))
		if s.CreatedBy != nil {
			f.add("created by", s.CreatedBy.DisplayValue)
		}
		x.stage("stamp", f)
	}
}

func (x *explaining) tellGuard() {
	route := x.way.Operation
	if route == nil {
		return
	}
	var f facts
	f.add("operation", route.Method+" "+route.Path)
	f.add("permission", route.Permission)
	f.add("roles that count", x.way.GuardRoles)
	f.add("body", map[bool]string{true: "is read, by the rule " + route.Body, false: "decides nothing"}[route.Body != ""])
	for _, l := range x.way.Limits {
		data, err := json.Marshal(l)
		if err == nil {
			f.add("limited to", string(data))
		}
	}
	x.stage("operation", f)
}

// tellUpstream is what the service would be sent in addition.
func (x *explaining) tellUpstream() {
	var f facts
	for _, h := range x.kong.Headers {
		sent := x.headerValues(h.Name)
		switch {
		case slices.Equal(sent, h.Values):
		case slices.Contains([]string{"authorization"}, h.Name) || strings.HasSuffix(h.Name, "-assertion"):
			f.add("sets "+h.Name, "(not shown)")
		default:
			f.add("sets "+h.Name, strings.Join(h.Values, ", "))
		}
	}
	for name := range x.Headers {
		if !slices.ContainsFunc(x.kong.Headers, func(h pluginserver.Header) bool { return strings.EqualFold(h.Name, name) }) {
			f.add("takes away", strings.ToLower(name))
		}
	}
	x.stage("upstream", f)
}

func (x *explaining) headerValues(name string) []string {
	for n, values := range x.Headers {
		if strings.EqualFold(n, name) {
			return values
		}
	}
	return nil
}
