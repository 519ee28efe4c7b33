package check

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updatePages = flag.Bool("update-pages", false, "write the generated pages of docs/")

// TestPage holds docs/check.md to the codes. go test ./check -update-pages
// writes it.
func TestPage(t *testing.T) {
	const path = "../docs/check.md"
	var b strings.Builder
	b.WriteString(intro)
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		k := codes[code]
		fmt.Fprintf(&b, "\n## %s\n\n%s: %s\n\n%s\n", code, k.severity, k.means, k.do)
	}
	if *updatePages {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, b.String(), string(have), "%s is out of date: go test ./check -update-pages", path)
}

const intro = `# What check finds

Generated from the code. ` + "`kong-prefect check FILE...`" + ` ([docs/commands.md](commands.md)) reads decK's and Kong's own files and the ingress controller's manifests, several as one, and says all that is wrong at once. Each finding has one of these codes; a code never changes its meaning.

An **error** means that requests are refused, or pass where they mustn't; the command ends with 1. A **warning** works, and not as it will have been meant; with ` + "`--strict`" + ` it ends with 1 too. An **advice** works, and is better done in another way.

It compiles configurations with the plugins' own code and compares them with the schema that Kong gets. Of Kong's own entities it looks at what decides which plugin runs where; the rest is Kong's to check. What can't be known here is listed as not checked: Secrets of Kubernetes' (` + "`configFrom`, `configPatches`" + `), files on the gateway's machine, and variables that aren't set. In manifests, plugins are followed from ` + "`konghq.com/plugins`" + ` on an Ingress, HTTPRoute, Service or KongConsumer, and from an HTTPRoute's filters, as far as these are in the files.
`

// online are the codes that only somebody else's answer leads to: test/check
// has their cases.
var online = []string{codeIssuerUnavailable, codePrefectUnavailable, codePrefectRefuses, codeDeploymentUnknown, codeDeploymentIdle, codeParameterMisfit, codeChoiceEmpty}

// TestEveryCodeHasACase holds that testdata has a broken configuration for
// every code.
func TestEveryCodeHasACase(t *testing.T) {
	paths, err := filepath.Glob("testdata/broken/*.yml")
	require.NoError(t, err)
	var all strings.Builder
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		all.Write(data)
	}
	for code, k := range codes {
		require.NotEmpty(t, k.means, code)
		require.NotEmpty(t, k.do, code)
		if !slices.Contains(online, code) {
			require.Contains(t, all.String(), "# want: "+code, "no broken configuration has this defect")
		}
	}
}
