package plugin

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
)

// Each preset has a page that says what to set at the provider, and ends with
// a configuration that works.
func TestProviderPages(t *testing.T) {
	t.Parallel()
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	pages, err := filepath.Glob("../docs/providers/*.md")
	require.NoError(t, err)
	require.Len(t, pages, len(claims.PresetNames()), "a page for each preset, and a preset for each page")
	for _, preset := range claims.PresetNames() {
		t.Run(preset, func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile("../docs/providers/" + preset + ".md")
			require.NoError(t, err, "preset %s has no page", preset)
			for _, section := range []string{"## What to set there", "## What becomes what", "## Configuration"} {
				require.Contains(t, string(page), section)
			}
			blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
			require.Len(t, blocks, 1)
			checkKongYAML(t, []byte(blocks[0][1]))
			requireCompiles(t, p, preset, blocks[0][1])
		})
	}
}

func requireCompiles(t *testing.T, p *Process, preset, kongYAML string) {
	t.Helper()
	var doc struct {
		Plugins []struct{ Config map[string]any }
	}
	require.NoError(t, yaml.Unmarshal([]byte(kongYAML), &doc))
	require.Len(t, doc.Plugins, 1)
	config, err := json.Marshal(doc.Plugins[0].Config)
	require.NoError(t, err)
	// A file of the operator's own can't be here.
	if strings.Contains(string(config), "jwks_file") {
		keys := filepath.Join(t.TempDir(), "jwks.json")
		require.NoError(t, os.WriteFile(keys, []byte(`{"keys":[]}`), 0o600))
		config = regexp.MustCompile(`"jwks_file":"[^"]*"`).ReplaceAll(config, []byte(`"jwks_file":"`+keys+`"`))
	}
	h, err := compileIdentity(p, config)
	require.NoError(t, err)
	require.Equal(t, preset, h.config.Issuers[0].Preset)
	require.NotEmpty(t, h.config.Roles)
	require.Empty(t, h.grants.Advice())
}

// The configuration that docs/identity.md shows works.
func TestIdentityPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/identity.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 1)
	checkKongYAML(t, []byte(blocks[0][1]))
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	p.Signing, err = signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	requireCompiles(t, p, "keycloak", blocks[0][1])
	for name := range callerValues {
		require.Contains(t, string(page), "`"+name+"`", "a value that headers can be made of")
	}
}
