package stamp

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors are RFC 8785's own, and ours for what the RFC leaves out; the
// Python module is held to the same file.
func TestCanonicalVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/canonical.json")
	require.NoError(t, err)
	var vectors []struct{ Name, JSON, Canonical string }
	require.NoError(t, json.Unmarshal(data, &vectors))
	require.NotEmpty(t, vectors)
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			got, err := canonicalJSON([]byte(v.JSON))
			require.NoError(t, err)
			require.Equal(t, v.Canonical, string(got))
		})
	}
}

func TestParametersHash(t *testing.T) {
	t.Parallel()
	hash := func(p map[string]any, server ...string) string {
		h, err := ParametersHash(p, server)
		require.NoError(t, err)
		return h
	}
	require.Equal(t, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", hash(nil), "SHA-256 of {}")
	require.Equal(t, hash(map[string]any{"a": 1, "b": 2.0}), hash(map[string]any{"b": json.Number("2"), "a": json.Number("1.0")}))
	require.Equal(t, hash(map[string]any{"a": 1}), hash(map[string]any{"a": 1, "b": "whatever"}, "b"))
	require.NotEqual(t, hash(map[string]any{"a": 1}), hash(map[string]any{"a": "1"}))
	require.NotEqual(t, hash(map[string]any{"a": json.Number("9007199254740993")}), hash(map[string]any{"a": json.Number("9007199254740992")}))
	_, err := ParametersHash(map[string]any{"a": func() {}}, nil)
	require.ErrorIs(t, err, ErrParameters)
}

func TestComplete(t *testing.T) {
	t.Parallel()
	template := map[string]any{"__prefect_kind": "jinja", "template": "x"}
	defaults := map[string]any{"region": "emea", "day": "today", "secret": []any{map[string]any{"deep": template}}, "other": template}
	complete, server := Complete(defaults, map[string]any{"region": "apac", "other": 1})
	require.Equal(t, map[string]any{"region": "apac", "day": "today", "other": 1}, complete)
	require.Equal(t, []string{"secret"}, server)
	complete, server = Complete(nil, nil)
	require.Equal(t, map[string]any{}, complete)
	require.Empty(t, server)
}

// Whatever JSON there is, its canonical form is a fixed point, and one hash
// stands for one value.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"a": [1, 1.0, 1e2, -0, 9007199254740993, "ä", null, {"b": {}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		one, err := canonicalJSON(data)
		if err != nil {
			return
		}
		two, err := canonicalJSON(one)
		require.NoError(t, err)
		require.Equal(t, string(one), string(two))
	})
}
