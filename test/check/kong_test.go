package check_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/check"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

// refusedByKong are the codes of what Kong's own check of a file refuses.
var refusedByKong = []string{
	"yaml_invalid", "format_version", "field_unknown", "field_missing", "field_type", "value_not_allowed", "value_out_of_range",
	"value_pattern", "value_length", "plugin_unknown", "plugin_repeated", "name_repeated", "reference_unknown",
}

// unlike are the files of which devgateway and Kong say different things, and
// why. They are for a real Kong alone.
var unlike = map[string]string{
	"identity-on-a-consumer.yml":            "devgateway has no plugins of consumers",
	"identity-on-a-consumer-of-a-route.yml": "devgateway has no plugins of consumers",
	"jwt-beside-identity.yml":               "devgateway has no jwt",
	"pre-function-that-answers.yml":         "devgateway runs no Lua",
}

// forNobody are the files of which not even one Kong says what another does.
var forNobody = map[string]string{
	"key-twice.yml": "what reads YAML decides: libyaml takes the last one",
	"ordering.yml":  "Kong has ordering in its Enterprise edition alone",
}

// TestKongRefusesWhatCheckSaysItRefuses posts every broken configuration to a
// gateway: it refuses those in which check finds what Kong checks, and takes
// all others.
func TestKongRefusesWhatCheckSaysItRefuses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	require.NoError(t, stack.BuildBinaries(ctx, repository, dir))
	gateway, err := stack.StartGateway(ctx, stack.GatewayOptions{
		Binaries: dir, Config: filepath.Join(repository, "kong.yml"), Admin: true,
		Env: []string{"OIDC_ISSUER=https://idp.example.com", "PREFECT_API_URL=http://prefect:4200/api", "PREFECT_API_AUTH_STRING=a:b"},
	})
	require.NoError(t, err)
	defer gateway.Stop()
	paths, err := filepath.Glob(filepath.Join(repository, "check/testdata/broken/*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "manifest-") || forNobody[name] != "" || unlike[name] != "" && !stack.OnKong() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			report := check.Check(ctx, []check.File{{Name: name, Data: data}}, check.Options{Offline: true})
			refused := slices.ContainsFunc(report.Findings, func(f check.Finding) bool { return slices.Contains(refusedByKong, f.Code) })
			answer, err := http.Post(gateway.AdminURL()+"/config", "text/yaml", strings.NewReader(string(data)))
			require.NoError(t, err)
			defer answer.Body.Close()
			// 400, or 500 where Kong stumbles over its own sentence: a list for a document, an unknown route by name.
			require.Equal(t, refused, answer.StatusCode != http.StatusCreated, "check: %+v; the gateway: %s", report.Findings, answer.Status)
		})
	}
}
