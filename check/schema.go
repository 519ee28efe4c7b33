package check

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

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
	if n = target(n); n != nil && n.Kind != yaml.MappingNode && !isNull(n) {
		r.bad(codeFieldType, n, path, "must be a record of fields")
		n = nil
	}
	for _, m := range members(n) {
		name, below := m.key.Value, f.field(m.key.Value)
		switch {
		case below == nil:
			r.bad(codeFieldUnknown, m.key, join(path, name), "there is no field %s here%s", quote(name), didYouMean(name, f.names()))
		case !isNull(m.value):
			if v := r.value(m.value, m.key, below, name, join(path, name)); v != nil {
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
	n = target(n)
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
	written, from, known := r.resolve(n.Value)
	switch {
	case from != "" && !known:
		r.unknown[path] = from
		if written = placeholder(name, n.Value); f.Type != "string" || len(f.OneOf) > 0 {
			return r.harmless(f, name)
		}
	case from == "" && vaultLike.MatchString(n.Value):
		r.bad(codeVaultMalformed, n, path, "looks like a vault reference, and isn't one")
		return r.instead(f, name)
	}
	if strings.HasPrefix(from, "{vault") && !f.Referenceable {
		r.bad(codeVaultUnresolved, n, path, "Kong resolves no vault reference in this field: the plugin would get the text as it stands here")
		return r.instead(f, name)
	}
	switch f.Type {
	case "string":
		if n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool" {
			r.bad(codeFieldType, n, path, "must be a text, and is %s", strings.TrimPrefix(n.Tag, "!!"))
			return r.instead(f, name)
		}
		if f.Encrypted && from == "" && written != "" {
			r.findIn(r.of, codeSecretInClear, n, path, "the secret stands here in clear", "")
		}
		return r.text(n, f, name, path, written, from)
	case "boolean":
		return r.boolean(n, f, name, path, written, from)
	case "integer":
		return r.integer(n, f, path, written, from)
	}
	return nil
}

func (r *reading) text(n *yaml.Node, f *field, name, path, written, from string) any {
	shown := quote(written)
	if f.Encrypted || from != "" {
		shown = "what stands here"
	}
	switch {
	case strings.HasPrefix(from, "{vault"): // Kong looks at no reference's value
	case len(f.OneOf) > 0 && !slices.Contains(f.OneOf, written):
		r.bad(codeValueNotAllowed, n, path, "%s is none of %s%s", shown, strings.Join(f.OneOf, ", "), didYouMean(written, f.OneOf))
		return r.instead(f, name)
	case len(written) < f.LenMin:
		r.bad(codeValueLength, n, path, "must have %d characters at least", f.LenMin)
		return r.instead(f, name)
	case f.Match != "" && !plugin.Pattern(f.Match).MatchString(written):
		r.bad(codeValuePattern, n, path, "%s doesn't fit the pattern %s", shown, f.Match)
		return r.instead(f, name)
	}
	return written
}

func (r *reading) boolean(n *yaml.Node, f *field, name, path, written, from string) any {
	on, err := strconv.ParseBool(written)
	if err != nil || from == "" && n.Tag != "!!bool" {
		r.bad(codeFieldType, n, path, "must be true or false")
		return nil
	}
	if on && strings.HasPrefix(name, "insecure_") {
		r.findIn(r.of, codeInsecure, n, path, "this switch weakens what the plugin checks", "")
	}
	return on
}

func (r *reading) integer(n *yaml.Node, f *field, path, written, from string) any {
	number, err := strconv.Atoi(written)
	if err != nil || from == "" && n.Tag != "!!int" {
		r.bad(codeFieldType, n, path, "must be a whole number")
		return nil
	}
	if len(f.Between) == 2 && (number < f.Between[0] || number > f.Between[1]) {
		shown := written
		if from != "" {
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

// instead is nothing where nothing need be.
func (r *reading) instead(f *field, name string) any {
	if f.Required {
		return r.harmless(f, name)
	}
	return nil
}

// harmless is a value that the schema takes.
func (r *reading) harmless(f *field, name string) any {
	switch {
	case len(f.OneOf) > 0:
		return f.OneOf[0]
	case f.Type == "string":
		return placeholder(name, "replaced "+name)
	case f.Type == "array" && f.Elements.Type == "string":
		return []any{placeholder(name, "replaced "+name)}
	case f.Type == "record":
		return map[string]any{}
	}
	return nil
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// didYouMean offers the one name that is near.
func didYouMean(name string, names []string) string {
	best, distance := "", 3
	for _, candidate := range names {
		if d := editDistance(strings.ToLower(name), candidate); d < distance && d < len(name) {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; is it " + best + "?"
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
