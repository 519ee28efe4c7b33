package smallfile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	const maxBytes = 10
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string) error
		want string
		err  string
	}{
		{"a file", write("secret"), "secret", ""},
		{"an empty one", write(""), "", ""},
		{"as long as it may be", write(strings.Repeat("x", maxBytes)), strings.Repeat("x", maxBytes), ""},
		{"longer", write(strings.Repeat("x", maxBytes+1)), "", "PATH is longer than 10 bytes"},
		{"a link", func(t *testing.T, path string) error {
			target := filepath.Join(t.TempDir(), "target")
			require.NoError(t, os.WriteFile(target, []byte("secret"), 0o600))
			return os.Symlink(target, path)
		}, "secret", ""},
		{"nothing", func(*testing.T, string) error { return nil }, "", "open PATH: no such file or directory"},
		{"a folder", func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, "", "PATH is no regular file"},
		{"a pipe that nobody writes to", func(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o600) }, "", "PATH is no regular file"},
		{"a device without an end", func(_ *testing.T, path string) error { return os.Symlink("/dev/zero", path) }, "", "PATH is no regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			require.NoError(t, tc.make(t, path))
			data, info, err := Read(path, maxBytes)
			if tc.err != "" {
				require.EqualError(t, err, strings.ReplaceAll(tc.err, "PATH", path))
				require.Nil(t, data)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, string(data))
			require.EqualValues(t, len(tc.want), info.Size())
		})
	}
}

func write(content string) func(*testing.T, string) error {
	return func(_ *testing.T, path string) error { return os.WriteFile(path, []byte(content), 0o600) }
}

func TestSecret(t *testing.T) {
	for content, want := range map[string]string{"s3cret": "s3cret", "s3cret\n": "s3cret", " s3cret \r\n": " s3cret ", "": ""} {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		got, err := Secret(path)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", content)
	}
	_, err := Secret("/no/such")
	require.ErrorIs(t, err, os.ErrNotExist)
}
