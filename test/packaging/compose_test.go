package packaging_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

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
	for _, client := range []string{"kong", "worker"} {
		require.Equal(t, c["prefect"].Environment["PREFECT_SERVER_API_AUTH_STRING"], c[client].Environment["PREFECT_API_AUTH_STRING"], client)
		require.Equal(t, "http://prefect:4200/api", c[client].Environment["PREFECT_API_URL"], client)
	}
	require.Equal(t, c["keycloak"].Environment["KC_HOSTNAME"]+"/realms/acme", env["OIDC_ISSUER"])
	require.Contains(t, c["prefect"].Image, ":"+pinnedPrefect(t)+"-")
}

func pinnedPrefect(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^prefect==(\S+)$`).FindStringSubmatch(read(t, "test/requirements.txt"))
	require.NotNil(t, m)
	return m[1]
}

// TestPortsAreThoseThatAreListenedOn: what is published is what a part listens
// on, in the network that it has.
func TestPortsAreThoseThatAreListenedOn(t *testing.T) {
	c := readCompose(t).Services
	keycloak, err := url.Parse(c["keycloak"].Environment["KC_HOSTNAME"])
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", keycloak.Hostname(), "for Kong and for a browser on this machine, and http is taken there alone")
	require.Equal(t, "service:keycloak", c["kong"].NetworkMode, "else 127.0.0.1 is another machine for Kong")
	require.Empty(t, c["kong"].Ports, "a service without a network of its own publishes nothing")
	require.Equal(t, "8080", keycloak.Port(), "Keycloak's own default")
	published := func(service, port string) {
		require.Contains(t, c[service].Ports, "127.0.0.1:"+port+":"+port)
	}
	published("keycloak", keycloak.Port())
	_, kong, err := net.SplitHostPort(c["kong"].Environment["KONG_PROXY_LISTEN"])
	require.NoError(t, err)
	published("keycloak", kong)
	ui, err := url.Parse(c["prefect"].Environment["PREFECT_UI_API_URL"])
	require.NoError(t, err)
	published("prefect", ui.Port())
	require.Contains(t, read(t, "docker-compose.yml"), "http://127.0.0.1:"+kong+"/run/")
}

// TestPartsWaitForWhatTheyNeed: nobody starts before the part it asks is ready.
func TestPartsWaitForWhatTheyNeed(t *testing.T) {
	c := readCompose(t).Services
	for name, needs := range map[string][]string{"kong": {"keycloak", "prefect"}, "prefect": {"postgres"}, "worker": {"prefect"}} {
		for _, need := range needs {
			require.Equal(t, "service_healthy", c[name].DependsOn[need].Condition, "%s needs %s", name, need)
			require.NotEmpty(t, c[need].Healthcheck.Test, need)
		}
	}
	health := strings.Join(c["keycloak"].Healthcheck.Test, " ")
	require.Contains(t, health, "GET /realms/acme/.well-known/openid-configuration ", "what Kong will ask for")
}

// TestHealthCheckOfKeycloak runs the command against a server of ours: a realm
// that isn't there yet isn't healthy.
func TestHealthCheckOfKeycloak(t *testing.T) {
	var status atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/realms/acme/.well-known/openid-configuration" {
			w.WriteHeader(int(status.Load()))
		}
	}))
	defer server.Close()
	test := readCompose(t).Services["keycloak"].Healthcheck.Test
	require.Equal(t, []string{"CMD", "bash", "-c"}, test[:3])
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	script := strings.ReplaceAll(test[3], "/8080", "/"+port)
	status.Store(http.StatusOK)
	out, err := exec.Command("bash", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	status.Store(http.StatusNotFound)
	require.Error(t, exec.Command("bash", "-c", script).Run())
	server.Close()
	require.Error(t, exec.Command("bash", "-c", script).Run())
}

// TestWorkerServesThePool: pool and worker have one name and one type.
func TestWorkerServesThePool(t *testing.T) {
	command := strings.Join(readCompose(t).Services["worker"].Command, " ")
	require.Contains(t, command, "work-pool create --type process --overwrite local ")
	require.Contains(t, command, "worker start --pool local --type process")
	require.Contains(t, read(t, "examples/compose/deploy.py"), `work_pool_name="local"`)
}

// TestKeycloakIsTheOneThatIsTested: `make e2e-keycloak` holds the realm and
// the preset to the version that compose starts.
func TestKeycloakIsTheOneThatIsTested(t *testing.T) {
	image := readCompose(t).Services["keycloak"].Image
	require.Contains(t, read(t, "Makefile"), "KEYCLOAK_VERSION := "+image[strings.LastIndexByte(image, ':')+1:]+"\n")
}
