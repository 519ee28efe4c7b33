package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Declares tells whether the flow names this parameter.
func (s *ParameterSchema) Declares(name string) bool { return s.declared[name] }

// Typed makes a parameter's value of a text, as a query, a header or a path
// holds it: a number, a bool, a list or an object where the schema wants one
// and the text is one, the text itself otherwise, for [ParameterSchema.Check]
// to refuse where it doesn't fit. A parameter that may be a text stays a text.
func (s *ParameterSchema) Typed(name, text string) any {
	return typed(typesOf(s.property(name), 0), text)
}

// TypedList makes a list's items of texts. ok is false where the parameter is
// no list.
func (s *ParameterSchema) TypedList(name string, texts []string) (list []any, ok bool) {
	lists := listsOf(s.property(name), 0)
	if len(lists) == 0 {
		return nil, false
	}
	items := lists[0].Items2020
	if old, isSchema := lists[0].Items.(*jsonschema.Schema); isSchema && items == nil {
		items = old
	}
	types := typesOf(items, 0)
	list = make([]any, len(texts))
	for i, text := range texts {
		list[i] = typed(types, text)
	}
	return list, true
}

func (s *ParameterSchema) property(name string) *jsonschema.Schema {
	if s.schema == nil {
		return nil
	}
	return s.schema.Properties[name]
}

// maxSchemaSteps bounds how far references and alternatives are followed: a
// schema may refer to itself.
const maxSchemaSteps = 16

// branches are a schema and all it may stand for.
func branches(s *jsonschema.Schema, steps int) []*jsonschema.Schema {
	if s == nil || steps > maxSchemaSteps {
		return nil
	}
	list := []*jsonschema.Schema{s}
	for _, below := range slices.Concat([]*jsonschema.Schema{s.Ref}, s.AnyOf, s.OneOf, s.AllOf) {
		list = append(list, branches(below, steps+1)...)
	}
	return list
}

func typesOf(s *jsonschema.Schema, steps int) (types []string) {
	for _, b := range branches(s, steps) {
		if b.Types != nil {
			types = append(types, b.Types.ToStrings()...)
		}
	}
	return types
}

func listsOf(s *jsonschema.Schema, steps int) (lists []*jsonschema.Schema) {
	for _, b := range branches(s, steps) {
		if b.Types != nil && slices.Contains(b.Types.ToStrings(), "array") {
			lists = append(lists, b)
		}
	}
	return lists
}

// typed reads a text as the first of the types that it is.
func typed(types []string, text string) any {
	if len(types) == 0 || slices.Contains(types, "string") {
		return text
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil || !strictJSON(text) {
		return text
	}
	wanted := ""
	switch value.(type) {
	case json.Number:
		if slices.Contains(types, "integer") {
			wanted = "integer"
		} else {
			wanted = "number"
		}
	case bool:
		wanted = "boolean"
	case nil:
		wanted = "null"
	case []any:
		wanted = "array"
	case map[string]any:
		wanted = "object"
	}
	if !slices.Contains(types, wanted) {
		return text
	}
	return value
}

// strictJSON refuses what surrounds a value: " 1" is no number.
func strictJSON(text string) bool {
	return len(text) > 0 && len(bytes.TrimSpace([]byte(text))) == len(text)
}
