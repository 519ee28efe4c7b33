package devgateway

import (
	"math"
	"reflect"
	"slices"
	"strconv"
)

// fieldErrors is Kong's tree of problems: a message, or a deeper tree, under
// each field's name; "@entity" holds the failed cross-field checks.
type fieldErrors map[string]any

const entityErrors = "@entity"

func (e fieldErrors) entity(msg string) {
	l, _ := e[entityErrors].([]any)
	e[entityErrors] = append(l, msg)
}

// fillDefaults gives a copy of value with every default in place, and null
// for what stays unset, as Kong does before it validates an insert.
func (f *fieldSchema) fillDefaults(value any, present bool) any {
	if f.Type == "record" {
		if _, isNull := value.(null); isNull {
			return value
		}
		if !present {
			if f.parsedDefault {
				value, present = copyValue(f.defaultValue), true
			} else if !f.Required {
				return null{}
			} else {
				value = dict{}
			}
		}
		d, ok := asDict(value)
		if !ok {
			return value
		}
		return f.fillRecord(d)
	}
	if !present {
		if f.parsedDefault {
			return copyValue(f.defaultValue)
		}
		return null{}
	}
	switch x := value.(type) {
	case list:
		if f.Elements == nil {
			return value
		}
		out := make(list, 0, len(x))
		for _, e := range x {
			e = f.Elements.fillDefaults(e, true)
			if f.Type == "set" && slices.ContainsFunc(out, func(o any) bool { return reflect.DeepEqual(o, e) }) {
				continue
			}
			out = append(out, e)
		}
		return out
	case dict:
		if f.Type != "map" || f.Values == nil {
			return value
		}
		out := dict{}
		for k, e := range x {
			out[k] = f.Values.fillDefaults(e, true)
		}
		return out
	}
	return value
}

func (f *fieldSchema) fillRecord(d dict) dict {
	out := dict{}
	for k, v := range d {
		out[k] = v
	}
	for _, n := range f.Fields {
		v, ok := d[n.Name]
		out[n.Name] = n.Field.fillDefaults(v, ok)
	}
	return out
}

// asDict also takes an empty list: an empty Lua table is both.
func asDict(v any) (dict, bool) {
	switch x := v.(type) {
	case dict:
		return x, true
	case list:
		if len(x) == 0 {
			return dict{}, true
		}
	}
	return nil, false
}

func asList(v any) (list, bool) {
	switch x := v.(type) {
	case list:
		return x, true
	case dict:
		if len(x) == 0 {
			return list{}, true
		}
	}
	return nil, false
}

func isNull(v any) bool {
	_, ok := v.(null)
	return ok || v == nil
}

// validate gives nil, a message, or a tree of messages.
func (f *fieldSchema) validate(v any) any {
	if isNull(v) {
		if string(f.Ne) == "null" {
			return f.orErr("value must not be null")
		}
		if len(f.Eq) > 0 && string(f.Eq) != "null" {
			return "value must be " + string(f.Eq)
		}
		if f.Required {
			return "required field missing"
		}
		return nil
	}
	if string(f.Eq) == "null" {
		return f.orErr("value must be null")
	}
	if problem := f.validateType(v); problem != nil {
		return problem
	}
	if s, ok := v.(string); ok && f.Type == "string" && f.Referenceable && isReference(s) {
		return nil
	}
	if msg := f.validators(v); msg != "" {
		return f.orErr(msg)
	}
	return nil
}

func (f *fieldSchema) orErr(msg string) string {
	if f.Err != "" {
		return f.Err
	}
	return msg
}

func (f *fieldSchema) validateType(v any) any {
	switch f.Type {
	case "array", "set":
		l, ok := asList(v)
		if !ok {
			return map[string]string{"array": "expected an array", "set": "expected a set"}[f.Type]
		}
		return f.validateElements(l)
	case "map":
		d, ok := asDict(v)
		if !ok {
			return "expected a map"
		}
		return f.validateMap(d)
	case "record":
		return f.validateAsRecord(v)
	case "string":
		if _, ok := v.(string); !ok {
			return "expected a string"
		}
	case "number":
		if _, ok := v.(float64); !ok {
			return "expected a number"
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return "expected a boolean"
		}
	case "integer":
		n, ok := v.(float64)
		if !ok || n != math.Trunc(n) || math.IsInf(n, 0) {
			return "expected an integer"
		}
	}
	return nil
}

// validateAsRecord takes a list as Lua does: a table like any other, whose
// fields are named 1, 2 and so on. Where nothing else is wrong with it, Kong's
// answer is a list as well.
func (f *fieldSchema) validateAsRecord(v any) any {
	l, isList := v.(list)
	d, ok := asDict(v)
	if isList {
		d, ok = dict{}, true
		for i, e := range l {
			d[strconv.Itoa(i+1)] = e
		}
	}
	if !ok {
		return "expected a record"
	}
	errs := f.validateRecord(f.fillRecord(d))
	if len(errs) == 0 {
		return nil
	}
	if isList && len(errs) == len(l) {
		return slices.Repeat([]any{"unknown field"}, len(l))
	}
	return errs
}

func (f *fieldSchema) validateElements(l list) any {
	elem := *f.Elements
	elem.Required = true
	errs := make([]any, len(l))
	bad := false
	for i, e := range l {
		if errs[i] = elem.validate(e); errs[i] != nil {
			bad = true
		}
	}
	if bad {
		return errs
	}
	return nil
}

func (f *fieldSchema) validateMap(d dict) any {
	keys, values := *f.Keys, *f.Values
	keys.Required, values.Required = true, true
	for _, k := range sortedKeys(d) {
		if problem := keys.validate(k); problem != nil {
			return problem
		}
		if problem := values.validate(d[k]); problem != nil {
			return problem
		}
	}
	return nil
}

func (f *fieldSchema) validateRecord(d dict) fieldErrors {
	errs := fieldErrors{}
	for k, v := range d {
		sub := f.sub(k)
		if sub == nil {
			errs[k] = "unknown field"
			continue
		}
		if problem := sub.validate(v); problem != nil {
			errs[k] = problem
		}
	}
	for _, n := range f.Fields {
		if n.Field.Required && isNull(d[n.Name]) {
			errs[n.Name] = "required field missing"
		}
	}
	for _, c := range f.compiledChecks {
		c.run(f, d, errs)
	}
	return errs
}
