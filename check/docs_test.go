package check_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/check"
)

// frames are what a page's example leaves out: each is put before lines that
// begin as its key does, which are indented to stand in it.
var frames = map[string]struct {
	frame  string
	indent int
}{
	"services:": {"_format_version: \"3.0\"\n", 0},
	"plugins:\n- name: prefect-trigger": {identity + `services:
- name: runs
  host: prefect.invalid
  routes:
  - name: run
    paths: [/run]
`, 4},
	"issuers:":            {identityAlone, 4},
	"client_certificate:": {identity, 4},
}

const (
	identityAlone = `_format_version: "3.0"
plugins:
- name: prefect-identity
  config:
`
	identity = identityAlone + `    roles: [{role: runner, groups: [a]}, {role: owner, groups: [b]}]
    issuers: [{issuer: "https://idp.example.com", audiences: [kong-prefect]}]
`
)

// tolerated is what a page explains: Dex has no access tokens of their own
// kind.
var tolerated = map[string]string{"../docs/providers/dex.md 1": "insecure_setting"}

// TestWhatIsShown holds that every configuration that is shipped or shown is in
// order, down to advice.
func TestWhatIsShown(t *testing.T) {
	t.Parallel()
	shown := map[string]string{}
	for _, path := range []string{"../kong.yml", "../examples/compose/kong.yml"} {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		shown[path] = string(data)
	}
	pages, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	providers, err := filepath.Glob("../docs/providers/*.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, page := range append(append(pages, providers...), "../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for i, match := range block.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasPrefix(match[1], "sinks:") { // the audit's own file
				shown[page+" "+string(rune('1'+i))] = framed(match[1])
			}
		}
	}
	require.Greater(t, len(shown), 20)
	for name, text := range shown {
		t.Run(name, func(t *testing.T) {
			report := check.Check(t.Context(), []check.File{{Name: name, Data: []byte(text)}}, check.Options{Offline: true})
			for _, f := range report.Findings {
				require.Equal(t, tolerated[name], f.Code, "%+v", f)
			}
			require.Positive(t, report.Plugins)
		})
	}
}

func framed(example string) string {
	for beginning, f := range frames {
		if strings.HasPrefix(example, beginning) {
			return f.frame + strings.Repeat(" ", f.indent) + strings.ReplaceAll(strings.TrimSpace(example), "\n", "\n"+strings.Repeat(" ", f.indent)) + "\n"
		}
	}
	return example
}
