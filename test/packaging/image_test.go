package packaging_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

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

// TestKongStartsWithTheShippedConfigurations runs what the image and compose
// run, with other paths and addresses: the settings are Kong's own, and the
// plugins answer. Only a real Kong can tell.
func TestKongStartsWithTheShippedConfigurations(t *testing.T) {
	if !stack.OnKong() {
		t.Skip("SKIPPED: needs a real Kong: make e2e KONG=kong")
	}
	binary := build(t)
	for _, name := range shipped {
		dir, err := os.MkdirTemp("/tmp", "kp") // a socket's path is short
		require.NoError(t, err)
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		addr, err := stack.FreeAddr()
		require.NoError(t, err)
		file, err := filepath.Abs(filepath.Join(root, name))
		require.NoError(t, err)
		cmd := exec.Command(os.Getenv("KONG"), "start")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "KONG_NGINX_DAEMON=off", "KONG_STATUS_LISTEN=off"}
		for _, values := range []map[string]string{readCompose(t).Services["kong"].Environment, imageEnv(t),
			{"KONG_PREFIX": dir, "KONG_DECLARATIVE_CONFIG": file, "KONG_PROXY_LISTEN": addr}} {
			for setting, value := range values {
				value = strings.ReplaceAll(value, "/usr/local/bin/kong-prefect", binary)
				cmd.Env = append(cmd.Env, setting+"="+strings.ReplaceAll(value, "/usr/local/kong", dir))
			}
		}
		if os.Getuid() == 0 {
			cmd.Env = append(cmd.Env, "KONG_NGINX_MAIN_USER=root root") // the folder is root's
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		require.NoError(t, cmd.Start())
		defer func() {
			stop := exec.Command(cmd.Path, "stop", "--prefix", dir)
			stop.Env = cmd.Env
			require.NoError(t, stop.Run())
			_ = cmd.Wait()
		}()
		require.Eventually(t, func() bool {
			resp, err := http.Post("http://"+addr+"/run/nightly-report", "application/json", nil)
			return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusUnauthorized
		}, time.Minute, 50*time.Millisecond, name)
	}
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
