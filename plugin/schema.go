package plugin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/token"
)

// Schema makes Kong's schema of a plugin from its configuration's struct.
// Kong then refuses a bad kong.yml with the field's name, fills in defaults,
// and resolves vault references before the plugin sees anything.
// Source: Kong's plugin development guide, "Describe your plugin's
// configuration"; the validators are those of kong/db/schema/init.lua.
func Schema(name string, config any) map[string]any {
	record := recordOf(reflect.TypeOf(config))
	record["required"] = true
	return map[string]any{
		"name": name,
		"fields": []any{
			map[string]any{"protocols": map[string]any{
				"type": "set", "required": true, "default": httpProtocols,
				"elements": map[string]any{"type": "string", "one_of": httpProtocols},
			}},
			map[string]any{"config": record},
		},
	}
}

// httpProtocols: the plugins read HTTP requests and nothing else.
var httpProtocols = []string{"grpc", "grpcs", "http", "https"}

func recordOf(t reflect.Type) map[string]any {
	fields := make([]any, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		fields = append(fields, map[string]any{f.Tag.Get("json"): fieldOf(f)})
	}
	return map[string]any{"type": "record", "fields": fields}
}

func fieldOf(f reflect.StructField) map[string]any {
	field := typeOf(f.Type)
	field["description"] = f.Tag.Get("doc")
	if d, ok := f.Tag.Lookup("default"); ok {
		field["default"] = json.RawMessage(d)
	}
	for _, v := range validators(f) {
		v.apply(field)
	}
	return field
}

func typeOf(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": "array", "elements": typeOf(t.Elem())}
	case reflect.Struct:
		return recordOf(t)
	case reflect.Pointer: // a record that may be left out
		record := typeOf(t.Elem())
		// Kong makes a record of a plugin's configuration required unless it
		// says otherwise (kong/db/schema/entity.lua, make_records_required).
		record["required"] = false
		return record
	default:
		panic(fmt.Sprintf("configuration field of type %s has no schema", t))
	}
}

// validator is one entry of a kong tag.
type validator struct{ name, value string }

func validators(f reflect.StructField) []validator {
	tag := f.Tag.Get("kong")
	if tag == "" {
		return nil
	}
	var list []validator
	for _, entry := range strings.Split(tag, ",") {
		name, value, _ := strings.Cut(entry, "=")
		list = append(list, validator{name, value})
	}
	return list
}

func (v validator) apply(field map[string]any) {
	switch v.name {
	case "required", "referenceable", "encrypted":
		field[v.name] = true
	case "element":
		field["elements"].(map[string]any)[v.value] = true
	case "element_one_of":
		field["elements"].(map[string]any)["one_of"] = v.choices()
	case "len_min":
		field["len_min"] = atoi(v.value)
	case "match":
		field["match"] = v.value
	case "one_of":
		field["one_of"] = v.choices()
	case "between":
		low, high := v.bounds()
		field["between"] = []int{low, high}
	default:
		panic(fmt.Sprintf("unknown validator %q", v.name))
	}
}

// choices are the values of one_of; @presets and @algorithms stand for what
// the packages claims and token alone list.
func (v validator) choices() []string {
	switch v.value {
	case "@presets":
		return claims.PresetNames()
	case "@algorithms":
		return token.DefaultAlgorithms
	default:
		return strings.Split(v.value, "|")
	}
}

// luaClasses are the classes of Lua's patterns that our tags use.
var luaClasses = map[rune]string{'w': "A-Za-z0-9", 'a': "A-Za-z", 'd': "0-9"}

// pattern writes the Lua pattern of a match as a regular expression. It knows
// the part of the language that both write alike, beside Lua's %: sets and
// single characters with + * ? and the anchors. Anything else in a tag is a
// mistake of ours, which the first test finds.
func (v validator) pattern() *regexp.Regexp {
	var b strings.Builder
	escaped, inSet := false, false
	for _, c := range v.value {
		class, isClass := luaClasses[c]
		switch {
		case escaped && isClass && inSet:
			b.WriteString(class)
		case escaped && isClass:
			b.WriteString("[" + class + "]")
		case escaped && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'), !escaped && !inSet && strings.ContainsRune("-(){}|\\", c):
			panic(fmt.Sprintf("pattern %q uses what isn't known here: %q", v.value, c))
		case escaped:
			b.WriteString(`\` + string(c))
		case c != '%':
			inSet = c == '[' || inSet && c != ']'
			b.WriteRune(c)
		}
		escaped = c == '%' && !escaped
	}
	return regexp.MustCompile(b.String())
}

func (v validator) bounds() (low, high int) {
	a, b, _ := strings.Cut(v.value, ":")
	return atoi(a), atoi(b)
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("number in a kong tag: %v", err))
	}
	return n
}
