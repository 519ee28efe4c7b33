package check

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// field is one field of a plugin's schema, as Kong gets it.
type field struct {
	Type          string              `json:"type"`
	Required      bool                `json:"required"`
	OneOf         []string            `json:"one_of"`
	Between       []int               `json:"between"`
	Match         string              `json:"match"`
	LenMin        int                 `json:"len_min"`
	Referenceable bool                `json:"referenceable"`
	Encrypted     bool                `json:"encrypted"`
	Elements      *field              `json:"elements"`
	Fields        []map[string]*field `json:"fields"`
}

// schemaOf is a plugin's schema, by way of the JSON that the dump prints: what
// is checked here is what Kong checks.
func schemaOf(name string) *field {
	data, err := json.Marshal(plugin.SchemaOf(name))
	if err != nil {
		panic(err) // the dump couldn't be printed either
	}
	var whole field
	if err := json.Unmarshal(data, &whole); err != nil {
		panic(err)
	}
	return &whole
}

func (f *field) field(name string) *field {
	for _, named := range f.Fields {
		if below := named[name]; below != nil {
			return below
		}
	}
	return nil
}

func (f *field) names() (list []string) {
	for _, named := range f.Fields {
		for name := range named {
			list = append(list, name)
		}
	}
	return list
}

// Kong's vault references, and what is meant as one.
// Source: Kong's documentation, "Secrets management".
var (
	vaultReference = regexp.MustCompile(`^\{vault://[A-Za-z0-9_-]+/[^{}]+\}$`)
	vaultLike      = regexp.MustCompile(`(?i)vault:/+|^\{vault`)
)

// maxValues bounds the values of one plugin's configuration.
const maxValues = 100_000

// unknownTag marks a value that comes from where nobody can look.
const unknownTag = "!unknown"

// reading makes a plugin's configuration of its nodes, checks it against the
// schema, and puts something harmless where a value is wrong or unknown, so
// that what is right can be compiled all the same.
type reading struct {
	*checker
	of       *pluginEntity
	replaced []string          // fields with a value that isn't the file's
	unknown  map[string]string // fields whose value isn't known, with what it comes from
	values   int               // how many were read
}

func (r *reading) bad(code string, n *yaml.Node, path, format string, args ...any) {
	r.replaced = append(r.replaced, path)
	r.findIn(r.of, code, n, path, fmt.Sprintf(format, args...), "")
}

// record reads a mapping. at is where to point for what isn't in it.
func (r *reading) record(n, at *yaml.Node, f *field, path string) map[string]any {
	values := map[string]any{}
	if n = node.Target(n); n != nil && n.Kind != yaml.MappingNode && !node.IsNull(n) {
		r.bad(codeFieldType, n, path, "must be a record of fields")
		n = nil
	}
	for _, m := range node.Members(n) {
		name, below := m.Key.Value, f.field(m.Key.Value)
		switch {
		case below == nil:
			r.bad(codeFieldUnknown, m.Key, join(path, name), "there is no field %s here%s", quote(name), didYouMean(name, f.names()))
		case !node.IsNull(m.Value):
			if v := r.value(m.Value, m.Key, below, name, join(path, name)); v != nil {
				values[name] = v
			}
		}
	}
	for _, name := range f.names() {
		below := f.field(name)
		if values[name] != nil || !below.Required || slices.Contains(r.replaced, join(path, name)) {
			continue
		}
		if slices.Contains(r.replaced, path) { // it is no record at all, which is said
			values[name] = r.harmless(below, name)
			continue
		}
		if below.Type == "record" {
			values[name] = r.record(nil, at, below, join(path, name))
			continue
		}
		r.bad(codeFieldMissing, at, join(path, name), "the field %s is missing", quote(name))
		values[name] = r.harmless(below, name)
	}
	return values
}

// value reads one value; nil: leave the field out.
func (r *reading) value(n, at *yaml.Node, f *field, name, path string) any {
	n = node.Target(n)
	if r.values++; n == nil || r.values > maxValues {
		return nil
	}
	if n.Tag == unknownTag {
		r.unknown[path] = n.Value
		return r.harmless(f, name)
	}
	switch f.Type {
	case "record":
		return r.record(n, at, f, path)
	case "array", "set":
		return r.list(n, f, name, path)
	}
	if n.Kind != yaml.ScalarNode {
		r.bad(codeFieldType, n, path, "must be a %s", f.Type)
		return r.instead(f, name)
	}
	v := kongyml.ValueOf(n.Value, r.options.Env)
	switch {
	case v.From == "" && vaultLike.MatchString(n.Value), v.Reference != "" && !vaultReference.MatchString(v.Reference):
		r.bad(codeVaultMalformed, n, path, "looks like a vault reference, and isn't one")
		return r.instead(f, name)
	case !v.Known:
		r.unknown[path] = v.From
		if v.Text = placeholder(name, n.Value); f.Type != "string" || len(f.OneOf) > 0 {
			return r.harmless(f, name)
		}
	}
	if v.Reference != "" && !f.Referenceable {
		r.bad(codeVaultUnresolved, n, path, "Kong resolves no vault reference in this field: the plugin would get the text as it stands here")
		return r.instead(f, name)
	}
	switch f.Type {
	case "string":
		if n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool" {
			r.bad(codeFieldType, n, path, "must be a text, and is %s", strings.TrimPrefix(n.Tag, "!!"))
			return r.instead(f, name)
		}
		if f.Encrypted && v.From == "" && v.Text != "" {
			r.findIn(r.of, codeSecretInClear, n, path, "the secret stands here in clear", "")
		}
		return r.text(n, f, name, path, v)
	case "boolean":
		return r.boolean(n, f, name, path, v)
	case "integer":
		return r.integer(n, f, path, v)
	}
	return nil
}

func (r *reading) text(n *yaml.Node, f *field, name, path string, v kongyml.Value) any {
	shown := quote(v.Text)
	if f.Encrypted || v.From != "" {
		shown = "what stands here"
	}
	switch {
	case v.Reference != "": // Kong looks at no reference's value
	case len(f.OneOf) > 0 && !slices.Contains(f.OneOf, v.Text):
		r.bad(codeValueNotAllowed, n, path, "%s is none of %s%s", shown, strings.Join(f.OneOf, ", "), didYouMean(v.Text, f.OneOf))
		return r.instead(f, name)
	case len(v.Text) < f.LenMin:
		r.bad(codeValueLength, n, path, "must have %d characters at least", f.LenMin)
		return r.instead(f, name)
	case f.Match != "" && !plugin.Pattern(f.Match).MatchString(v.Text):
		r.bad(codeValuePattern, n, path, "%s doesn't fit the pattern %s", shown, f.Match)
		return r.instead(f, name)
	}
	return v.Text
}

func (r *reading) boolean(n *yaml.Node, f *field, name, path string, v kongyml.Value) any {
	on, err := strconv.ParseBool(v.Text)
	if err != nil || v.From == "" && n.Tag != "!!bool" {
		r.bad(codeFieldType, n, path, "must be true or false")
		return nil
	}
	if on && strings.HasPrefix(name, "insecure_") {
		r.findIn(r.of, codeInsecure, n, path, "this switch weakens what the plugin checks", "")
	}
	return on
}

func (r *reading) integer(n *yaml.Node, f *field, path string, v kongyml.Value) any {
	number, err := strconv.Atoi(v.Text)
	if err != nil || v.From == "" && n.Tag != "!!int" {
		r.bad(codeFieldType, n, path, "must be a whole number")
		return nil
	}
	if len(f.Between) == 2 && (number < f.Between[0] || number > f.Between[1]) {
		shown := v.Text
		if v.From != "" {
			shown = "what stands here"
		}
		r.bad(codeValueRange, n, path, "%s isn't between %d and %d", shown, f.Between[0], f.Between[1])
		return nil
	}
	return number
}

func (r *reading) list(n *yaml.Node, f *field, name, path string) any {
	if n.Kind != yaml.SequenceNode {
		r.bad(codeFieldType, n, path, "must be a list: [one, another]")
		return r.instead(f, name)
	}
	values := []any{}
	for i, item := range n.Content {
		if v := r.value(item, item, f.Elements, name, fmt.Sprintf("%s[%d]", path, i+1)); v != nil {
			values = append(values, v)
		}
	}
	if len(values) < f.LenMin {
		r.bad(codeValueLength, n, path, "must have %d entries at least", f.LenMin)
		return r.instead(f, name)
	}
	return values
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }
