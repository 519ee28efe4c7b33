package devgateway

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func schemaOf(t *testing.T, fields string, more string) *pluginSchema {
	t.Helper()
	s, err := parsePluginSchema(json.RawMessage(`{"name":"p","fields":[{"config":{"type":"record","fields":[` + fields + `]` + more + `}}]}`))
	require.NoError(t, err)
	return s
}

func parseJSON(t *testing.T, text string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return fromJSON(v)
}

// flat writes a tree of problems on one line.
func flat(t *testing.T, problem any) string {
	t.Helper()
	if problem == nil {
		return ""
	}
	b, err := json.Marshal(problem)
	require.NoError(t, err)
	return string(b)
}

func TestSchemaValidation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ field, value, want string }{
		"required":             {`{"a":{"type":"string","required":true}}`, `{}`, `{"a":"required field missing"}`},
		"null for required":    {`{"a":{"type":"string","required":true}}`, `{"a":null}`, `{"a":"required field missing"}`},
		"unknown":              {`{"a":{"type":"string"}}`, `{"b":1}`, `{"b":"unknown field"}`},
		"type":                 {`{"a":{"type":"string"}}`, `{"a":1}`, `{"a":"expected a string"}`},
		"integer":              {`{"a":{"type":"integer"}}`, `{"a":1.5}`, `{"a":"expected an integer"}`},
		"one_of":               {`{"a":{"type":"string","one_of":["x","y"]}}`, `{"a":"z"}`, `{"a":"expected one of: x, y"}`},
		"between":              {`{"a":{"type":"integer","between":[1,9]}}`, `{"a":10}`, `{"a":"value should be between 1 and 9"}`},
		"gt":                   {`{"a":{"type":"number","gt":0}}`, `{"a":0}`, `{"a":"value must be greater than 0"}`},
		"match":                {`{"a":{"type":"string","match":"^https?://[%w%.]+$"}}`, `{"a":"ftp://x"}`, `{"a":"invalid value: ftp://x"}`},
		"match holds":          {`{"a":{"type":"string","match":"^https?://[%w%.-]+$"}}`, `{"a":"https://a-b.c"}`, ``},
		"empty string":         {`{"a":{"type":"string"}}`, `{"a":""}`, `{"a":"length must be at least 1"}`},
		"empty string allowed": {`{"a":{"type":"string","len_min":0}}`, `{"a":""}`, ``},
		"uuid":                 {`{"a":{"type":"string","uuid":true}}`, `{"a":"x"}`, `{"a":"expected a valid UUID"}`},
		"array":                {`{"a":{"type":"array","elements":{"type":"string"}}}`, `{"a":["x",1]}`, `{"a":[null,"expected a string"]}`},
		"nested record":        {`{"a":{"type":"record","fields":[{"b":{"type":"string","required":true}}]}}`, `{"a":{}}`, `{"a":{"b":"required field missing"}}`},
		"list for a record":    {`{"a":{"type":"record","fields":[{"b":{"type":"string"}}]}}`, `{"a":["x","y"]}`, `{"a":["unknown field","unknown field"]}`},
		"and a field is due":   {`{"a":{"type":"record","fields":[{"b":{"type":"string","required":true}}]}}`, `{"a":["x"]}`, `{"a":{"1":"unknown field","b":"required field missing"}}`},
		"array of records":     {`{"a":{"type":"array","elements":{"type":"record","fields":[{"b":{"type":"integer"}}]}}}`, `{"a":[{"b":"x"}]}`, `{"a":[{"b":"expected an integer"}]}`},
		"map":                  {`{"a":{"type":"map","keys":{"type":"string"},"values":{"type":"integer"}}}`, `{"a":{"k":"v"}}`, `{"a":"expected an integer"}`},
		"own message":          {`{"a":{"type":"string","match":"^x$","err":"say x"}}`, `{"a":"y"}`, `{"a":"say x"}`},
		"a reference passes":   {`{"a":{"type":"string","match":"^x$","referenceable":true}}`, `{"a":"{vault://env/x}"}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := schemaOf(t, c.field, "")
			require.Equal(t, c.want, flat(t, s.Config.validate(s.Config.fillDefaults(parseJSON(t, c.value), true))))
		})
	}
}

func TestEntityChecks(t *testing.T) {
	t.Parallel()
	const fields = `{"a":{"type":"string","referenceable":true}},{"b":{"type":"string"}}`
	for name, c := range map[string]struct{ check, value, want string }{
		"at least one":        {`{"at_least_one_of":["a","b"]}`, `{}`, "at least one of these fields must be non-empty: 'a', 'b'"},
		"exclusive":           {`{"mutually_exclusive":["a","b"]}`, `{"a":"1","b":"2"}`, "only one or none of these fields must be set: 'a', 'b'"},
		"required together":   {`{"mutually_required":["a","b"]}`, `{"a":"1"}`, "all or none of these fields must be set: 'a', 'b'"},
		"only one":            {`{"only_one_of":["a","b"]}`, `{"a":"1","b":"2"}`, "exactly one of these fields must be non-empty: 'a', 'b'"},
		"conditional":         {`{"conditional":{"if_field":"a","if_match":{"eq":"x"},"then_field":"b","then_match":{"required":true}}}`, `{"a":"x"}`, "failed conditional validation given value of field 'a'"},
		"conditional, not so": {`{"conditional":{"if_field":"a","if_match":{"eq":"x"},"then_field":"b","then_match":{"required":true}}}`, `{"a":"y"}`, ""},
		"a reference skips":   {`{"mutually_exclusive":["a","b"]}`, `{"a":"{vault://env/x}","b":"2"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := schemaOf(t, fields, `,"entity_checks":[`+c.check+`]`)
			got := s.Config.validate(s.Config.fillDefaults(parseJSON(t, c.value), true))
			if c.want == "" {
				require.Nil(t, got)
				return
			}
			require.Equal(t, []any{c.want}, got.(fieldErrors)[entityErrors])
		})
	}
}

func TestDefaultsAreFilledAtEveryDepth(t *testing.T) {
	t.Parallel()
	s := schemaOf(t, `{"n":{"type":"integer","default":7}},
		{"r":{"type":"record","required":true,"fields":[{"x":{"type":"string","default":"d"}}]}},
		{"o":{"type":"record","required":false,"fields":[{"x":{"type":"string","default":"d"}}]}},
		{"u":{"type":"record","fields":[{"v":{"type":"record","fields":[{"x":{"type":"string","default":"d"}}]}}]}},
		{"l":{"type":"array","elements":{"type":"record","fields":[{"y":{"type":"boolean","default":true}}]}}},
		{"s":{"type":"set","elements":{"type":"string"}}}`, "")
	filled := s.Config.fillDefaults(parseJSON(t, `{"l":[{}],"s":["a","a"]}`), true)
	// A record that doesn't say whether it is required, is.
	require.JSONEq(t, `{"n":7,"r":{"x":"d"},"o":null,"u":{"v":{"x":"d"}},"l":[{"y":true}],"s":["a"]}`, flat(t, toJSON(filled)))
}

func TestSchemaThatKongRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ field, want string }{
		"short description": {`{"a":{"type":"string","description":"short"}}`, "config.a: description: length must be at least 10"},
		"no type":           {`{"a":{}}`, "config.a: type: expected one of"},
		"no elements":       {`{"a":{"type":"array"}}`, "field of type 'array' must declare 'elements'"},
		"unknown attribute": {`{"a":{"type":"string","colour":"red"}}`, `unknown field "colour"`},
		"match on integer":  {`{"a":{"type":"integer","match":"x"}}`, "field of type 'integer' cannot have attribute 'match'"},
		"two names":         {`{"a":{"type":"string"},"b":{"type":"string"}}`, "length must be 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parsePluginSchema(json.RawMessage(`{"name":"p","fields":[{"config":{"type":"record","fields":[` + c.field + `]}}]}`))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestVaultReferences: strings, lists and maps of strings, and records
// wherever they are; not lists in lists, and nothing that is not marked.
func TestVaultReferences(t *testing.T) {
	t.Parallel()
	s := schemaOf(t, `{"s":{"type":"string","referenceable":true}},{"plain":{"type":"string"}},
		{"l":{"type":"array","elements":{"type":"string","referenceable":true}}},
		{"m":{"type":"map","keys":{"type":"string"},"values":{"type":"string","referenceable":true}}},
		{"records":{"type":"array","elements":{"type":"record","fields":[{"x":{"type":"string","referenceable":true}}]}}},
		{"missing":{"type":"string","referenceable":true}},{"unset":{"type":"string"}},
		{"part":{"type":"string","referenceable":true}}`, "")
	env := map[string]string{"A_B": "secret", "J": `{"k":"inner"}`}
	v := vault{func(k string) (string, bool) { x, ok := env[k]; return x, ok }, newLogger(io.Discard, "emerg")}
	config := s.Config.fillDefaults(parseJSON(t, `{"s":"{vault://env/a-b}","plain":"{vault://env/a-b}","l":["x","{vault://env/a-b}"],
		"m":{"k":"{vault://env/a-b}"},"records":[{"x":"{vault://env/a-b}"}],"missing":"{vault://env/nope}","part":"{vault://env/j/k}"}`), true).(dict)
	require.JSONEq(t, `{"s":"secret","plain":"{vault://env/a-b}","l":["x","secret"],"m":{"k":"secret"},"missing":"","part":"inner",
		"records":[{"x":"secret","$refs":{"x":"{vault://env/a-b}"}}],
		"$refs":{"s":"{vault://env/a-b}","l":{"2":"{vault://env/a-b}"},"m":{"k":"{vault://env/a-b}"},"missing":"{vault://env/nope}","part":"{vault://env/j/k}"}}`,
		flat(t, toJSON(v.resolveRecord(s.Config, config))))
}

func TestLuaNumbersAsText(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{42: "42", -1.5: "-1.5", 0.1: "0.1", 1e15: "1e+15", 1e14: "1e+14", 123456789012345678: "1.2345678901235e+17", 0: "0"} {
		require.Equal(t, want, luaText(v), fmt.Sprint(v))
	}
}
