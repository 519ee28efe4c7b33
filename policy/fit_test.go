package policy

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFit(t *testing.T) {
	t.Parallel()
	const flow = `{"type": "object", "required": ["region", "day"], "properties": {
		"region": {"type": "string", "enum": ["emea", "apac"]}, "limit": {"type": "integer"}, "day": {"type": "string"}}}`
	for _, c := range []struct {
		name     string
		schema   string
		bindings []Binding
		defaults map[string]any
		want     []string
	}{
		{"the body as it is", flow, nil, nil, nil},
		{"all that is demanded", flow, []Binding{{Name: "region", From: FromBody}, {Name: "day", From: FromQuery}}, nil, nil},
		{"the deployment's own default", flow, []Binding{{Name: "region", From: FromBody}}, map[string]any{"day": "today"}, nil},
		{"what is demanded and not given", flow, []Binding{{Name: "region", From: FromBody}}, nil, []string{"parameters"}},
		{"no such parameter", flow, []Binding{{Name: "region", From: FromBody}, {Name: "day", From: FromBody}, {Name: "max", From: FromBody}}, nil, []string{"parameters[3].name"}},
		{"a flow that takes any", `{"type": "object", "additionalProperties": true}`, []Binding{{Name: "max", From: FromBody}}, nil, nil},
		{"a flow without parameters", ``, []Binding{{Name: "max", From: FromBody}}, nil, []string{"parameters[1].name"}},
		{"a fixed value of another type", flow, []Binding{{Name: "region", From: FromBody}, {Name: "day", From: FromBody}, {Name: "limit", From: FromFixed, Value: "many"}}, nil, []string{"parameters[3].value"}},
		{"a fixed value that fits", flow, []Binding{{Name: "region", From: FromFixed, Value: "emea"}, {Name: "day", From: FromBody}, {Name: "limit", From: FromFixed, Value: "3"}}, nil, nil},
		{"a default outside of the choices", flow, []Binding{{Name: "region", From: FromQuery, Default: "moon"}, {Name: "day", From: FromBody}}, nil, []string{"parameters[1].default"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			schema, err := NewParameterSchema(json.RawMessage(c.schema))
			require.NoError(t, err)
			bindings, err := NewBindings(c.bindings, nil)
			require.NoError(t, err)
			var fields []string
			for _, m := range bindings.Fit(schema, c.defaults) {
				require.NotEmpty(t, m.Text)
				fields = append(fields, m.Field)
			}
			require.Equal(t, c.want, fields)
		})
	}
}

func TestFitOfConditions(t *testing.T) {
	t.Parallel()
	schema, err := NewParameterSchema(json.RawMessage(`{"type": "object", "properties": {"limit": {"type": "integer"}}}`))
	require.NoError(t, err)
	p, err := New([]string{"runner"}, []Rule{
		{Name: "a", When: "parameters.limit < 5 && identity.kind == 'user'"},
		{Name: "b", Roles: []string{"owner"}},
		{Name: "c", When: "has(parameters.max) && parameters.max < 5"},
	})
	require.NoError(t, err)
	require.Equal(t, []Misfit{{"allow[3].when", `the flow has no parameter "max" for the condition to ask about`}}, p.Fit(schema))
}
