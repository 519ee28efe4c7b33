package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/check"
)

func TestCheckCommand(t *testing.T) {
	t.Parallel()
	const broken = "../../check/testdata/broken/"
	inOrder := filepath.Join(t.TempDir(), "kong.yml")
	shipped, err := os.ReadFile("../../kong.yml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(inOrder, shipped, 0o600))
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"in order", []string{inOrder, "--offline"}, 0, "nothing is wrong in 3 plugins, 2 routes, 1 file\n"},
		{"an error", []string{broken + "field-misspelt.yml", "--offline"}, exitFound, `field-misspelt.yml:7:7 error field_unknown
  prefect-identity for every route: plugins[1].config.issuers[1].audience
  there is no field "audience" here; is it audiences?
  -> Correct the name`},
		{"a warning", []string{broken + "auth-string-in-clear.yml", "--offline"}, 0, "1 warning in 2 plugins, 1 route, 1 file"},
		{"a warning, strictly", []string{broken + "auth-string-in-clear.yml", "--offline", "--strict"}, exitFound, "not in order: 1 warning"},
		{"an advice, strictly", []string{broken + "role-for-a-person.yml", "--offline", "--strict"}, 0, "1 advice"},
		{"several files as one", []string{broken + "identity-missing.yml", broken + "role-for-a-person.yml", "--offline"}, 0, "1 advice in 2 plugins, 1 route, 2 files"},
		{"what isn't known here", []string{inOrder}, 0, "not checked: prefect-identity for every route: plugins[1].config.issuers[1].issuer: it comes from {vault://env/oidc-issuer}"},
		{"no file", []string{"nowhere.yml"}, exitTrouble, "nowhere.yml"},
		{"no argument", nil, exitUsage, "requires at least 1 arg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out, stderr bytes.Buffer
			code := exitCode(run(t.Context(), append([]string{"check"}, c.args...), &out, &stderr), &stderr)
			require.Equal(t, c.code, code, out.String()+stderr.String())
			require.Contains(t, out.String()+stderr.String(), c.says)
			require.NotContains(t, out.String()+stderr.String(), "letmein", "a secret that is found isn't told")
		})
	}
}

func TestCheckForMachines(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../check/testdata/broken/several-at-once.yml")
	require.NoError(t, err)
	root := newRootCommand()
	var out bytes.Buffer
	root.SetIn(bytes.NewReader(file))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"check", "--offline", "--json", "-"})
	require.ErrorIs(t, root.ExecuteContext(t.Context()), errFound)
	var report check.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &report))
	require.Len(t, report.Findings, 5)
	f := report.Findings[0]
	require.Equal(t, "<stdin>", f.File)
	require.Equal(t, check.Error, f.Severity)
	require.Equal(t, "value_not_allowed", f.Code)
	require.Equal(t, "plugins[1].config.issuers[1].preset", f.Field)
	for _, key := range []string{`"file"`, `"line"`, `"column"`, `"entity"`, `"what"`, `"do"`, `"not_checked": []`, `"asked": []`} {
		require.Contains(t, out.String(), key)
	}
	require.False(t, strings.Contains(out.String(), `"a:b"`), "a secret that is found isn't told")
}

// TestREADMESession runs what the README shows: its own configuration, with
// one letter missing.
func TestREADMESession(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(readme), "```yaml\n_format_version")
	require.True(t, ok)
	config, _, _ := strings.Cut("_format_version"+after, "```")
	_, after, ok = strings.Cut(string(readme), "$ kong-prefect check --offline kong.yml\n")
	require.True(t, ok)
	shown, _, _ := strings.Cut(after, "```")

	root := newRootCommand()
	var out bytes.Buffer
	root.SetIn(strings.NewReader(strings.Replace(config, "allow_roles: [runner]", "allow_roles: [runer]", 1)))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"check", "--offline", "-"})
	require.ErrorIs(t, root.ExecuteContext(t.Context()), errFound)
	require.Equal(t, shown, strings.ReplaceAll(out.String(), "<stdin>", "kong.yml"))
}
