package claims

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// reader reads claims by name or pointer and collects what it can't read.
type reader struct {
	claims   map[string]any
	problems []error
}

func (r *reader) fail(claim, why string) {
	r.problems = append(r.problems, fmt.Errorf("%w: %s %s", ErrInvalid, claim, why))
}

// pointerEscapes: RFC 6901, section 4.
var pointerEscapes = strings.NewReplacer("~1", "/", "~0", "~")

// lookup finds a claim; null counts as absent.
func (r *reader) lookup(claim string) (any, bool) {
	if found := Lookup(r.claims, claim); len(found) > 0 {
		return found[0], true
	}
	return nil, false
}

// Lookup finds the values of a claim by its path, see [Paths]: none, one, or
// several where the path has a `*`. null counts as absent.
func Lookup(claims map[string]any, path string) []any {
	if !strings.HasPrefix(path, "/") {
		if v := claims[path]; v != nil {
			return []any{v}
		}
		return nil
	}
	at := []any{claims}
	for _, token := range strings.Split(path[1:], "/") {
		var below []any
		for _, v := range at {
			below = appendMembers(below, v, token)
		}
		at = below
	}
	return at
}

func appendMembers(to []any, v any, token string) []any {
	add := func(member any) {
		if member != nil {
			to = append(to, member)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if token != "*" {
			add(v[pointerEscapes.Replace(token)])
			break
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			add(v[name])
		}
	case []any:
		if token == "*" {
			for _, member := range v {
				add(member)
			}
		} else if n, err := strconv.Atoi(token); err == nil && n >= 0 && n < len(v) {
			add(v[n])
		}
	}
	return to
}

// first gives the text of the first claim that is present.
func (r *reader) first(claims []string) string {
	for _, claim := range claims {
		v, ok := r.lookup(claim)
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok {
			r.fail(claim, "must be a string")
		}
		if strings.ContainsRune(s, 0) {
			r.fail(claim, "holds the character U+0000, which databases can't store")
		}
		return s
	}
	return ""
}

// all gathers the values of several claims, each once.
func (r *reader) all(claims []string, read func(claim string, v any) []string) []string {
	var values []string
	seen := map[string]bool{}
	for _, claim := range claims {
		for _, v := range Lookup(r.claims, claim) {
			for _, s := range read(claim, v) {
				if len(values) == MaxGroups {
					r.fail(claim, fmt.Sprintf("has more than %d values; let the provider send only those that this gateway needs", MaxGroups))
					return values
				}
				if !seen[s] {
					seen[s] = true
					values = append(values, s)
				}
			}
		}
	}
	return values
}

// list reads a list of strings; one string is a list of one, commas and all.
func (r *reader) list(claim string, v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		values := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				r.fail(claim, "must be a list of strings")
				return nil
			}
			values = append(values, s)
		}
		return values
	default:
		r.fail(claim, "must be a list of strings")
		return nil
	}
}

// words reads scopes: separated by spaces in a string (RFC 6749, section
// 3.3), or a list as some providers send it.
func (r *reader) words(claim string, v any) []string {
	if s, ok := v.(string); ok {
		return strings.Fields(s)
	}
	return r.list(claim, v)
}

// names reads the names of an object's members.
func (r *reader) names(claim string, v any) []string {
	object, ok := v.(map[string]any)
	if !ok {
		r.fail(claim, "must be an object")
		return nil
	}
	return slices.Sorted(maps.Keys(object))
}

// attributes reads further claims: texts, numbers, booleans, lists of texts.
func (r *reader) attributes(paths map[string]string) map[string]any {
	var attributes map[string]any
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		claim := paths[name]
		found := Lookup(r.claims, claim)
		if len(found) == 0 {
			continue
		}
		var value any
		if single := found[0]; len(found) == 1 && isScalar(single) {
			value = single
		} else {
			value = r.all([]string{claim}, r.list)
		}
		if attributes == nil {
			attributes = map[string]any{}
		}
		attributes[name] = value
	}
	return attributes
}

func isScalar(v any) bool {
	switch v.(type) {
	case string, bool, json.Number:
		return true
	}
	return false
}

// emailCounts reports whether the provider stands by the address: by the claim
// that must say so, or, where there is no such claim, by not denying it.
func (r *reader) emailCounts(onlyIf string) bool {
	if onlyIf != "" {
		v, present := r.lookup(onlyIf)
		return present && isTrue(v)
	}
	v, present := r.lookup("email_verified")
	return !present || isTrue(v)
}

// isTrue takes true as providers write it.
func isTrue(v any) bool {
	return v == true || v == "true" || v == "1" || v == json.Number("1")
}
