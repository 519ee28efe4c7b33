package plugin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token"
)

// use is what a configuration is for, and what it lets whom do.
type use struct {
	object string
	rights []audit.Right
}

// inUse puts on record that a configuration is used now, and the policy in it.
func (p *Process) inUse(plugin, digest string, next any) {
	if p.Audit == nil {
		return
	}
	e := audit.Event{Type: audit.ConfigurationChanged, Plugin: plugin, ConfigDigest: digest}
	h, works := next.(interface{ use() use })
	if !works {
		e.Detail = "it can't work: its routes refuse every request"
		p.Audit.InUse(e)
		return
	}
	u := h.use()
	e.Object = u.object
	p.Audit.InUse(e)
	rights, err := json.Marshal(u.rights)
	if err != nil {
		panic(err) // three texts each
	}
	e.Type, e.Rights, e.ConfigDigest = audit.PolicyChanged, u.rights, audit.DigestOf(rights)
	p.Audit.InUse(e)
}

// keysChanged puts on record which keys an issuer has now.
func (p *Process) keysChanged(c token.KeyChange) {
	if p.Audit != nil {
		p.Audit.InUse(audit.Event{Type: audit.KeysChanged, Plugin: IdentityName, Object: c.Source, ConfigDigest: c.Digest, Detail: keysDetail(c.Keys, c.KeyIDs)})
	}
}

// gatewaysOwn is the object of changes of the gateway's own keys.
const gatewaysOwn = "the gateway's own keys"

// AuditOwnKeys puts on record which keys the gateway signs with, now and
// whenever they change.
func (p *Process) AuditOwnKeys() {
	log := p.Audit
	p.Signing.OnChange(func(s *signing.KeySet) {
		log.InUse(audit.Event{Type: audit.KeysChanged, Object: gatewaysOwn, ConfigDigest: s.Digest(), Detail: keysDetail(len(s.IDs()), s.IDs())})
	})
}

// maxNamedKeys bounds what an issuer can write into a record.
const maxNamedKeys = 16

func keysDetail(n int, ids []string) string {
	var named []string
	for _, id := range ids[:min(len(ids), maxNamedKeys)] {
		named = append(named, fmt.Sprintf("%q", id[:min(len(id), 100)]))
	}
	text := "now " + strings.Join(named, ", ")
	switch more := n - len(named); {
	case len(named) == 0:
		text = fmt.Sprintf("now %d without an id", n)
	case more > 0:
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// publicDigest names a configuration without its secrets: by the digest of
// all of it a weak one could be guessed.
func publicDigest(data []byte, config reflect.Type) string {
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return audit.DigestOf(nil)
	}
	dropSecrets(fields, config)
	public, err := json.Marshal(fields)
	if err != nil {
		panic(err) // it was JSON
	}
	return audit.DigestOf(public)
}

func dropSecrets(record map[string]any, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("json")
		if slices.ContainsFunc(validators(f), func(v validator) bool { return v.name == "encrypted" }) {
			delete(record, name)
			continue
		}
		below := f.Type
		if below.Kind() == reflect.Pointer || below.Kind() == reflect.Slice {
			below = below.Elem()
		}
		if below.Kind() != reflect.Struct {
			continue
		}
		items, isList := record[name].([]any)
		if !isList {
			items = []any{record[name]}
		}
		for _, item := range items {
			if r, ok := item.(map[string]any); ok {
				dropSecrets(r, below)
			}
		}
	}
}

func (h *identity) use() use {
	u := use{}
	var issuers []string
	for _, is := range h.config.Issuers {
		issuers = append(issuers, is.Issuer)
	}
	u.object = strings.Join(issuers, " ")
	for _, g := range h.config.Roles {
		var all, claims []string
		for _, list := range []struct {
			what   string
			values []string
		}{{"client", g.Clients}, {"group", g.Groups}, {"scope", g.Scopes}, {"subject", g.Subjects}} {
			for _, v := range list.values {
				all = append(all, list.what+" "+v)
			}
		}
		for _, c := range g.Claims {
			claims = append(claims, c.Claim+" is "+strings.Join(c.Values, " or "))
		}
		who := strings.Join(all, ", ")
		if who == "" {
			who = "every caller"
		}
		if len(g.Issuers) > 0 {
			who += " of " + strings.Join(g.Issuers, ", ")
		}
		u.rights = append(u.rights, audit.Right{Who: who, May: "has the role " + g.Role, When: also(strings.Join(claims, " and "), g.Condition)})
	}
	return u
}

// also joins two conditions, either of which may be empty.
func also(one, other string) string {
	if one != "" && other != "" {
		return one + " and " + other
	}
	return one + other
}

func (h *trigger) use() use {
	c := h.config
	var deployments []string
	for _, d := range c.Deployments {
		deployments = append(deployments, d.Deployment)
	}
	if c.Deployment != "" {
		deployments = append(deployments, c.Deployment)
	}
	deployments = append(deployments, c.Choose...)
	u := use{object: strings.Join(deployments, " ")}
	may := "run " + strings.Join(deployments, ", ")
	for _, role := range c.AllowRoles {
		u.rights = append(u.rights, audit.Right{Who: "role " + role, May: may})
	}
	for _, a := range c.Allow {
		who := "everybody known"
		if len(a.Roles) > 0 {
			who = "role " + strings.Join(a.Roles, " or ")
		}
		u.rights = append(u.rights, audit.Right{Who: who, May: may + " by the rule " + a.Name, When: a.When})
	}
	return u
}

func (h *guarded) use() use {
	u := use{object: h.apiURL}
	for _, g := range h.guard.Grants() {
		u.rights = append(u.rights, audit.Right{Who: "role " + g.Role, May: strings.Join(g.Permissions, ", "), When: limitText(g.Limit)})
	}
	return u
}

func limitText(l guard.Limit) string {
	var all []string
	for _, list := range []struct {
		what  string
		globs []string
	}{{"deployment", l.Deployments}, {"flow", l.Flows}, {"tag", l.Tags}, {"work pool", l.WorkPools}} {
		if len(list.globs) > 0 {
			all = append(all, list.what+" is "+strings.Join(list.globs, " or "))
		}
	}
	return strings.Join(all, " and ")
}
