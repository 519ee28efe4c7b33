package devgateway

import (
	"encoding/json"
	"strings"
)

// isReference tells whether s is a vault reference, {vault://...}.
func isReference(s string) bool {
	return len(s) > 10 && strings.HasPrefix(s, "{vault://") && strings.HasSuffix(s, "}")
}

// vault resolves references of Kong's env vault; no other vault is done here.
type vault struct {
	env func(string) (string, bool)
	log *logger
}

// get gives a reference's value. What can't be resolved is "", with a warning,
// and the plugin starts all the same: so does Kong.
func (v vault) get(ref string) string {
	path := strings.TrimSuffix(strings.TrimPrefix(ref, "{vault://"), "}")
	path, _, _ = strings.Cut(path, "#")
	path, query, _ := strings.Cut(path, "?")
	parts := strings.SplitN(strings.Trim(path, "/"), "/", 3)
	if parts[0] != "env" || len(parts) < 2 {
		v.log.kong("warn", "unable to resolve reference %s (only the env vault is done here)", ref)
		return ""
	}
	name := parts[1]
	for opt := range strings.SplitSeq(query, "&") {
		if k, p, _ := strings.Cut(opt, "="); k == "prefix" {
			name = p + name
		}
	}
	value, ok := v.env(strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	if ok && len(parts) == 3 {
		value, ok = jsonKey(value, parts[2])
	}
	if !ok {
		v.log.kong("warn", "unable to resolve reference %s (could not get value from external vault)", ref)
		return ""
	}
	return value
}

func jsonKey(value, key string) (string, bool) {
	var m map[string]any
	if json.Unmarshal([]byte(value), &m) != nil {
		return "", false
	}
	s, ok := m[key].(string)
	return s, ok
}

// resolveRecord gives the configuration an instance is started with: nulls
// gone, references resolved, and the references themselves under "$refs".
func (v vault) resolveRecord(f *fieldSchema, d dict) dict {
	out := dict{}
	refs := dict{}
	for k, val := range d {
		sub := f.sub(k)
		if sub == nil || isNull(val) {
			continue
		}
		resolved, ref := v.resolveField(sub, val)
		out[k] = resolved
		if ref != nil {
			refs[k] = ref
		}
		if s, ok := resolved.(string); ok && s == "" && ref == nil && (sub.LenMin == nil || *sub.LenMin > 0) {
			delete(out, k)
		}
	}
	if len(refs) > 0 {
		out["$refs"] = refs
	}
	return out
}

// resolveField also gives what belongs under "$refs" of the enclosing record:
// nil, the reference, or a table of them. Kong looks into strings, arrays,
// sets and maps of strings, and into records wherever they are, so also into
// records inside arrays; it does not look into arrays inside arrays.
func (v vault) resolveField(f *fieldSchema, val any) (any, any) {
	switch x := val.(type) {
	case string:
		if f.Type == "string" && f.Referenceable && isReference(x) {
			return v.get(x), x
		}
	case list:
		if f.Elements != nil {
			return v.resolveList(f.Elements, x)
		}
	case dict:
		if f.Type == "record" {
			return v.resolveRecord(f, x), nil
		}
		if f.Values != nil {
			return v.resolveMap(f.Values, x)
		}
	}
	return val, nil
}

func (v vault) resolveList(elem *fieldSchema, l list) (any, any) {
	out := make(list, len(l))
	refs := dict{}
	for i, e := range l {
		switch x := e.(type) {
		case dict:
			if elem.Type == "record" {
				out[i] = v.resolveRecord(elem, x)
				continue
			}
		case string:
			if elem.Type == "string" && elem.Referenceable && isReference(x) {
				out[i] = v.get(x)
				refs[luaText(i+1)] = x
				continue
			}
		}
		out[i] = e
	}
	if len(refs) == 0 {
		return out, nil
	}
	return out, refs
}

func (v vault) resolveMap(values *fieldSchema, d dict) (any, any) {
	out := dict{}
	refs := dict{}
	for k, e := range d {
		switch x := e.(type) {
		case dict:
			if values.Type == "record" {
				out[k] = v.resolveRecord(values, x)
				continue
			}
		case string:
			if values.Type == "string" && values.Referenceable && isReference(x) {
				out[k] = v.get(x)
				refs[k] = x
				continue
			}
		}
		out[k] = e
	}
	if len(refs) == 0 {
		return out, nil
	}
	return out, refs
}
