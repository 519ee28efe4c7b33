package stamp_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/stamp"
)

// asRun is the body that makes a run with the stamp.
func asRun(t *testing.T, made stamp.Stamp) (body map[string]any) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"context": made.Context, "tags": made.Tags, "labels": made.Labels})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &body))
	return body
}

// patchable are the labels without Prefect's own.
func patchable(labels map[string]any) map[string]any {
	ours := maps.Clone(labels)
	maps.DeleteFunc(ours, func(name string, _ any) bool { return strings.HasPrefix(name, "prefect.") })
	return ours
}
