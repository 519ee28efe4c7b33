package devgateway

import (
	"math"
	"slices"
	"strings"
)

// fieldReader reads one entity's fields; what nobody asked for is unknown.
type fieldReader struct {
	r    *declReader
	d    dict
	path []any
	used map[string]bool
}

func (r *declReader) fields(d dict, path []any) *fieldReader {
	return &fieldReader{r: r, d: d, path: path, used: map[string]bool{}}
}

func (f *fieldReader) say(key, format string, a ...any) {
	f.r.say(append(slices.Clone(f.path), key), format, a...)
}

func (f *fieldReader) get(key string) (any, bool) {
	f.used[key] = true
	v, ok := f.d[key]
	return v, ok && !isNull(v)
}

func (f *fieldReader) str(key, def string) string {
	v, ok := f.get(key)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		f.say(key, "expected a string")
	} else if s == "" {
		f.say(key, "length must be at least 1")
	}
	return s
}

func (f *fieldReader) oneOf(key, def string, options ...string) string {
	s := f.str(key, def)
	if !slices.Contains(options, s) {
		f.say(key, "expected one of: %s", strings.Join(options, ", "))
	}
	return s
}

func (f *fieldReader) num(key string, def, low, high int) int {
	v, ok := f.get(key)
	if !ok {
		return def
	}
	n, ok := v.(float64)
	if !ok || n != math.Trunc(n) {
		f.say(key, "expected an integer")
		return def
	}
	if n < float64(low) || n > float64(high) {
		f.say(key, "value should be between %d and %d", low, high)
	}
	return int(n)
}

func (f *fieldReader) boolean(key string, def bool) bool {
	v, ok := f.get(key)
	if !ok {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		f.say(key, "expected a boolean")
	}
	return b
}

func (f *fieldReader) strings(key string) []string {
	v, ok := f.get(key)
	if !ok {
		return nil
	}
	l, ok := asList(v)
	if !ok {
		f.say(key, "expected an array")
		return nil
	}
	out := make([]string, 0, len(l))
	for i, e := range l {
		s, ok := e.(string)
		if !ok {
			f.r.say(append(slices.Clone(f.path), key, i), "expected a string")
			continue
		}
		out = append(out, s)
	}
	return out
}

// ref reads a reference to another entity: its name, or {name: x} or {id: x}.
func (f *fieldReader) ref(key string) string {
	v, _ := f.get(key)
	switch x := v.(type) {
	case string:
		return x
	case dict:
		for _, k := range []string{"id", "name", "username"} {
			if s, ok := x[k].(string); ok {
				return s
			}
		}
	}
	return ""
}

func (f *fieldReader) skip(keys ...string) {
	for _, k := range keys {
		f.used[k] = true
	}
}

// refuse names fields that Kong has and devgateway does not.
func (f *fieldReader) refuse(keys ...string) {
	for _, k := range keys {
		if v, ok := f.get(k); ok && !isEmpty(v) {
			f.say(k, "Kong has this, devgateway does not")
		}
	}
}

func (f *fieldReader) rest() {
	for _, k := range sortedKeys(f.d) {
		if !f.used[k] {
			f.say(k, "unknown field")
		}
	}
}
