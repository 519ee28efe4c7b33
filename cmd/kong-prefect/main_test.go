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
	for name, priority := range map[string]int{"prefect-identity": 1050, "prefect-trigger": 750} {
		var out bytes.Buffer
		require.NoError(t, run([]string{"dump", name}, &out, io.Discard))
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

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		nil, {"start"}, {"dump"}, {"dump", "prefect-guardian"}, {"serve"}, {"serve", "--socket", "a", "--kong-prefix", "b"},
		{"serve", "--socket", "a", "b"}, {"serve", "--port", "1"},
	} {
		require.ErrorIs(t, run(args, io.Discard, io.Discard), errUsage, "%v", args)
	}
}

func TestSocketIsInKongsPrefix(t *testing.T) {
	t.Parallel()
	socket, _, err := serveFlags([]string{"--kong-prefix", "/usr/local/kong"})
	require.NoError(t, err)
	require.Equal(t, "/usr/local/kong/kong-prefect.socket", socket)
}
