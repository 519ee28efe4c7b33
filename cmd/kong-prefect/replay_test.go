package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplayCommand(t *testing.T) {
	config, _, _ := explained(t)
	dir, _ := audited(t)
	empty := filepath.Join(t.TempDir(), "empty.yml")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"nothing decided", []string{dir, "--policy", config}, 0, "0 decisions"},
		{"as JSON", []string{dir, "--policy", config, "--was", config, "--json"}, 0, `"decisions": 0`},
		{"no policy", []string{dir}, exitUsage, "--policy"},
		{"no folder", []string{"--policy", config}, exitUsage, "accepts 1 arg"},
		{"no kong.yml", []string{dir, "--policy", empty}, exitTrouble, "_format_version"},
		{"no time", []string{dir, "--policy", config, "--from", "yesterday"}, exitUsage, "is no time"},
		{"no such folder", []string{dir + "/none", "--policy", config}, exitTrouble, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := exitCode(run(t.Context(), append([]string{"replay"}, c.args...), &out, &stderr), &stderr)
			require.Equal(t, c.code, code, "%s%s", out.String(), stderr.String())
			require.Contains(t, out.String()+stderr.String(), c.says)
		})
	}
}
