package stack

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const auditFolder = "audit"

// Leaks is an error where the gateway's log, the plugin server's or the audit holds a secret. It names what holds it, not
// the secret. Of a token its signature alone is one as well.
func (g *Gateway) Leaks(secrets ...string) error {
	texts := map[string]string{"the log": g.Logs()}
	err := filepath.WalkDir(filepath.Join(g.dir, auditFolder), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		texts["the audit's "+entry.Name()] = string(data)
		return err
	})
	if err != nil {
		return err
	}
	var found []error
	for _, secret := range secrets {
		for what, text := range texts {
			if strings.Contains(text, secret) || strings.Contains(text, secretPart(secret)) || strings.Contains(text, basic(secret)) {
				found = append(found, fmt.Errorf("%s holds the secret of %d characters that begins with %.4q", what, len(secret), secret))
			}
		}
	}
	if g.opts.Audit && len(texts) < 2 {
		found = append(found, errors.New("there is no audit"))
	}
	return errors.Join(found...)
}

// secretPart is a token's signature; of anything else all of it.
func secretPart(secret string) string {
	if strings.Count(secret, ".") == 2 {
		return secret[strings.LastIndexByte(secret, '.')+1:]
	}
	return secret
}

// basic is a secret as the Basic scheme writes it.
func basic(secret string) string { return base64.StdEncoding.EncodeToString([]byte(secret)) }
