// Package packaging_test holds the files by which people load the product, the
// Dockerfile, docker-compose.yml and what they mount, to what the binary says
// of itself. No Docker is needed.
package packaging_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

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

func TestImageLoadsThePlugins(t *testing.T) {
	env, binary := imageEnv(t), build(t)
	names := strings.Split(env["KONG_PLUGINSERVER_NAMES"], ",")
	require.Equal(t, "bundled,"+strings.Join(names, ","), env["KONG_PLUGINS"])
	require.Contains(t, read(t, "README.md"), "KONG_PLUGINSERVER_NAMES="+strings.Join(names, ","))

	started := 0
	for _, name := range names {
		query := strings.Fields(env[settingOf(name, "QUERY_CMD")])
		require.Equal(t, "/usr/local/bin/kong-prefect", query[0])
		out, err := exec.Command(binary, query[1:]...).Output()
		require.NoError(t, err)
		var dump struct{ Plugins []struct{ Name string } }
		require.NoError(t, json.Unmarshal(out, &dump))
		require.Equal(t, name, dump.Plugins[0].Name)
		require.Equal(t, env[settingOf(names[0], "SOCKET")], env[settingOf(name, "SOCKET")], "one process, one socket")
		if env[settingOf(name, "START_CMD")] != "" {
			started++
		}
	}
	require.Equal(t, 1, started, "one process serves all plugins")
	listensAt(t, binary, env[settingOf(names[0], "START_CMD")], env[settingOf(names[0], "SOCKET")])
}

// listensAt runs a start_cmd, in another prefix, and connects to its socket.
func listensAt(t *testing.T, binary, start, socket string) {
	t.Helper()
	const prefix = "/usr/local/kong"
	dir, err := os.MkdirTemp("/tmp", "kp") // a socket's path is short
	require.NoError(t, err)
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	fields := strings.Fields(strings.ReplaceAll(start, prefix, dir))
	cmd := exec.Command(binary, fields[1:]...)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", strings.ReplaceAll(socket, prefix, dir))
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, 10*time.Second, 20*time.Millisecond)
}

func TestImageIsNotRoot(t *testing.T) {
	users := regexp.MustCompile(`(?m)^USER (\S+)`).FindAllStringSubmatch(read(t, "Dockerfile"), -1)
	require.NotEmpty(t, users)
	require.Equal(t, "kong", users[len(users)-1][1])
}

func TestImagesArePinned(t *testing.T) {
	for name, service := range readCompose(t).Services {
		if service.Build == "" {
			require.Regexp(t, `:[0-9]+\.[0-9]`, service.Image, name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(read(t, "Dockerfile"), -1) {
		require.Regexp(t, `:[0-9]+\.[0-9]+`, m[1])
	}
}

func TestOnlyThisMachineReachesTheParts(t *testing.T) {
	for name, service := range readCompose(t).Services {
		for _, port := range service.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s publishes %s", name, port)
		}
		for _, volume := range service.Volumes {
			if file, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(file, "./") {
				_, err := os.Stat(filepath.Join(root, file))
				require.NoError(t, err, name)
			}
		}
	}
}

func TestComposeGivesWhatKongYMLRefersTo(t *testing.T) {
	env := readCompose(t).Services["kong"].Environment
	for _, name := range []string{"kong.yml", "examples/compose/kong.yml"} {
		for _, m := range regexp.MustCompile(`\{vault://env/([^}]+)\}`).FindAllStringSubmatch(read(t, name), -1) {
			require.Contains(t, env, strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")), name)
		}
	}
	c := readCompose(t).Services
	require.Equal(t, c["prefect"].Environment["PREFECT_SERVER_API_AUTH_STRING"], env["PREFECT_API_AUTH_STRING"])
	require.Equal(t, c["worker"].Environment["PREFECT_API_URL"], env["PREFECT_API_URL"])
	require.Equal(t, c["keycloak"].Environment["KC_HOSTNAME"]+"/realms/acme", env["OIDC_ISSUER"])
	require.Contains(t, c["prefect"].Image, ":"+pinnedPrefect(t)+"-")
}

func pinnedPrefect(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^prefect==(\S+)$`).FindStringSubmatch(read(t, "test/requirements.txt"))
	require.NotNil(t, m)
	return m[1]
}

// TestComposeKongYMLIsKongYML: the two differ in the provider alone.
func TestComposeKongYMLIsKongYML(t *testing.T) {
	without := func(name string) (lines []string) {
		for line := range strings.Lines(read(t, name)) {
			trimmed := strings.TrimSpace(line)
			theirs := trimmed == "preset: keycloak" || trimmed == "insecure_allow_http: true"
			if strings.HasPrefix(line, "#") || theirs && name != "kong.yml" {
				continue
			}
			lines = append(lines, line)
		}
		return lines
	}
	require.Equal(t, without("kong.yml"), without("examples/compose/kong.yml"))
	require.NotContains(t, read(t, "kong.yml"), "insecure")
}

// TestRealmKnowsWhoKongYMLNames: the service account, the group and the
// audience exist at the provider.
func TestRealmKnowsWhoKongYMLNames(t *testing.T) {
	realm := read(t, "examples/compose/realm.json")
	require.True(t, json.Valid([]byte(realm)))
	for _, name := range []string{`"clientId": "svc-nightly"`, `"name": "data-team"`, `"included.custom.audience": "kong-prefect"`} {
		require.Contains(t, realm, name)
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
