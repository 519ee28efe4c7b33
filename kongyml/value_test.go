package kongyml_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/kongyml"
)

func env(name string) (string, bool) {
	v, ok := map[string]string{
		"A_B": "x", "KONG_A": "y", "J": `{"k":"z"}`, "EMPTY": "", "DECK_N": "7", "DECK_ON": "true", "DECK_HALF": "0.5", "DECK_REF": "{vault://env/a-b}", "DECK_NAME": "a-b",
	}[name]
	return v, ok
}

func TestResolve(t *testing.T) {
	t.Parallel()
	config := map[string]any{
		"plain": "p", "a": "{vault://env/a-b}", "list": []any{"{vault://env/a?prefix=kong-}", map[string]any{"k": "{vault://env/j/k}"}},
		"none": "{vault://env/none}", "aws": "{vault://aws/x/y}", "n": 1, "empty": "{vault://env/empty}",
		"deck": `https://${{ env "DECK_NAME" }}.example/${{ env 'DECK_N' }}`, "deck_none": `${{ env "DECK_NONE" | toInt }}`,
		"int": `${{ env "DECK_N" | toInt }}`, "bool": `${{ env "DECK_ON" | toBool }}`, "float": `${{ env "DECK_HALF" | toFloat }}`, "no_int": `${{ env "DECK_ON" | toInt }}`,
	}
	got, missing := kongyml.Resolve(config, env)
	require.Equal(t, map[string]any{
		"plain": "p", "a": "x", "list": []any{"y", map[string]any{"k": "z"}}, "none": "", "aws": "", "n": 1, "empty": "",
		"deck": "https://a-b.example/7", "deck_none": "", "int": 7, "bool": true, "float": 0.5, "no_int": "true",
	}, got)
	said := make([]string, len(missing))
	for i, m := range missing {
		said[i] = m.String()
	}
	require.ElementsMatch(t, []string{
		"none: {vault://env/none} is the environment's NONE, which isn't set", "aws: {vault://aws/x/y} can't be had here, only the env vault is known",
		`deck_none: ${{ env "DECK_NONE" | toInt }} is the environment's DECK_NONE, which isn't set`,
	}, said)
}

// decK does its part when it reads the file, and Kong when it starts a plugin.
func TestValueOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text                string
		value, from, variable, of string
		known                     bool
	}{
		{"itself", "x", "x", "", "", "", true},
		{"a reference in a variable", `${{ env "DECK_REF" }}`, "x", `${{ env "DECK_REF" }}`, "A_B", "{vault://env/a-b}", true},
		{"a variable in a reference", `{vault://env/${{ env "DECK_NAME" }}}`, "x", `{vault://env/${{ env "DECK_NAME" }}}`, "A_B", "{vault://env/a-b}", true},
		{"of two variables one that isn't set", `${{ env "DECK_N" }}${{ env "DECK_NONE" }}`, "", `${{ env "DECK_NONE" }}`, "DECK_NONE", "", false},
		{"a vault that isn't the environment", "{vault://aws/x}", "", "{vault://aws/x}", "", "{vault://aws/x}", false},
		{"no object", "{vault://env/a-b/k}", "", "{vault://env/a-b/k}", "A_B", "{vault://env/a-b/k}", false},
		{"decK's names begin with DECK_", `${{ env "A_B" }}`, `${{ env "A_B" }}`, "", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := kongyml.ValueOf(c.text, env)
			require.Equal(t, []any{c.value, c.from, c.variable, c.of, c.known}, []any{v.Text, v.From, v.Variable, v.Reference, v.Known})
		})
	}
	require.False(t, kongyml.ValueOf("{vault://env/a-b}", nil).Known)
}
