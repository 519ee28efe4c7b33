package node_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml/node"
)

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &n))
	return n.Content[0]
}

func flat(n *yaml.Node) map[string]string {
	all := map[string]string{}
	for _, m := range node.Members(n) {
		all[m.Key.Value] = node.Text(m.Value)
	}
	return all
}

func TestMembers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       map[string]string
	}{
		{"of a key that stands twice the last", "{a: 1, a: 2}", map[string]string{"a": "2"}},
		{"merged, and its own first", "{<<: [{a: 1, b: 1}, {b: 2, c: 2}], a: 3}", map[string]string{"a": "3", "b": "1", "c": "2"}},
		{"of itself", "&a {b: 1, <<: *a}", map[string]string{"b": "1"}},
		{"no mapping", "[a]", map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, flat(parse(t, c.text)))
		})
	}
}

func TestIn(t *testing.T) {
	t.Parallel()
	root := parse(t, "a: &a {b: [x, 1, ~], none: ~}\nc: *a\n")
	require.Equal(t, []string{"x", "1", ""}, node.Texts(node.In(root, "c", "b")))
	require.Equal(t, 1, node.Find(node.In(root, "c"), "b").Key.Line)
	require.Nil(t, node.In(root, "c", "none"))
	require.Nil(t, node.In(root, "x", "y"))
	require.True(t, node.IsMapping(node.In(root, "c")))
	require.Equal(t, map[string]string{"b": "2", "none": "", "d": "1"}, flat(node.Overlay(parse(t, "{b: 2, d: 1}"), node.In(root, "a"))))
}
