package policy

import (
	"maps"
	"slices"
)

// Offer is what callers can send to start a run: all that a route and its
// deployment leave to them, and nothing that the route sets itself.
type Offer struct {
	// Inputs come by query, path or header; none comes twice.
	Inputs []Input
	// Body is the schema of the body, an object; nil: no member is taken.
	Body map[string]any
	// Definitions are those that the schemas refer to, by their names.
	Definitions map[string]any
}

// Input is one value of a request.
type Input struct {
	Name     string // in its place
	From     Source // query, capture or header
	Required bool
	Schema   map[string]any
	// JSON says that a list or an object is written as JSON. A list in the
	// query is not: it comes several times.
	JSON bool
}

// definitionsAt is where an offer's schemas expect its definitions, in an
// OpenAPI document (OpenAPI 3.1, section 4.8.7).
const definitionsAt = "#/components/schemas/"

// Offer says what a route leaves to its callers. defaults are the
// deployment's: what has one needn't be sent.
func (b *Bindings) Offer(schema *ParameterSchema, defaults map[string]any, runFields []string) Offer {
	o := offering{schema: schema, defaults: defaults, refs: newReferences(schema.document)}
	properties, required := map[string]any{}, []string{}
	open := len(b.list) == 0 && schema.open
	member := func(name, parameter, routeDefault string) {
		properties[name] = both(properties[name], o.property(parameter, routeDefault))
		if o.required(parameter, routeDefault) && !slices.Contains(required, name) {
			required = append(required, name)
		}
	}
	if len(b.list) == 0 {
		for _, name := range slices.Sorted(maps.Keys(schema.declared)) {
			member(name, name, "")
		}
	}
	for _, p := range b.list {
		switch {
		case p.From == FromClaim || p.From == FromFixed || !schema.declared[p.Name] && !schema.open:
		case p.From == FromBody:
			member(p.Path, p.Name, p.Default)
		default:
			o.input(p)
		}
	}
	for _, name := range runFields {
		properties[name] = fieldSchemas[name]
		required = slices.DeleteFunc(required, func(r string) bool { return r == name })
	}
	if len(properties) > 0 || open {
		o.Body = map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
		if open {
			o.Body["additionalProperties"] = o.refs.rewrite(schema.document["additionalProperties"])
		}
		if len(required) > 0 {
			o.Body["required"] = required
		}
	}
	o.Definitions = o.refs.used
	return o.Offer
}

// fieldSchemas are the schemas of [RunFields], as [ReadFields] reads them.
var fieldSchemas = map[string]any{
	"name":            map[string]any{"type": "string", "minLength": 1, "maxLength": maxFieldBytes, "description": "The run's name."},
	"work_queue_name": map[string]any{"type": "string", "minLength": 1, "maxLength": maxFieldBytes, "description": "The work queue of the run."},
	"job_variables":   map[string]any{"type": "object", "description": "What the run's infrastructure is set up with."},
	"tags": map[string]any{
		"type": "array", "maxItems": maxTagsOfCaller, "description": "Tags of the run.",
		"items": map[string]any{"type": "string", "minLength": 1, "maxLength": maxFieldBytes},
	},
	"labels": map[string]any{
		"type": "object", "maxProperties": maxLabelsOfCaller, "description": "Labels of the run.",
		"additionalProperties": map[string]any{"type": []string{"string", "number", "boolean"}},
	},
}

// offering is an offer in the making.
type offering struct {
	Offer
	schema   *ParameterSchema
	defaults map[string]any
	refs     *references
}

// property is a parameter's schema. The flow's default stands in it only while
// it counts, and the deployment's own values are shown to nobody.
func (o *offering) property(parameter, routeDefault string) map[string]any {
	all, _ := o.schema.document["properties"].(map[string]any)
	shown, _ := o.refs.rewrite(all[parameter]).(map[string]any)
	if shown == nil {
		shown = map[string]any{}
	}
	_, overridden := o.defaults[parameter]
	switch {
	case routeDefault != "":
		shown["default"] = o.schema.Typed(parameter, routeDefault)
	case overridden:
		delete(shown, "default")
	}
	return shown
}

func (o *offering) required(parameter, routeDefault string) bool {
	list, _ := o.schema.document["required"].([]any)
	_, hasDefault := o.defaults[parameter]
	return routeDefault == "" && !hasDefault && slices.Contains(list, any(parameter))
}

// input adds a value that comes by query, path or header. Two parameters may
// come from one.
func (o *offering) input(p Binding) {
	types := typesOf(o.schema.property(p.Name), 0)
	text := len(types) == 0 || slices.Contains(types, "string")
	made := Input{
		Name: p.Path, From: p.From, Schema: o.property(p.Name, p.Default),
		Required: p.From == FromCapture || o.required(p.Name, p.Default),
		JSON:     !text && (slices.Contains(types, "object") || slices.Contains(types, "array") && p.From != FromQuery),
	}
	for i, other := range o.Inputs {
		if other.Name == made.Name && other.From == made.From {
			made.Schema, made.Required = both(other.Schema, made.Schema), made.Required || other.Required
			o.Inputs[i] = made
			return
		}
	}
	o.Inputs = append(o.Inputs, made)
}

// both is the schema of a value that must fit two.
func both(before any, schema map[string]any) map[string]any {
	if before == nil {
		return schema
	}
	return map[string]any{"allOf": []any{before, schema}}
}
