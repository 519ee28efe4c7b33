package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDoctorCommand(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	open := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(open.Close)
	nothing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(nothing.Close)
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"nobody is there", []string{"http://" + closed.Addr().String()}, exitFound, "No client gets an answer"},
		{"everybody gets in", []string{open.URL, "--path", "/run/x"}, exitFound, "prefect-identity doesn't run here"},
		{"nothing is known", []string{nothing.URL, "--json"}, 0, `"verdict": "unknown"`},
		{"no address", []string{"gateway"}, exitUsage, "http(s)://host"},
		{"a path in the address", []string{open.URL + "/api"}, exitUsage, "http(s)://host"},
		{"no gateway", nil, exitUsage, "accepts 1 arg"},
		{"no slash", []string{open.URL, "--path", "run"}, exitUsage, "begin with a slash"},
		{"no kong.yml", []string{open.URL, "--config", empty}, exitTrouble, "_format_version"},
		{"no token", []string{open.URL, "--token-file", empty + "/none"}, exitTrouble, "not a directory"},
		{"no authority", []string{open.URL, "--ca", empty}, exitTrouble, "no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out, stderr bytes.Buffer
			code := exitCode(run(t.Context(), append([]string{"doctor", "--rate", "1000"}, c.args...), &out, &stderr), &stderr)
			require.Equal(t, c.code, code, "%s%s", out.String(), stderr.String())
			require.Contains(t, out.String()+stderr.String(), c.says)
		})
	}
}
