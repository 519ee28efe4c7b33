package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrFit is the class of what [Bindings.Fit] finds.
var ErrFit = errors.New("parameters don't fit the deployment")

// Misfit is a parameter of a route with which no run of the deployment could
// be started.
type Misfit struct {
	// Field is the configuration's: parameters[2].value.
	Field string
	Text  string
}

// Fit compares a route's parameters with a deployment's schema and defaults,
// before any request comes: names that the flow doesn't have, fixed values and
// defaults that the schema refuses, and what the flow demands and nothing
// gives. Routes that take the body as it is have nothing to compare.
func (b *Bindings) Fit(schema *ParameterSchema, defaults map[string]any) (misfits []Misfit) {
	if len(b.list) == 0 {
		return nil
	}
	say := func(field, format string, args ...any) {
		misfits = append(misfits, Misfit{field, fmt.Sprintf(format, args...)})
	}
	for i, p := range b.list {
		at := fmt.Sprintf("parameters[%d].", i+1)
		if !schema.Declares(p.Name) && !schema.open {
			say(at+"name", "the flow has no parameter %q; it has %s", p.Name, listOr(slices.Sorted(maps.Keys(schema.declared)), "none"))
			continue
		}
		for field, text := range map[string]string{"value": p.Value, "default": p.Default} {
			if text == "" {
				continue
			}
			for _, why := range schema.refuses(p.Name, text) {
				say(at+field, "the flow's parameter %q %s", p.Name, why)
			}
		}
	}
	for _, name := range schema.required() {
		if _, bound := b.byName[name]; !bound && defaults[name] == nil {
			say("parameters", "the flow demands %q, which no parameter of the route gives, and the deployment has no default for it", name)
		}
	}
	return misfits
}

// Fit finds conditions about parameters that the flow doesn't have: their rules
// allow nothing.
func (p *Policy) Fit(schema *ParameterSchema) (misfits []Misfit) {
	for i, r := range p.rules[p.byRoles:] {
		if r.when == nil {
			continue
		}
		for _, name := range r.when.fieldsOf("parameters") {
			if !schema.Declares(name) && !schema.open {
				misfits = append(misfits, Misfit{fmt.Sprintf("allow[%d].when", i+1), fmt.Sprintf("the flow has no parameter %q for the condition to ask about", name)})
			}
		}
	}
	return misfits
}

// refuses says what the schema has against one parameter's value.
func (s *ParameterSchema) refuses(name, text string) (why []string) {
	at := "/" + escapePointer(name)
	for _, v := range s.Check(map[string]any{name: s.Typed(name, text)}) {
		if v.Pointer == at || strings.HasPrefix(v.Pointer, at+"/") {
			why = append(why, strings.TrimPrefix(v.Pointer, at)+"can't be this: "+v.Detail)
		}
	}
	return why
}

func (s *ParameterSchema) required() []string {
	if s.schema == nil {
		return nil
	}
	return s.schema.Required
}

func listOr(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
