package pluginserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketUmask leaves a socket of mode 0660: Kong's user and group, and nobody
// else. Kong runs its start_cmd with umask 0.
const socketUmask = 0o117

// Listen binds a unix socket at path, mode 0660. Call it before the process
// has anything else running: it changes the umask for a moment.
//
// The socket is bound beside the path and moved over it, so that a reload,
// where Kong starts this process while the one before it still serves, leaves
// no moment without a socket. The path is never unlinked afterwards: whoever
// unlinks on exit unlinks the next process's socket, and every later request
// fails. Something at the path that is no socket is left alone, with an error.
func Listen(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("%s exists and is no socket; remove it or choose another path", path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("socket path: %w", err)
	}
	beside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".kp%d", os.Getpid()))
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing a socket left by a process of the same id: %w", err)
	}
	umask := syscall.Umask(socketUmask)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: beside, Net: "unix"})
	syscall.Umask(umask)
	if err != nil {
		return nil, fmt.Errorf("binding the socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Rename(beside, path); err != nil {
		_ = l.Close()
		_ = os.Remove(beside)
		return nil, fmt.Errorf("moving the socket into place: %w", err)
	}
	return l, nil
}
