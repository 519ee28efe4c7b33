package kongyml

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Value is what a text of a configuration stands for: itself, or something
// that Kong or decK takes from elsewhere.
type Value struct {
	Text string // empty where it isn't known
	// From is the reference or the variable as it is written; empty: the text
	// is the value itself. Of several it is one that isn't known, if any.
	From string
	// Variable is the environment's that From names; empty: none, so it can't
	// be had here.
	Variable string
	Known    bool
	// Reference is Kong's to one of its vaults, once decK has done its part;
	// empty: it is none.
	Reference string

	filter string // decK's, of a text that is one variable as a whole
}

// deckVariable is how decK takes a value from the environment.
// Source: decK's documentation, "Environment variables".
var deckVariable = regexp.MustCompile(`\$\{\{\s*env\s+["'](DECK_\w+)["']\s*(?:\|\s*(toBool|toInt|toFloat)\s*)?\}\}`)

// ValueOf looks a text's value up; env gives the environment's variables, nil:
// there are none. A variable that is set and empty has this value, as for Kong
// and for decK.
func ValueOf(text string, env func(string) (string, bool)) Value {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	v := Value{Known: true}
	v.Text = deckVariable.ReplaceAllStringFunc(text, func(written string) string {
		match := deckVariable.FindStringSubmatch(written)
		value, set := env(match[1])
		if v.Known {
			v.From, v.Variable, v.Known = written, match[1], set
		}
		if written == text {
			v.filter = match[2]
		}
		return value
	})
	switch {
	case !v.Known:
		v.Text = ""
	case isVaultReference(v.Text):
		v = Value{From: text, Reference: v.Text}
		v.Text, v.Variable, v.Known = lookUp(v.Reference[len(vaultStart):len(v.Reference)-1], env)
	}
	return v
}

const vaultStart = "{vault://"

// isVaultReference tells whether Kong takes a text for a reference to one of
// its vaults. Source: kong/pdk/vault.lua.
func isVaultReference(text string) bool {
	return strings.HasPrefix(text, vaultStart) && strings.HasSuffix(text, "}")
}

// lookUp reads NAME/VARIABLE[/KEY][?prefix=P][#VERSION].
// Source: Kong's documentation, "Environment variables vault".
func lookUp(reference string, env func(string) (string, bool)) (value, variable string, ok bool) {
	reference, _, _ = strings.Cut(reference, "#")
	path, query, _ := strings.Cut(reference, "?")
	parts := strings.SplitN(strings.Trim(path, "/"), "/", 3)
	if len(parts) < 2 || parts[0] != "env" {
		return "", "", false
	}
	name := parts[1]
	for option := range strings.SplitSeq(query, "&") {
		if prefix, isPrefix := strings.CutPrefix(option, "prefix="); isPrefix {
			name = prefix + name
		}
	}
	variable = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if value, ok = env(variable); !ok || len(parts) < 3 {
		return value, variable, ok
	}
	var object map[string]any
	if json.Unmarshal([]byte(value), &object) != nil {
		return "", variable, false
	}
	value, ok = object[parts[2]].(string)
	return value, variable, ok
}

// typed is the value as decK's filter makes it: by default a text.
func (v Value) typed() any {
	var made any
	var err error
	switch v.filter {
	case "toInt":
		made, err = strconv.Atoi(v.Text)
	case "toFloat":
		made, err = strconv.ParseFloat(v.Text, 64)
	case "toBool":
		made, err = strconv.ParseBool(v.Text)
	default:
		return v.Text
	}
	if err != nil {
		return v.Text
	}
	return made
}

// Unresolved is a reference that has no value here.
type Unresolved struct {
	Field     string // of the configuration, as Kong names it
	Reference string // as it is written
	// Variable is the environment's that would give it; empty: it isn't of
	// the env vault.
	Variable string
}

// String says what is missing.
func (u Unresolved) String() string {
	if u.Variable == "" {
		return fmt.Sprintf("%s: %s can't be had here, only the env vault is known", u.Field, u.Reference)
	}
	return fmt.Sprintf("%s: %s is the environment's %s, which isn't set", u.Field, u.Reference, u.Variable)
}

// Resolve gives a configuration with the values of its texts ([ValueOf]), and
// the references for which there is none, which become empty as they do in
// Kong.
func Resolve(config map[string]any, env func(string) (string, bool)) (map[string]any, []Unresolved) {
	var missing []Unresolved
	resolved, _ := resolve("", config, env, &missing).(map[string]any)
	return resolved, missing
}

func resolve(field string, value any, env func(string) (string, bool), missing *[]Unresolved) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[name] = resolve(strings.TrimPrefix(field+"."+name, "."), item, env, missing)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = resolve(fmt.Sprintf("%s[%d]", field, i+1), item, env, missing)
		}
		return out
	case string:
		found := ValueOf(v, env)
		if !found.Known {
			*missing = append(*missing, Unresolved{field, found.From, found.Variable})
		}
		return found.typed()
	}
	return value
}
