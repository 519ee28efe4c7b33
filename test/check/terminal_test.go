package check_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

// TestOnATerminal holds that colours and progress are for terminals alone, and
// that NO_COLOR takes the colours away.
func TestOnATerminal(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	require.NoError(t, stack.BuildBinaries(ctx, repository, dir))
	binary := filepath.Join(dir, "kong-prefect")
	data, err := os.ReadFile(filepath.Join(repository, "check/testdata/broken/role-nobody-has.yml"))
	require.NoError(t, err)
	broken := filepath.Join(t.TempDir(), "kong.yml")
	nobody := strings.NewReplacer("https://idp.example.com", "http://127.0.0.1:1", "http://prefect:4200", "http://127.0.0.1:1")
	require.NoError(t, os.WriteFile(broken, []byte(nobody.Replace(string(data))), 0o600))
	command := func(env ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, "check", broken)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TERM=xterm"}, env...)
		return cmd
	}
	onTerminal := func(env ...string) string {
		terminal, err := pty.Start(command(env...))
		require.NoError(t, err)
		defer terminal.Close()
		var shown bytes.Buffer
		if _, err := io.Copy(&shown, terminal); !errors.Is(err, syscall.EIO) { // how a terminal ends
			require.NoError(t, err)
		}
		return shown.String()
	}
	const red, progress = "\x1b[1;31merror\x1b[0m", "asking issuer http://127.0.0.1:1 (2 of 2)"
	shown := onTerminal()
	require.Contains(t, shown, red)
	require.Contains(t, shown, progress)
	shown = onTerminal("NO_COLOR=1")
	require.NotContains(t, shown, red)
	require.Contains(t, shown, "error roles_nobody_has")
	require.Contains(t, shown, progress)
	shown = onTerminal("TERM=dumb")
	require.NotContains(t, shown, "\x1b")

	piped, err := command().CombinedOutput()
	var ended *exec.ExitError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, 1, ended.ExitCode())
	require.NotContains(t, string(piped), "\x1b")
	require.NotContains(t, string(piped), progress)
}
