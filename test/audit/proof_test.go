package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/signing"
)

func (s *scene) requireProof(t *testing.T) {
	own, err := signing.Open(signing.Options{File: s.keys})
	require.NoError(t, err)
	keys := filepath.Join(s.dir, "jwks.json")
	require.NoError(t, os.WriteFile(keys, own.JWKS(), 0o600))
	report, table := filepath.Join(s.dir, "report.html"), filepath.Join(s.dir, "report.csv")
	for _, args := range [][]string{
		{"audit", "verify", s.audit, "--keys", keys},
		{"audit", "report", s.audit, "--keys", keys, "--html", report, "--csv", table},
	} {
		out, err := exec.Command(filepath.Join(s.dir, "kong-prefect"), args...).CombinedOutput()
		t.Logf("%s\n%s", strings.Join(args[:2], " "), out)
		require.NoError(t, err)
	}
	require.FileExists(t, table)
	page, err := os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(page), "complete and unaltered")
	require.Contains(t, string(page), "role runner")
	if keep := os.Getenv("KEEP_REPORT"); keep != "" {
		require.NoError(t, os.WriteFile(keep, page, 0o644))
	}
}

// requireNoSecrets greps the audit and the logs for every secret in play.
func (s *scene) requireNoSecrets(t *testing.T) {
	secrets := []string{s.good, s.weak, s.prefect.AuthString(), "nightly-secret-4711", "stranger-secret-4711", "private-note-"}
	hay := []byte(s.logs)
	files, err := filepath.Glob(filepath.Join(s.audit, "*"))
	require.NoError(t, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		hay = append(hay, data...)
	}
	for _, secret := range secrets {
		require.NotContains(t, string(hay), secret)
	}
	require.NotContains(t, s.logs, "WARNING: DATA RACE")
}

// falsifications are what somebody does to the log who can write to its folder.
var falsifications = []struct {
	name string
	do   func(lines [][]byte) [][]byte
}{
	{"an outcome is changed", func(l [][]byte) [][]byte { return change(l, `"outcome":"FAILED"`, `"outcome":"COMPLETED"`) }},
	{"a caller is changed", func(l [][]byte) [][]byte { return change(l, `"svc-nightly"`, `"svc-payroll"`) }},
	{"a blank is added", func(l [][]byte) [][]byte { return change(l, `"v":1`, `"v": 1`) }},
	{"a record is deleted", func(l [][]byte) [][]byte { return slices.Delete(l, 100, 101) }},
	{"the first record is deleted", func(l [][]byte) [][]byte { return l[1:] }},
	{"the end is cut off", func(l [][]byte) [][]byte { return l[:lastCheckpoint(l)-1] }},
	{"all is cut off", func([][]byte) [][]byte { return nil }},
	{"two records change places", func(l [][]byte) [][]byte { l[100], l[101] = l[101], l[100]; return l }},
	{"a record stands twice", func(l [][]byte) [][]byte { return slices.Insert(l, 101, l[100]) }},
	{"a refusal is deleted and all hashes are made anew", func(l [][]byte) [][]byte {
		i := slices.IndexFunc(l, func(line []byte) bool { return bytes.Contains(line, []byte(`"access.refused"`)) })
		return rechained(slices.Delete(l, i, i+1))
	}},
	{"an outcome is changed, and no checkpoint is left", func(l [][]byte) [][]byte {
		l = slices.DeleteFunc(l, func(line []byte) bool { return bytes.Contains(line, []byte(`"type":"checkpoint"`)) })
		return rechained(change(l, `"outcome":"FAILED"`, `"outcome":"COMPLETED"`))
	}},
	{"a checkpoint's signature is changed", func(l [][]byte) [][]byte {
		return rechained(change(l, `"signature":"ey`, `"signature":"eY`))
	}},
}

// lastCheckpoint is the line behind which nothing is signed yet. How much stands there depends on how long Kong let the
// process live after SIGTERM.
func lastCheckpoint(lines [][]byte) int {
	for i := len(lines) - 1; i > 0; i-- {
		if bytes.Contains(lines[i], []byte(`"type":"checkpoint"`)) {
			return i
		}
	}
	panic("no line is a checkpoint")
}

// change changes the first line that holds a text: what stands behind the last checkpoint is not proven yet.
func change(lines [][]byte, from, to string) [][]byte {
	for i := range lines {
		if bytes.Contains(lines[i], []byte(from)) {
			lines[i] = bytes.Replace(lines[i], []byte(from), []byte(to), 1)
			return lines
		}
	}
	panic("no line holds " + from)
}

// rechained makes every number and hash anew, which needs no key.
func rechained(lines [][]byte) [][]byte {
	prev := strings.Repeat("0", 64)
	for i, line := range lines {
		_, event, _ := bytes.Cut(line, []byte(`",`))
		lines[i] = fmt.Appendf(nil, `{"seq":%d,"prev":"%s",%s`, i+1, prev, event)
		sum := sha256.Sum256(lines[i])
		prev = hex.EncodeToString(sum[:])
	}
	return lines
}

// requireFalsificationsFound tries them all on the log of this run: verify ends with 1 and says where.
func (s *scene) requireFalsificationsFound(t *testing.T) {
	require.Len(t, falsifications, 12)
	path := filepath.Join(s.audit, "current.jsonl")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, f := range falsifications {
		lines := f.do(bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n")))
		var changed []byte
		for _, line := range lines {
			changed = append(append(changed, line...), '\n')
		}
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		out, err := exec.Command(filepath.Join(s.dir, "kong-prefect"), "audit", "verify", s.audit, "--json", "--keys", filepath.Join(s.dir, "jwks.json")).Output()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, f.name)
		require.Equal(t, 1, exit.ExitCode(), "%s: %s", f.name, exit.Stderr)
		var report struct {
			Defects []struct{ Code, What string }
		}
		require.NoError(t, json.Unmarshal(out, &report), f.name)
		require.NotEmpty(t, report.Defects, f.name)
		t.Logf("%s: %s: %s", f.name, report.Defects[0].Code, report.Defects[0].What)
	}
}
