package stamp

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/signing"
)

var updateVectors = flag.Bool("update-vectors", false, "write testdata/runs.json again")

// vector is a run as Prefect's API shows it, and what is wrong with it.
type vector struct {
	Name  string    `json:"name"`
	At    time.Time `json:"at"`
	Run   vectorRun `json:"run"`
	Codes []string  `json:"codes"`
}

type vectorRun struct {
	FlowID         string         `json:"flow_id"`
	DeploymentID   string         `json:"deployment_id"`
	IdempotencyKey string         `json:"idempotency_key"`
	Parameters     map[string]any `json:"parameters"`
	Context        map[string]any `json:"context"`
	CreatedBy      *CreatedBy     `json:"created_by"`
	Tags           []string       `json:"tags"`
	Labels         map[string]any `json:"labels"`
}

// fixedKeys are keys for tests alone, the same ones every time.
func fixedKeys(t *testing.T, name string) *signing.Keys {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name) // git keeps no mode 0600
	require.NoError(t, os.WriteFile(path, data, 0o600))
	keys, err := signing.Open(signing.Options{File: path, RotateEvery: -1})
	require.NoError(t, err)
	return keys
}

// The Python module must find what this package finds, on the same runs.
func TestVectorsForOtherLanguages(t *testing.T) {
	t.Parallel()
	keys := fixedKeys(t, "keys.json")
	genuine, all := forgeries(t, keys, fixedKeys(t, "strangers.json"))
	var runs []vector
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := storedRun(t, genuine, aRun)
		all[name].change(&s)
		codes := all[name].want
		if codes == nil {
			codes = []string{}
		}
		runs = append(runs, vector{name, s.At, vectorRun{
			s.FlowID.String(), s.DeploymentID.String(), s.IdempotencyKey, s.Parameters, s.Context, s.CreatedBy, s.Tags, s.Labels,
		}, codes})
	}
	data, err := json.MarshalIndent(map[string]any{"jwks": json.RawMessage(keys.JWKS()), "runs": runs}, "", " ")
	require.NoError(t, err)
	data = append(data, '\n')
	if *updateVectors {
		require.NoError(t, os.WriteFile("testdata/runs.json", data, 0o644))
	}
	written, err := os.ReadFile("testdata/runs.json")
	require.NoError(t, err)
	require.Equal(t, string(written), string(data), "go test ./stamp -update-vectors writes it")
}
