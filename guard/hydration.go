package guard

import (
	"fmt"
	"slices"
	"strings"
)

// hydration is the key by which Prefect's server turns a value into something
// else: it renders templates and reads variables for the caller.
const hydration = "__prefect_kind"

// variableKind is the kind that becomes a variable's value, which seeVariables
// is the permission for.
const (
	variableKind = "workspace_variable"
	seeVariables = "see_variables"
)

// refuseHydration refuses what the server would turn into something that the
// caller can't read otherwise. "json" and "none" give the value itself; the
// web pages send them.
func (c *check) refuseHydration(v any, at string) error {
	switch v := v.(type) {
	case map[string]any:
		if kind, there := v[hydration]; there {
			if err := c.refuseKind(kind, v, at); err != nil {
				return err
			}
		}
		for name, below := range v {
			if err := c.refuseHydration(below, at+"/"+escapePointer(name)); err != nil {
				return err
			}
		}
	case []any:
		for i, below := range v {
			if err := c.refuseHydration(below, fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) refuseKind(kind any, v map[string]any, at string) error {
	switch kind {
	case "none":
		return nil
	case "json":
		if s, ok := v["value"].(string); ok && strings.Contains(s, hydration) {
			return field(at+"/value", "JSON in here may not hold %q", hydration)
		}
		return nil
	case variableKind:
		if c.has(seeVariables) {
			return nil
		}
		return fieldNeeds(at+"/"+hydration, seeVariables, "the server would read a variable for you")
	}
	return field(at+"/"+hydration, "the server would make another value of this")
}

// hydrates tells whether the server would change anything in a value.
func hydrates(v any) bool { return anyKind(v, func(any) bool { return true }) }

// readsVariable tells whether the server would read a variable into a value.
func readsVariable(v any) bool {
	return anyKind(v, func(kind any) bool { return kind == variableKind })
}

// anyKind tells whether one of the kinds in a value, at any depth, is such.
func anyKind(v any, such func(kind any) bool) bool {
	switch v := v.(type) {
	case map[string]any:
		if kind, there := v[hydration]; there && such(kind) {
			return true
		}
		for _, below := range v {
			if anyKind(below, such) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return anyKind(item, such) })
	}
	return false
}
