package prefectclient

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// AuthStringFile is [AuthString] from a file: one secret on a line, or two
// during a rotation. The file is read again when it has changed, and whenever
// the server refuses what it held.
func AuthStringFile(path string) Credentials {
	return &rotation{kind: "auth string", encode: basic, source: (&secretFile{path: path}).read}
}

// APIKeyFile is [APIKey] from a file, in the form of [AuthStringFile].
func APIKeyFile(path string) Credentials {
	return &rotation{kind: "api key", encode: bearer, source: (&secretFile{path: path}).read}
}

// secretFile is read under the rotation's lock.
type secretFile struct {
	path  string
	size  int64
	mtime time.Time
}

// read gives the secrets when the file changed since the last time, or in any
// case with force; nil: nothing new.
func (f *secretFile) read(force bool) ([]string, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	if !force && info.Size() == f.size && info.ModTime().Equal(f.mtime) {
		return nil, nil
	}
	data, info, err := smallfile.Read(f.path, smallfile.SecretBytes)
	if err != nil {
		return nil, err
	}
	var secrets []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			secrets = append(secrets, line)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%s holds no secret", f.path)
	}
	f.size, f.mtime = info.Size(), info.ModTime()
	return secrets, nil
}
