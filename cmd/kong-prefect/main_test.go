package main

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDumpIsWhatKongReads(t *testing.T) {
	t.Parallel()
	for name, priority := range map[string]int{"prefect-identity": 1050, "prefect-trigger": 750, "prefect-guard": 750} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"dump", name}, &out, io.Discard))
		var dump struct {
			Protocol string
			Plugins  []struct {
				Name, Version string
				Priority      int
				Phases        []string
				Schema        struct{ Name string }
			}
		}
		require.NoError(t, json.Unmarshal(out.Bytes(), &dump))
		require.Equal(t, "ProtoBuf:1", dump.Protocol)
		require.Len(t, dump.Plugins, 1)
		p := dump.Plugins[0]
		require.Equal(t, name, p.Name)
		require.Equal(t, name, p.Schema.Name)
		require.Equal(t, priority, p.Priority)
		require.Equal(t, []string{"access"}, p.Phases)
		require.Regexp(t, `^\d+\.\d+\.\d+$`, p.Version)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help", []string{"help"}, 0, ""},
		{"help of a command", []string{"serve", "--help"}, 0, ""},
		{"version", []string{"version"}, 0, ""},
		{"version as a flag", []string{"--version"}, 0, ""},
		{"routes", []string{"routes"}, 0, ""},
		{"routes of no role", []string{"routes", "--role", "root"}, exitUsage, "viewer, runner"},
		{"no command", []string{}, exitUsage, "no command given"},
		{"unknown command", []string{"start"}, exitUsage, `unknown command "start"`},
		{"dump without a plugin", []string{"dump"}, exitUsage, "accepts 1 arg"},
		{"dump of an unknown plugin", []string{"dump", "prefect-guardian"}, exitUsage, "prefect-identity, prefect-trigger"},
		{"serve without a socket", []string{"serve"}, exitUsage, "needs one of"},
		{"serve on two sockets", []string{"serve", "--socket", "a", "--kong-prefix", "b"}, exitUsage, "not both"},
		{"serve with an argument", []string{"serve", "--socket", "a", "b"}, exitUsage, `"b"`},
		{"serve with an unknown flag", []string{"serve", "--port", "1"}, exitUsage, "--port"},
		{"serve where no socket can be", []string{"serve", "--kong-prefix", "/nonexistent/kong"}, exitTrouble, "/nonexistent/kong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			require.Equal(t, c.code, exitCode(run(t.Context(), c.args, io.Discard, io.Discard), &stderr))
			require.Contains(t, stderr.String(), c.says)
		})
	}
}

func TestRoutesOfARole(t *testing.T) {
	t.Parallel()
	var all, viewer bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"routes"}, &all, io.Discard))
	require.NoError(t, run(t.Context(), []string{"routes", "--role", "viewer"}, &viewer, io.Discard))
	require.Equal(t, 1+193, bytes.Count(all.Bytes(), []byte("\n")))
	require.Regexp(t, `POST +/deployments/\{id:uuid\}/create_flow_run +run_deployments +start_run +deployment +runner,developer,owner`, all.String())
	require.Contains(t, viewer.String(), "/flow_runs/filter")
	require.NotContains(t, viewer.String(), "create_flow_run")
}
