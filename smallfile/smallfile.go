// Package smallfile reads the files that a request may wait for: secrets, keys,
// certificates, lists. It refuses what could hold up its reader for ever or
// fill the memory, which [os.ReadFile] doesn't.
package smallfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// SecretBytes is how long a file with a secret may be.
const SecretBytes = 64 << 10

// Secret reads a file that holds one secret, without the end of its last line.
func Secret(path string) (string, error) {
	data, _, err := Read(path, SecretBytes)
	return strings.TrimRight(string(data), "\r\n"), err
}

// Read reads a regular file of at most maxBytes bytes, and tells what the file
// was when it was read. Links are followed: Kubernetes mounts secrets as links.
func Read(path string, maxBytes int64) ([]byte, fs.FileInfo, error) {
	// Without the flag the opening of a pipe waits for its writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(data)) > maxBytes {
		return nil, nil, fmt.Errorf("%s is longer than %d bytes", path, maxBytes)
	}
	return data, info, nil
}
