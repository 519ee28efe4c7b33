package devgateway

import (
	"encoding/json"
	"fmt"
	"strings"
)

// entityCheck is one cross-field rule of a schema.
type entityCheck struct {
	kind   string
	fields []string
	cond   *conditionalCheck
	atOne  *conditionalAtLeastOne
	set1   []string
	set2   []string
}

type conditionalCheck struct {
	IfField   string          `json:"if_field"`
	IfMatch   json.RawMessage `json:"if_match"`
	ThenField string          `json:"then_field"`
	ThenMatch json.RawMessage `json:"then_match"`
	ThenErr   string          `json:"then_err"`
}

type conditionalAtLeastOne struct {
	IfField string          `json:"if_field"`
	IfMatch json.RawMessage `json:"if_match"`
	Then    []string        `json:"then_at_least_one_of"`
	ThenErr string          `json:"then_err"`
}

func parseEntityChecks(raw []json.RawMessage) ([]entityCheck, error) {
	var out []entityCheck
	for _, r := range raw {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(r, &m); err != nil || len(m) != 1 {
			return nil, fmt.Errorf("entity_checks: exactly one check in each entry")
		}
		for kind, arg := range m {
			c := entityCheck{kind: kind}
			var err error
			switch kind {
			case "at_least_one_of", "only_one_of", "distinct", "mutually_required", "mutually_exclusive":
				err = json.Unmarshal(arg, &c.fields)
			case "conditional":
				c.cond = &conditionalCheck{}
				err = json.Unmarshal(arg, c.cond)
			case "conditional_at_least_one_of":
				c.atOne = &conditionalAtLeastOne{}
				err = json.Unmarshal(arg, c.atOne)
			case "mutually_exclusive_sets":
				var sets struct{ Set1, Set2 []string }
				err = json.Unmarshal(arg, &sets)
				c.set1, c.set2 = sets.Set1, sets.Set2
			default:
				err = fmt.Errorf("unknown check")
			}
			if err != nil {
				return nil, fmt.Errorf("entity_checks: %s: %w", kind, err)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// run adds what c finds wrong in d to errs.
func (c entityCheck) run(schema *fieldSchema, d dict, errs fieldErrors) {
	if c.refersToVault(schema, d) {
		return
	}
	filled := c.filled(d)
	switch c.kind {
	case "at_least_one_of":
		if filled == 0 {
			errs.entity("at least one of these fields must be non-empty: " + quotedList(c.fields))
		}
	case "only_one_of":
		if filled != 1 {
			errs.entity("exactly one of these fields must be non-empty: " + quotedList(c.fields))
		}
	case "mutually_required":
		if filled != 0 && filled != len(c.fields) {
			errs.entity("all or none of these fields must be set: " + quotedList(c.fields))
		}
	case "mutually_exclusive":
		if filled > 1 {
			errs.entity("only one or none of these fields must be set: " + quotedList(c.fields))
		}
	case "distinct":
		c.runDistinct(d, errs)
	case "mutually_exclusive_sets":
		a, b := nonEmptyFields(d, c.set1), nonEmptyFields(d, c.set2)
		if len(a) > 0 && len(b) > 0 {
			errs.entity(fmt.Sprintf("these sets are mutually exclusive: (%s), (%s)", quotedList(a), quotedList(b)))
		}
	case "conditional":
		c.runConditional(schema, d, errs)
	case "conditional_at_least_one_of":
		if schema.matches(c.atOne.IfField, c.atOne.IfMatch, d) == nil && len(nonEmptyFields(d, c.atOne.Then)) == 0 {
			errs.entity(firstNonEmpty(c.atOne.ThenErr,
				"at least one of these fields must be non-empty: "+quotedList(c.atOne.Then)))
		}
	}
}

// refersToVault: Kong skips a check one of whose fields is a vault reference.
func (c entityCheck) refersToVault(schema *fieldSchema, d dict) bool {
	names := append(append([]string{}, c.fields...), append(c.set1, c.set2...)...)
	for _, n := range names {
		if s, ok := getField(d, n).(string); ok && isReference(s) {
			if f := schema.path(n); f != nil && f.Referenceable {
				return true
			}
		}
	}
	return false
}

func (c entityCheck) filled(d dict) int { return len(nonEmptyFields(d, c.fields)) }

func (c entityCheck) runDistinct(d dict, errs fieldErrors) {
	seen := map[string]bool{}
	for _, n := range c.fields {
		v := getField(d, n)
		if isEmpty(v) {
			continue
		}
		key := luaText(v)
		if seen[key] {
			errs.entity("values of these fields must be distinct: " + quotedList(c.fields))
			return
		}
		seen[key] = true
	}
}

func (c entityCheck) runConditional(schema *fieldSchema, d dict, errs fieldErrors) {
	if schema.matches(c.cond.IfField, c.cond.IfMatch, d) != nil {
		return
	}
	if problem := schema.matches(c.cond.ThenField, c.cond.ThenMatch, d); problem != nil {
		setFieldError(errs, c.cond.ThenField, problem)
		errs.entity(firstNonEmpty(c.cond.ThenErr,
			fmt.Sprintf("failed conditional validation given value of field '%s'", c.cond.IfField)))
	}
}

// matches validates one field against its own schema overlaid with a rule.
func (f *fieldSchema) matches(field string, rule json.RawMessage, d dict) any {
	base := f.path(field)
	if base == nil {
		return nil
	}
	over := *base
	if err := json.Unmarshal(rule, &over); err != nil {
		return nil
	}
	return over.validate(getField(d, field))
}

func (f *fieldSchema) path(name string) *fieldSchema {
	cur := f
	for part := range strings.SplitSeq(name, ".") {
		if cur = cur.sub(part); cur == nil {
			return nil
		}
	}
	return cur
}

func getField(d dict, name string) any {
	head, tail, deep := strings.Cut(name, ".")
	v := d[head]
	if !deep {
		return v
	}
	if sub, ok := v.(dict); ok {
		return getField(sub, tail)
	}
	return nil
}

func setFieldError(errs fieldErrors, name string, problem any) {
	head, tail, deep := strings.Cut(name, ".")
	if !deep {
		errs[head] = problem
		return
	}
	sub, ok := errs[head].(fieldErrors)
	if !ok {
		sub = fieldErrors{}
		errs[head] = sub
	}
	setFieldError(sub, tail, problem)
}

func isEmpty(v any) bool {
	switch x := v.(type) {
	case nil, null:
		return true
	case string:
		return x == ""
	case list:
		return len(x) == 0
	case dict:
		return len(x) == 0
	}
	return false
}

func nonEmptyFields(d dict, names []string) []string {
	var out []string
	for _, n := range names {
		if !isEmpty(getField(d, n)) {
			out = append(out, n)
		}
	}
	return out
}

func quotedList(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = "'" + n + "'"
	}
	return strings.Join(q, ", ")
}
