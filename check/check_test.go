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

// TestGood holds that what decK, Kong and the ingress controller allow is taken
// as they take it.
func TestGood(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		plugins, routes int
		notChecked      []string
	}{
		"deck-features": {4, 4, nil},
		"manifests":     {3, 2, []string{"prefect-guard on route HTTPRoute other/prefect: its configuration is in a Secret (configFrom)"}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/good/" + name + ".yml")
			require.NoError(t, err)
			report := check.Check(t.Context(), []check.File{{Name: name, Data: data}}, check.Options{Offline: true})
			require.Empty(t, report.Findings)
			require.Equal(t, want.plugins, report.Plugins)
			require.Equal(t, want.routes, report.Routes)
			var why []string
			for _, n := range report.NotChecked {
				why = append(why, n.Entity+": "+n.Why)
			}
			require.Equal(t, want.notChecked, why)
		})
	}
}

// TestValuesOfTheEnvironment holds that a variable's value is checked where it
// is known, and never told.
func TestValuesOfTheEnvironment(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/good/deck-features.yml")
	require.NoError(t, err)
	env := map[string]string{
		"OIDC_ISSUER": "http://plain.example.com", "DECK_IDP": "idp.example.com", "DECK_ROLE": "partner",
		"DECK_PREFECT_API": "http://prefect:4200/api", "DECK_PREFECT_AUTH": "admin:letmein", "DECK_PREFECT_TIMEOUT": "7",
	}
	report := check.Check(t.Context(), []check.File{{Name: "kong.yml", Data: data}}, check.Options{
		Offline: true, Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	var have []string
	for _, f := range report.Findings {
		have = append(have, f.Code+" "+f.Field)
	}
	require.Equal(t, []string{
		"value_out_of_range services[1].routes[2].plugins[1].config.prefect.timeout_ms", // an anchor's, for two routes
		"config_invalid plugins[1].config.issuers[1].issuer",
	}, have, "%+v", report.Findings)
	require.NotContains(t, fmt.Sprint(report), "letmein")
	require.NotContains(t, fmt.Sprint(report), "plain.example.com")
}

// TestFilesInAnyOrder holds that what one file names may be in another, before
// or after it, and that a variable that is set and empty is a value.
func TestFilesInAnyOrder(t *testing.T) {
	t.Parallel()
	files := []check.File{
		{Name: "a.yml", Data: []byte(`{_format_version: "3.0", plugins: [{name: prefect-identity, route: r, config: {issuers: [{issuer: "{vault://env/issuer}", audiences: [a]}]}}]}`)},
		{Name: "b.yml", Data: []byte(`{_format_version: "3.0", routes: [{name: r, service: s, paths: [/]}]}`)},
		{Name: "c.yml", Data: []byte(`{_format_version: "3.0", services: [{name: s, host: h}]}`)},
	}
	for range files {
		files = append(files[1:], files[0])
		report := check.Check(t.Context(), files, check.Options{Offline: true})
		require.Empty(t, report.Findings)
	}
	report := check.Check(t.Context(), files, check.Options{Offline: true, Env: func(name string) (string, bool) { return "", name == "ISSUER" }})
	require.Len(t, report.Findings, 1)
	require.Equal(t, "plugins[1].config.issuers[1].issuer", report.Findings[0].Field)
}
