package policy_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/policy"
)

const offered = `{"type":"object","required":["who","secret","kind"],"properties":{
 "who":{"$ref":"#/definitions/Person"},"secret":{"type":"string","default":"of the flow"},
 "kind":{"oneOf":[{"$ref":"#/definitions/Cat"}],"discriminator":{"propertyName":"t","mapping":{"cat":"#/definitions/Cat"}}},
 "data":{"type":"object","default":{"$ref":"#/definitions/Hidden"}},"hidden":{"$ref":"#/definitions/Hidden"}},
 "definitions":{"Person":{"type":"object","properties":{"boss":{"$ref":"#/definitions/Person"},"pet":{"$ref":"#/definitions/Cat"}}},
  "Cat":{"type":"object"},"Hidden":{"type":"object"}}}`

func TestOfferTakesAlongWhatItRefersTo(t *testing.T) {
	t.Parallel()
	schema, err := policy.NewParameterSchema(json.RawMessage(offered))
	require.NoError(t, err)
	bindings, err := policy.NewBindings([]policy.Binding{
		{Name: "who", From: policy.FromBody}, {Name: "secret", From: policy.FromBody}, {Name: "kind", From: policy.FromBody},
		{Name: "data", From: policy.FromBody}, {Name: "hidden", From: policy.FromFixed, Value: "{}"},
	}, nil)
	require.NoError(t, err)
	o := bindings.Offer(schema, map[string]any{"secret": "of the deployment"}, nil)
	text, err := json.Marshal(o)
	require.NoError(t, err)
	require.NotContains(t, string(text), "of the", "the flow's default doesn't count, and the deployment's is nobody's business")
	require.ElementsMatch(t, []string{"Person", "Cat"}, keys(o.Definitions), "what only a fixed parameter refers to stays here")
	require.ElementsMatch(t, []string{"who", "kind"}, o.Body["required"])
	properties := o.Body["properties"].(map[string]any)
	require.Equal(t, "#/components/schemas/Person", properties["who"].(map[string]any)["$ref"])
	require.NotContains(t, properties["kind"], "discriminator")
	require.Equal(t, map[string]any{"$ref": "#/definitions/Hidden"}, properties["data"].(map[string]any)["default"], "a value is no reference")
	person := o.Definitions["Person"].(map[string]any)["properties"].(map[string]any)
	require.Equal(t, map[string]any{"$ref": "#/components/schemas/Person"}, person["boss"])
	require.Contains(t, schema.Check(map[string]any{})[0].Detail, "missing", "the schema itself is as it was")
}

func TestOfferSaysHowValuesAreWritten(t *testing.T) {
	t.Parallel()
	schema, err := policy.NewParameterSchema(json.RawMessage(`{"properties":{"list":{"type":"array","items":{"type":"integer"}},
		"object":{"type":"object"},"text":{"anyOf":[{"type":"string"},{"type":"object"}]},"n":{"type":"integer"}}}`))
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		from policy.Source
		json bool
	}{
		{"list", policy.FromQuery, false}, {"list", policy.FromHeader, true}, {"object", policy.FromQuery, true},
		{"text", policy.FromQuery, false}, {"n", policy.FromHeader, false},
	} {
		bindings, err := policy.NewBindings([]policy.Binding{{Name: c.name, From: c.from}}, nil)
		require.NoError(t, err)
		o := bindings.Offer(schema, nil, nil)
		require.Nil(t, o.Body)
		require.Equal(t, c.json, o.Inputs[0].JSON, "%+v", c)
	}
}

func keys(m map[string]any) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}
