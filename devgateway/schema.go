package devgateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// fieldSchema is one field of a plugin's schema as the dump declares it.
type fieldSchema struct {
	Type           string            `json:"type"`
	Required       bool              `json:"required"`
	requiredUnsaid bool              // neither true nor false
	Default        json.RawMessage   `json:"default"`
	Description    *string           `json:"description"`
	Err            string            `json:"err"`
	Referenceable  bool              `json:"referenceable"`
	Encrypted      bool              `json:"encrypted"`
	Auto           bool              `json:"auto"`
	UUID           bool              `json:"uuid"`
	Timestamp      bool              `json:"timestamp"`
	IsRegex        bool              `json:"is_regex"`
	OneOf          []any             `json:"one_of"`
	NotOneOf       []any             `json:"not_one_of"`
	Between        []float64         `json:"between"`
	Gt             *float64          `json:"gt"`
	Eq             json.RawMessage   `json:"eq"`
	Ne             json.RawMessage   `json:"ne"`
	LenEq          *int              `json:"len_eq"`
	LenMin         *int              `json:"len_min"`
	LenMax         *int              `json:"len_max"`
	Match          *string           `json:"match"`
	NotMatch       *string           `json:"not_match"`
	MatchAll       []patternErr      `json:"match_all"`
	MatchNone      []patternErr      `json:"match_none"`
	MatchAny       *patternsErr      `json:"match_any"`
	StartsWith     *string           `json:"starts_with"`
	Contains       any               `json:"contains"`
	Elements       *fieldSchema      `json:"elements"`
	Keys           *fieldSchema      `json:"keys"`
	Values         *fieldSchema      `json:"values"`
	Fields         []namedField      `json:"fields"`
	EntityChecks   []json.RawMessage `json:"entity_checks"`
	Reference      string            `json:"reference"`
	Deprecation    any               `json:"deprecation"`
	Examples       any               `json:"examples"`
	Unique         bool              `json:"unique"`
	Abstract       bool              `json:"abstract"`
	Immutable      bool              `json:"immutable"`
	defaultValue   any
	parsedDefault  bool
	compiledChecks []entityCheck
}

type patternErr struct {
	Pattern string `json:"pattern"`
	Err     string `json:"err"`
}

type patternsErr struct {
	Patterns []string `json:"patterns"`
	Err      string   `json:"err"`
}

// namedField is Kong's {name: definition} with exactly one key.
type namedField struct {
	Name  string
	Field *fieldSchema
}

func (n *namedField) UnmarshalJSON(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	if len(m) != 1 {
		return fmt.Errorf("length must be 1: a field is declared by one name, not %d", len(m))
	}
	for k, raw := range m {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		f := &fieldSchema{}
		if err := dec.Decode(f); err != nil {
			return fmt.Errorf("field %q: %w", k, err)
		}
		var said struct{ Required *bool }
		if err := json.Unmarshal(raw, &said); err != nil {
			return fmt.Errorf("field %q: %w", k, err)
		}
		f.requiredUnsaid = said.Required == nil
		n.Name, n.Field = k, f
	}
	return nil
}

func (f *fieldSchema) sub(name string) *fieldSchema {
	for _, n := range f.Fields {
		if n.Name == name {
			return n.Field
		}
	}
	return nil
}

// pluginSchema is what a dump's Schema declares.
type pluginSchema struct {
	Name         string
	Config       *fieldSchema
	Protocols    *fieldSchema
	EntityChecks []entityCheck // over the whole plugin entity
}

// parsePluginSchema reads a dump's Schema and refuses one Kong would refuse.
func parsePluginSchema(raw json.RawMessage) (*pluginSchema, error) {
	var s struct {
		Name         string            `json:"name"`
		Fields       []namedField      `json:"fields"`
		EntityChecks []json.RawMessage `json:"entity_checks"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if s.Name == "" {
		return nil, fmt.Errorf("schema: name: required field missing")
	}
	out := &pluginSchema{Name: s.Name}
	var problems []string
	for _, f := range s.Fields {
		problems = append(problems, checkFieldSchema(f.Name, f.Field)...)
		switch f.Name {
		case "config":
			out.Config = f.Field
		case "protocols":
			out.Protocols = f.Field
		case "consumer", "service", "route", "consumer_group":
		default:
			problems = append(problems, f.Name+": cannot create a new field")
		}
	}
	if out.Config == nil || out.Config.Type != "record" {
		problems = append(problems, "config: a record is required")
	}
	var err error
	if out.EntityChecks, err = parseEntityChecks(s.EntityChecks); err != nil {
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		sort.Strings(problems)
		return nil, fmt.Errorf("schema violation (%s)", strings.Join(problems, "; "))
	}
	out.Config.Required = true
	out.Config.requireRecords()
	return out, nil
}

// requireRecords: Kong makes a record required that doesn't say whether it is
// (kong/db/schema/entity.lua), and so fills it in where it is left out. It
// looks into records, but not into what arrays and maps hold.
func (f *fieldSchema) requireRecords() {
	for _, n := range f.Fields {
		if n.Field.Type != "record" {
			continue
		}
		if n.Field.requiredUnsaid {
			n.Field.Required = true
		}
		n.Field.requireRecords()
	}
}

var fieldTypes = map[string]bool{
	"array": true, "set": true, "string": true, "number": true, "boolean": true,
	"integer": true, "foreign": true, "map": true, "record": true,
}

// checkFieldSchema is the part of Kong's metaschema that a plugin's author is
// likely to meet.
func checkFieldSchema(path string, f *fieldSchema) []string {
	var problems []string
	say := func(format string, a ...any) { problems = append(problems, path+": "+fmt.Sprintf(format, a...)) }
	if !fieldTypes[f.Type] {
		say("type: expected one of array, boolean, foreign, integer, map, number, record, set, string, not %q", f.Type)
	}
	if f.Description != nil && len(*f.Description) < 10 {
		say("description: length must be at least 10")
	}
	if f.Description != nil && len(*f.Description) > 500 {
		say("description: length must be at most 500")
	}
	if f.Between != nil && len(f.Between) != 2 {
		say("between: length must be 2")
	}
	problems = append(problems, checkAttributes(path, f)...)
	if err := f.parseDefault(); err != nil {
		say("default: %s", err)
	}
	var err error
	if f.compiledChecks, err = parseEntityChecks(f.EntityChecks); err != nil {
		say("%s", err)
	}
	for name, sub := range map[string]*fieldSchema{"elements": f.Elements, "keys": f.Keys, "values": f.Values} {
		if sub != nil {
			problems = append(problems, checkFieldSchema(path+"."+name, sub)...)
		}
	}
	for _, n := range f.Fields {
		problems = append(problems, checkFieldSchema(path+"."+n.Name, n.Field)...)
	}
	return problems
}

func checkAttributes(path string, f *fieldSchema) []string {
	var problems []string
	need := func(ok bool, what string) {
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: field of type '%s' must declare '%s'", path, f.Type, what))
		}
	}
	cannot := func(has bool, what string) {
		if has {
			problems = append(problems, fmt.Sprintf("%s: field of type '%s' cannot have attribute '%s'", path, f.Type, what))
		}
	}
	isStr := f.Type == "string"
	isNum := f.Type == "integer" || f.Type == "number"
	switch f.Type {
	case "array", "set":
		need(f.Elements != nil, "elements")
	case "map":
		need(f.Keys != nil, "keys")
		need(f.Values != nil, "values")
	case "record":
		need(f.Fields != nil, "fields")
	}
	cannot(f.Between != nil && !isNum, "between")
	cannot(f.Gt != nil && !isNum, "gt")
	cannot(f.Match != nil && !isStr, "match")
	cannot(f.StartsWith != nil && !isStr, "starts_with")
	cannot(f.UUID && !isStr, "uuid")
	cannot(f.Referenceable && !isStr && !referenceableElements(f), "referenceable")
	cannot(f.Elements != nil && f.Type != "array" && f.Type != "set", "elements")
	cannot(f.Fields != nil && f.Type != "record", "fields")
	cannot((f.Keys != nil || f.Values != nil) && f.Type != "map", "keys")
	return problems
}

func referenceableElements(f *fieldSchema) bool {
	return (f.Type == "array" || f.Type == "set") && f.Elements != nil && f.Elements.Type == "string"
}

func (f *fieldSchema) parseDefault() error {
	if len(f.Default) == 0 || string(f.Default) == "null" {
		return nil
	}
	var v any
	if err := json.Unmarshal(f.Default, &v); err != nil {
		return err
	}
	f.defaultValue, f.parsedDefault = fromJSON(v), true
	return nil
}
