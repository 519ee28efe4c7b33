package kongyml

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Unresolved is a vault reference that has no value here.
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

// Resolve gives a configuration with the references to Kong's env vault
// replaced, and those for which there is no value, which become empty as they
// do in Kong.
// Source: Kong's documentation, "Environment variables vault".
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
		inner, isReference := strings.CutPrefix(v, "{vault://")
		if !isReference || !strings.HasSuffix(v, "}") {
			return v
		}
		text, variable, ok := lookUp(strings.TrimSuffix(inner, "}"), env)
		if !ok {
			*missing = append(*missing, Unresolved{field, v, variable})
		}
		return text
	}
	return value
}

// lookUp reads NAME/VARIABLE[/KEY][?prefix=P][#VERSION].
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
