package check_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/check"
)

// expectation is a comment in a broken configuration: what is found in its
// line, and the text that begins at the finding's column.
var expectation = regexp.MustCompile(`# want: (\w+)(?: (\S+))?$`)

// TestBroken holds that each configuration in testdata/broken is found wrong
// for what its name says, in the line that says so, and for nothing else.
func TestBroken(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/broken/*.yml")
	require.NoError(t, err)
	require.Greater(t, len(paths), 25)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			lines := strings.Split(string(data), "\n")
			var want, have []string
			begins := map[string]string{}
			for i, line := range lines {
				if match := expectation.FindStringSubmatch(line); match != nil {
					key := fmt.Sprintf("line %d: %s", i+1, match[1])
					want, begins[key] = append(want, key), match[2]
				}
			}
			require.NotEmpty(t, want)
			report := check.Check(t.Context(), []check.File{{Name: path, Data: data}}, check.Options{Offline: true})
			for _, f := range report.Findings {
				key := fmt.Sprintf("line %d: %s", f.Line, f.Code)
				have = append(have, key)
				require.NotEmpty(t, f.What)
				require.NotEmpty(t, f.Do)
				require.Equal(t, path, f.File)
				require.NotContains(t, f.What+f.Do, "\n")
				if begins[key] != "" {
					require.Equal(t, begins[key], head(lines[f.Line-1][f.Column-1:], begins[key]), "column of %s", key)
				}
			}
			slices.Sort(want)
			slices.Sort(have)
			require.Equal(t, want, have, "%+v", report.Findings)
		})
	}
}

func head(s, like string) string { return s[:min(len(s), len(like))] }
