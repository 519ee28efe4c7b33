package packaging_test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kong-prefect/kong-prefect/devgateway"
	"github.com/stretchr/testify/require"
)

// shipped are the configurations that people start with.
var shipped = []string{"kong.yml", "examples/compose/kong.yml"}

// load lets devgateway read a kong.yml as Kong does, by the schemas that the
// image's own query commands print and with compose's environment.
func load(t *testing.T, binary, kongYML string) error {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "kong.yml")
	require.NoError(t, os.WriteFile(file, []byte(kongYML), 0o600))
	var environ []string
	set := func(values map[string]string) {
		for name, value := range values {
			if !strings.HasSuffix(name, "_START_CMD") { // nothing is to be served
				value = strings.ReplaceAll(value, "/usr/local/bin/kong-prefect", binary)
				environ = append(environ, name+"="+strings.ReplaceAll(value, "/usr/local/kong", dir))
			}
		}
	}
	set(readCompose(t).Services["kong"].Environment)
	set(imageEnv(t))
	set(map[string]string{"KONG_PREFIX": dir, "KONG_DECLARATIVE_CONFIG": file, "KONG_PROXY_LISTEN": "127.0.0.1:0"})
	settings, err := devgateway.SettingsFromEnv(environ)
	require.NoError(t, err)
	gateway, err := devgateway.Start(t.Context(), devgateway.Options{Settings: settings, Log: io.Discard})
	if err == nil {
		gateway.Close()
	}
	return err
}

// TestKongTakesTheShippedConfigurations: every field exists, and every
// required one is there.
func TestKongTakesTheShippedConfigurations(t *testing.T) {
	binary := build(t)
	for _, name := range shipped {
		require.NoError(t, load(t, binary, read(t, name)), name)
		for wrong, c := range map[string]struct{ old, new string }{
			"plugins[0].config.deployment": {"deployment: nightly-report/prod\n", "deployment: x\n"},
			"allow_rolez":                  {"allow_roles:", "allow_rolez:"},
			"preset":                       {"audiences: [kong-prefect]", "audiences: [kong-prefect]\n      preset: none"},
		} {
			changed := strings.ReplaceAll(strings.ReplaceAll(read(t, name), "      preset: keycloak\n", ""), c.old, c.new)
			require.ErrorContains(t, load(t, binary, changed), wrong, "this test can fail")
		}
	}
}

// TestComposeKongYMLIsKongYML: the two differ in the provider alone.
func TestComposeKongYMLIsKongYML(t *testing.T) {
	without := func(name string) (lines []string) {
		for line := range strings.Lines(read(t, name)) {
			if !strings.HasPrefix(line, "#") && (name == "kong.yml" || strings.TrimSpace(line) != "preset: keycloak") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	require.Equal(t, without("kong.yml"), without("examples/compose/kong.yml"))
	for _, name := range shipped {
		require.NotContains(t, read(t, name), "insecure")
	}
}

// TestWorkerDeploysWhatKongYMLStarts compares the routes' deployments with the
// flows' own names.
func TestWorkerDeploysWhatKongYMLStarts(t *testing.T) {
	deploy := read(t, "examples/compose/deploy.py")
	for _, m := range regexp.MustCompile(`deployment: ([a-z-]+)/([a-z]+)`).FindAllStringSubmatch(read(t, "kong.yml"), -1) {
		flow, name := strings.ReplaceAll(m[1], "-", "_"), m[2]
		require.Contains(t, deploy, `"`+flow+".py:"+flow+`": "`+name+`"`)
		require.Contains(t, read(t, "examples/flows/"+flow+".py"), `@flow(name="`+m[1]+`"`)
	}
}
