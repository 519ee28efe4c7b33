package devgateway

import "math"

// null is an explicit null in a configuration (Kong's ngx.null), which is not
// the same as an absent field.
type null struct{}

// fromJSON turns decoded JSON into the value types of this package.
func fromJSON(v any) any {
	switch x := v.(type) {
	case nil:
		return null{}
	case map[string]any:
		d := dict{}
		for k, e := range x {
			d[k] = fromJSON(e)
		}
		return d
	case []any:
		l := make(list, len(x))
		for i, e := range x {
			l[i] = fromJSON(e)
		}
		return l
	}
	return v
}

// toJSON turns a value into what encoding/json can write; nulls stay null.
func toJSON(v any) any {
	switch x := v.(type) {
	case null:
		return nil
	case dict:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = toJSON(e)
		}
		return m
	case list:
		l := make([]any, len(x))
		for i, e := range x {
			l[i] = toJSON(e)
		}
		return l
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1e15 {
			return int64(x)
		}
	}
	return v
}

func copyValue(v any) any {
	switch x := v.(type) {
	case dict:
		d := make(dict, len(x))
		for k, e := range x {
			d[k] = copyValue(e)
		}
		return d
	case list:
		l := make(list, len(x))
		for i, e := range x {
			l[i] = copyValue(e)
		}
		return l
	}
	return v
}
