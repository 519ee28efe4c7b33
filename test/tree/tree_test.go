package tree_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/kong-prefect/kong-prefect"

// allowed are the folders that each folder may import. A stage takes the
// output of those before it and knows nothing of those after it; what has no
// entry here has no place in the tree.
var allowed = map[string][]string{
	"smallfile":                 {},
	"pluginserver":              {},
	"signing":                   {"smallfile"},
	"ownport":                   {},
	"token":                     {"smallfile"},
	"token/tokentest":           {},
	"claims":                    {"token"},
	"policy":                    {"claims"},
	"quota":                     {},
	"stamp":                     {"claims", "signing"},
	"audit":                     {"smallfile", "claims"},
	"guard":                     {"claims", "policy", "stamp", "prefectclient"},
	"prefectclient":             {"smallfile"},
	"prefectclient/prefecttest": {},
	"outbox":                    {},
	"outbox/outboxtest":         {"outbox"},
	"plugin":                    {"pluginserver", "signing", "token", "claims", "policy", "quota", "stamp", "prefectclient", "guard", "audit", "outbox"},
	"logs":                      {"pluginserver"},
	"tracing":                   {"smallfile", "plugin", "prefectclient"},
	"metrics":                   {"pluginserver", "signing", "token", "prefectclient", "audit", "outbox", "plugin"},
	"kongyml/node":              {},
	"kongyml":                   {"kongyml/node"},
	"explain":                   {"kongyml", "pluginserver", "token", "signing", "plugin", "prefectclient", "audit"},
	"check":                     {"kongyml", "kongyml/node", "policy", "guard", "plugin"},
	"doctor":                    {"kongyml", "plugin", "signing"},
	"replay":                    {"kongyml", "token", "claims", "policy", "guard", "audit", "plugin"},
	"devgateway":                {},
	"cmd/kong-prefect":          {"smallfile", "pluginserver", "plugin", "logs", "metrics", "tracing", "signing", "ownport", "guard", "audit", "outbox", "prefectclient", "stamp", "kongyml", "explain", "doctor", "replay", "check"},
	"cmd/devgateway":            {"devgateway"},
}

// pdk are the folders that may know Kong's PDK: the two ends of the socket.
var pdk = []string{"pluginserver", "devgateway"}

func goList(t *testing.T, format string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", format, "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestImportsGoOneWay(t *testing.T) {
	for _, line := range goList(t, `{{.ImportPath}} {{join .Imports " "}}`) {
		fields := strings.Fields(line)
		folder := strings.TrimPrefix(fields[0], module+"/")
		mayImport, known := allowed[folder]
		require.True(t, known, "folder %s has no place in the tree: say in this test what it may import", folder)
		for _, imported := range fields[1:] {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				require.Contains(t, mayImport, ours, "%s must not import %s", folder, ours)
			}
			if strings.HasPrefix(imported, "github.com/Kong/go-pdk") {
				require.True(t, slices.Contains(pdk, folder), "%s must not know the PDK", folder)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, line := range goList(t, "{{.ImportPath}}\t{{.Doc}}") {
		path, doc, _ := strings.Cut(line, "\t")
		require.NotEmpty(t, doc, "%s has no package comment", path)
	}
}

// With a replace in the root module nobody can `go install` it, and what only
// tests need is no dependency of whoever imports a package of ours.
func TestRootModule(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	for _, unwanted := range []string{"replace", "zitadel/oidc", "honnef.co/go/tools", "c2sp/wycheproof"} {
		require.NotContains(t, string(mod), unwanted)
	}
}
