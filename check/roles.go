package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// rolesOf compares the roles that a trigger or guard lets in with those that
// the identity configuration of the route gives.
func (c *checker) rolesOf(p, id *pluginEntity, r *kongyml.Route) {
	if p.opaque || id.opaque {
		return
	}
	given, sure := rolesGiven(id)
	if !sure {
		return
	}
	wanted, anybody := rolesWanted(p)
	var nobody []wantedRole
	for _, w := range wanted {
		if !slices.Contains(given, w.role) {
			nobody = append(nobody, w)
		}
	}
	has := "prefect-identity gives no roles"
	if len(given) > 0 {
		has = "prefect-identity gives " + strings.Join(given, ", ")
	}
	if len(wanted) > 0 && len(nobody) == len(wanted) && !anybody {
		where := "the plugin"
		if r != nil {
			where = "route " + r.Name
		}
		c.findIn(p, codeRoleNobody, nil, nobody[0].field, fmt.Sprintf("nobody has %s, so %s refuses everybody; %s%s", listed(nobody), where, has, near(nobody, given)), "")
		return
	}
	for _, w := range nobody {
		if w.field != "" {
			c.findIn(p, codeRoleUnknown, nil, w.field, fmt.Sprintf("nobody has the role %s; %s%s", quote(w.role), has, didYouMean(w.role, given)), "")
		}
	}
}

func near(nobody []wantedRole, given []string) string {
	if len(nobody) != 1 {
		return ""
	}
	return didYouMean(nobody[0].role, given)
}

func listed(nobody []wantedRole) string {
	names := make([]string, len(nobody))
	for i, w := range nobody {
		names[i] = quote(w.role)
	}
	if len(names) == 1 {
		return "the role " + names[0]
	}
	return "one of the roles " + strings.Join(names, ", ")
}

// rolesGiven are the roles of an identity configuration. sure is false where
// one of them isn't known.
func rolesGiven(id *pluginEntity) (given []string, sure bool) {
	for i, grant := range records(id.values["roles"]) {
		if field := fmt.Sprintf("roles[%d].role", i+1); id.reading.unknown[field] != "" || slices.Contains(id.reading.replaced, field) {
			return nil, false
		}
		if role, _ := grant["role"].(string); !slices.Contains(given, role) {
			given = append(given, role)
		}
	}
	return given, !slices.Contains(id.reading.replaced, "roles")
}

// wantedRole is a role that is let in, and the field that says so; empty: the
// plugin's own default.
type wantedRole struct{ role, field string }

// rolesWanted are those that a trigger or a guard lets in. anybody: others may
// pass as well.
func rolesWanted(p *pluginEntity) (wanted []wantedRole, anybody bool) {
	for _, field := range []string{"allow_roles", "allow", "see_all_roles", "cancel_all_roles", "grants"} {
		if touches(p.reading.replaced, field) {
			return nil, true
		}
	}
	want := func(value any, path string) {
		for i, role := range anyList(value) {
			if field := fmt.Sprintf("%s[%d]", path, i+1); p.reading.unknown[field] == "" {
				text, _ := role.(string)
				wanted = append(wanted, wantedRole{text, field})
			} else {
				anybody = true
			}
		}
	}
	if p.name == plugin.TriggerName {
		for _, field := range []string{"allow_roles", "see_all_roles", "cancel_all_roles"} {
			want(p.values[field], field)
		}
		for i, rule := range records(p.values["allow"]) {
			want(rule["roles"], fmt.Sprintf("allow[%d].roles", i+1))
			anybody = anybody || len(anyList(rule["roles"])) == 0
		}
		return wanted, anybody
	}
	grants := records(p.values["grants"])
	for i, grant := range grants {
		role, _ := grant["role"].(string)
		wanted = append(wanted, wantedRole{role, fmt.Sprintf("grants[%d].role", i+1)})
	}
	if len(grants) == 0 {
		for _, role := range guard.BuiltinRoles() {
			wanted = append(wanted, wantedRole{role, ""})
		}
	}
	return wanted, anybody
}

func records(v any) (list []map[string]any) {
	for _, item := range anyList(v) {
		if record, ok := item.(map[string]any); ok {
			list = append(list, record)
		}
	}
	return list
}

func anyList(v any) []any {
	list, _ := v.([]any)
	return list
}
