package policy

import (
	"maps"
	"strings"
)

// references carries parts of one schema into another document: what they
// refer to goes along.
type references struct {
	known map[string]any // the definitions there are
	used  map[string]any // those that something referred to, rewritten
}

func newReferences(document map[string]any) *references {
	r := &references{known: map[string]any{}, used: map[string]any{}}
	for _, place := range definitionPlaces {
		definitions, _ := document[place].(map[string]any)
		maps.Copy(r.known, definitions)
	}
	return r
}

// definitionPlaces are where JSON Schema, and Prefect, keep definitions.
var definitionPlaces = []string{"$defs", "definitions"}

// Keywords of JSON Schema 2020-12 by what is below them. Below all others is
// data (const, default, enum, examples), where a "$ref" is a value.
var (
	schemaKeywords = map[string]bool{
		"items": true, "contains": true, "additionalProperties": true, "propertyNames": true, "not": true, "if": true, "then": true,
		"else": true, "unevaluatedItems": true, "unevaluatedProperties": true,
		"allOf": true, "anyOf": true, "oneOf": true, "prefixItems": true, // lists of schemas
	}
	schemasByName = map[string]bool{"properties": true, "patternProperties": true, "dependentSchemas": true, "$defs": true, "definitions": true}
)

// rewrite copies a schema; its references lead to [definitionsAt].
func (r *references) rewrite(schema any) any {
	switch schema := schema.(type) {
	case []any:
		list := make([]any, len(schema))
		for i, item := range schema {
			list[i] = r.rewrite(item)
		}
		return list
	case map[string]any:
		copied := make(map[string]any, len(schema))
		for keyword, below := range schema {
			named, isMap := below.(map[string]any)
			switch {
			case keyword == "$ref":
				if target, ok := r.follow(below); ok {
					copied[keyword] = target
				}
			case keyword == "discriminator":
				// It names definitions by their old place; oneOf is enough.
			case schemaKeywords[keyword]:
				copied[keyword] = r.rewrite(below)
			case schemasByName[keyword] && isMap:
				all := make(map[string]any, len(named))
				for name, one := range named {
					all[name] = r.rewrite(one)
				}
				copied[keyword] = all
			default:
				copied[keyword] = below
			}
		}
		return copied
	}
	return schema
}

// follow takes a definition along. A reference to anything else is left out:
// the schema then says less, and nothing wrong.
func (r *references) follow(ref any) (string, bool) {
	text, _ := ref.(string)
	for _, place := range definitionPlaces {
		rest, ok := strings.CutPrefix(text, "#/"+place+"/")
		name, _, _ := strings.Cut(rest, "/")
		definition, known := r.known[name]
		if !ok || !known {
			continue
		}
		if _, taken := r.used[name]; !taken {
			r.used[name] = nil // it may refer to itself
			r.used[name] = r.rewrite(definition)
		}
		return definitionsAt + rest, true
	}
	return "", false
}
