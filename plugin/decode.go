package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// ErrConfig says that a plugin's configuration can't work. The text lists
// every problem with its field.
var ErrConfig = errors.New("broken configuration")

// decodeConfig reads an instance's configuration into config, a pointer to one
// of the structs of config.go. Kong has checked it against the schema and
// filled in the defaults; both are done again here, so that no other gateway
// and no older schema can make the plugin run with less.
func decodeConfig(data []byte, config any) error {
	fields := map[string]any{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if fields == nil {
		return fmt.Errorf("%w: must be an object, is null", ErrConfig)
	}
	fillDefaults(fields, reflect.TypeOf(config).Elem())
	whole, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := json.Unmarshal(whole, config); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := errors.Join(checkRecord(reflect.ValueOf(config).Elem(), "")...); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// fillDefaults writes the default of each field that is absent or null into a
// record and the records below it.
func fillDefaults(record map[string]any, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("json")
		if record[name] == nil {
			delete(record, name)
			if d, ok := f.Tag.Lookup("default"); ok {
				record[name] = json.RawMessage(d)
			}
			continue
		}
		below := f.Type
		if below.Kind() == reflect.Pointer || below.Kind() == reflect.Slice {
			below = below.Elem()
		}
		if below.Kind() != reflect.Struct {
			continue
		}
		switch value := record[name].(type) {
		case map[string]any:
			fillDefaults(value, below)
		case []any:
			for _, item := range value {
				if r, ok := item.(map[string]any); ok {
					fillDefaults(r, below)
				}
			}
		}
	}
}

// checkRecord runs the validators of a record and all below it. Lists count
// from 1, as Kong counts.
func checkRecord(record reflect.Value, path string) (problems []error) {
	for i := range record.NumField() {
		f, v := record.Type().Field(i), record.Field(i)
		at := path + f.Tag.Get("json")
		problems = append(problems, checkField(f, v, at)...)
		switch {
		case v.Kind() == reflect.Struct:
			problems = append(problems, checkRecord(v, at+".")...)
		case v.Kind() == reflect.Pointer && !v.IsNil():
			problems = append(problems, checkRecord(v.Elem(), at+".")...)
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
			for j := range v.Len() {
				problems = append(problems, checkRecord(v.Index(j), fmt.Sprintf("%s[%d].", at, j+1))...)
			}
		}
	}
	return problems
}

func checkField(f reflect.StructField, v reflect.Value, at string) (problems []error) {
	fail := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
	for _, rule := range validators(f) {
		switch rule.name {
		case "required":
			if v.Kind() != reflect.Struct && v.IsZero() {
				fail("required field missing")
			}
		case "len_min":
			if !v.IsZero() && v.Len() < atoi(rule.value) {
				fail("length must be at least %s", rule.value)
			}
		case "one_of":
			if s := v.String(); s != "" && !slices.Contains(rule.choices(), s) {
				fail("expected one of: %v", rule.choices())
			}
		case "element_one_of":
			for j := range v.Len() {
				if s := v.Index(j).String(); !slices.Contains(rule.choices(), s) {
					problems = append(problems, fmt.Errorf("%s[%d]: expected one of: %v", at, j+1, rule.choices()))
				}
			}
		case "match":
			if s := v.String(); s != "" && !rule.pattern().MatchString(s) {
				fail("invalid value: %s", s)
			}
		case "between":
			if low, high := rule.bounds(); int(v.Int()) < low || int(v.Int()) > high {
				fail("value should be between %d and %d", low, high)
			}
		}
	}
	return problems
}
