package devgateway

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

var uuidPattern = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// validators runs the single-field checks in Kong's order and gives the first
// problem.
func (f *fieldSchema) validators(v any) string {
	if len(f.Eq) > 0 && !sameJSON(f.Eq, v) {
		return "value must be " + jsonText(f.Eq)
	}
	if len(f.Ne) > 0 && sameJSON(f.Ne, v) {
		return "value must not be " + luaText(v)
	}
	if f.NotOneOf != nil && oneOf(f.NotOneOf, v) {
		return "must not be one of: " + joinAny(f.NotOneOf)
	}
	if f.OneOf != nil && !oneOf(f.OneOf, v) {
		return "expected one of: " + joinAny(f.OneOf)
	}
	if n, ok := v.(float64); ok {
		return f.numberValidators(n)
	}
	if msg := f.lengthValidators(v); msg != "" {
		return msg
	}
	if s, ok := v.(string); ok {
		return f.stringValidators(s)
	}
	if l, ok := v.(list); ok && f.Contains != nil && !oneOf(l, f.Contains) {
		return "expected to contain: " + luaText(f.Contains)
	}
	return ""
}

func (f *fieldSchema) numberValidators(n float64) string {
	if f.Gt != nil && n <= *f.Gt {
		return "value must be greater than " + luaText(*f.Gt)
	}
	if f.Timestamp && n <= 0 {
		return "expected a valid timestamp"
	}
	if f.Between != nil && (n < f.Between[0] || n > f.Between[1]) {
		return fmt.Sprintf("value should be between %d and %d", int64(f.Between[0]), int64(f.Between[1]))
	}
	return ""
}

func (f *fieldSchema) lengthValidators(v any) string {
	var n int
	lenMin := f.LenMin
	switch x := v.(type) {
	case string:
		n = len(x)
		if lenMin == nil { // an empty string is refused by default
			one := 1
			lenMin = &one
		}
	case list:
		n = len(x)
	case dict:
		n = len(x)
	default:
		return ""
	}
	switch {
	case f.UUID && v != nil && !uuidPattern.MatchString(fmt.Sprint(v)):
		return "expected a valid UUID"
	case f.LenEq != nil && n != *f.LenEq:
		return fmt.Sprintf("length must be %d", *f.LenEq)
	case lenMin != nil && n < *lenMin:
		return fmt.Sprintf("length must be at least %d", *lenMin)
	case f.LenMax != nil && n > *f.LenMax:
		return fmt.Sprintf("length must be at most %d", *f.LenMax)
	}
	return ""
}

func (f *fieldSchema) stringValidators(s string) string {
	if f.IsRegex {
		if _, err := regexp.Compile(s); err != nil {
			return "not a valid regex: " + s
		}
	}
	if f.StartsWith != nil && !strings.HasPrefix(s, *f.StartsWith) {
		return "should start with: " + *f.StartsWith
	}
	if f.NotMatch != nil && luaMatch(s, *f.NotMatch) {
		return "invalid value: " + s
	}
	for _, p := range f.MatchNone {
		if luaMatch(s, p.Pattern) {
			return firstNonEmpty(p.Err, "invalid value: "+s)
		}
	}
	if f.Match != nil && !luaMatch(s, *f.Match) {
		return "invalid value: " + s
	}
	for _, p := range f.MatchAll {
		if !luaMatch(s, p.Pattern) {
			return firstNonEmpty(p.Err, "invalid value: "+s)
		}
	}
	if f.MatchAny != nil && !slices.ContainsFunc(f.MatchAny.Patterns, func(p string) bool { return luaMatch(s, p) }) {
		return firstNonEmpty(f.MatchAny.Err, "invalid value: "+s)
	}
	return ""
}

func firstNonEmpty(a ...string) string {
	for _, s := range a {
		if s != "" {
			return s
		}
	}
	return ""
}

func sameJSON(raw json.RawMessage, v any) bool {
	var want any
	if json.Unmarshal(raw, &want) != nil {
		return false
	}
	return reflect.DeepEqual(fromJSON(want), v)
}

func jsonText(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	return luaText(v)
}

func oneOf(options []any, v any) bool {
	return slices.ContainsFunc(options, func(o any) bool { return reflect.DeepEqual(o, v) })
}

func joinAny(l []any) string {
	parts := make([]string, len(l))
	for i, v := range l {
		parts[i] = luaText(v)
	}
	return strings.Join(parts, ", ")
}
