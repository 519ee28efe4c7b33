package check_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/check"
)

// FuzzCheck: whatever is in a file, it is told with a place, and nothing
// breaks.
func FuzzCheck(f *testing.F) {
	paths, err := filepath.Glob("testdata/broken/*.yml")
	require.NoError(f, err)
	for _, path := range append(paths, "../kong.yml") {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("a: &a\n  <<: *a\n  services: *a\n"))
	f.Add([]byte("a: &a {b: 1}\nb: &b {<<: [*a, *a, *b, *b]}\nplugins: [*b]\n"))
	f.Add([]byte("plugins: &p\n- &q {name: prefect-identity, config: {issuers: *p, roles: [*q]}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		report := check.Check(t.Context(), []check.File{{Name: "f", Data: data}}, check.Options{Offline: true})
		for _, found := range report.Findings {
			require.Positive(t, found.Line, "%+v", found)
			require.NotEmpty(t, found.What)
			require.NotEmpty(t, found.Do)
			require.NotEmpty(t, found.Severity)
		}
	})
}
