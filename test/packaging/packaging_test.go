// Package packaging_test holds the files by which people load the product, the
// Dockerfile, docker-compose.yml and what they mount, to what the binary says
// of itself. No Docker is needed.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(data)
}

// imageEnv is the environment that the Dockerfile's last stage sets.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	last := read(t, "Dockerfile")
	last = last[strings.LastIndex(last, "\nFROM "):]
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)(KONG_[A-Z_]+)=(?:"([^"]*)"|([^\s\\]+))`).FindAllStringSubmatch(last, -1) {
		env[m[1]] = m[2] + m[3]
	}
	return env
}

type compose struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Build       string            `yaml:"build"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Volumes     []string          `yaml:"volumes"`
		Ports       []string          `yaml:"ports"`
		NetworkMode string            `yaml:"network_mode"`
		Healthcheck struct {
			Test []string `yaml:"test"`
		} `yaml:"healthcheck"`
		DependsOn map[string]struct {
			Condition string `yaml:"condition"`
		} `yaml:"depends_on"`
	} `yaml:"services"`
}

func readCompose(t *testing.T) (c compose) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c))
	return c
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kong-prefect")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/kong-prefect")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// settingsOf are the settings of a plugin name, as Kong spells them.
func settingOf(plugin, what string) string {
	return "KONG_PLUGINSERVER_" + strings.ToUpper(strings.ReplaceAll(plugin, "-", "_")) + "_" + what
}
