package check_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/check"
	"github.com/kong-prefect/kong-prefect/test/stack"
	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

const repository = "../.."

// parts are the two that are asked.
type parts struct {
	prefect *stack.Prefect
	idp     *provider.Provider
}

func startParts(t *testing.T) parts {
	t.Helper()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the provider logs what it refuses
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	prefect, err := stack.NewPrefect(stack.PrefectOptions{Venv: stack.VenvFromEnv(filepath.Join(repository, "build/venv"))})
	require.NoError(t, err)
	t.Cleanup(prefect.Stop)
	idp, err := provider.New(provider.Options{Audience: []string{"kong-prefect"}})
	require.NoError(t, err)
	t.Cleanup(idp.Stop)
	require.NoError(t, prefect.Ready(ctx), prefect.Logs())
	var flow struct {
		ID string `json:"id"`
	}
	require.NoError(t, prefect.Post(ctx, "/flows/", map[string]any{"name": "report"}, &flow))
	require.NoError(t, prefect.Post(ctx, "/work_pools/", map[string]any{"name": "pool", "type": "process"}, nil))
	schema := map[string]any{"type": "object", "required": []string{"region", "day"}, "properties": map[string]any{
		"region": map[string]any{"type": "string", "enum": []string{"emea", "apac"}},
		"day":    map[string]any{"type": "string"},
		"limit":  map[string]any{"type": "integer"},
	}}
	for name, more := range map[string]map[string]any{
		"prod":       {"work_pool_name": "pool"},
		"paused":     {"work_pool_name": "pool", "paused": true},
		"unattended": {},
	} {
		d := map[string]any{"name": name, "flow_id": flow.ID, "parameters": map[string]any{"day": "today"}, "parameter_openapi_schema": schema}
		for key, value := range more {
			d[key] = value
		}
		require.NoError(t, prefect.Post(ctx, "/deployments/", d, nil))
	}
	return parts{prefect, idp}
}

// env is the environment in which the file is checked.
func (p parts) env(name string) (string, bool) {
	value, ok := map[string]string{
		"OIDC_ISSUER":             p.idp.Issuer(),
		"PREFECT_API_URL":         p.prefect.APIURL(),
		"PREFECT_API_AUTH_STRING": p.prefect.AuthString(),
		"DECK_REGION":             "emea",
	}[name]
	return value, ok
}

// config is a file that is in order but for one part, which stands last in its
// line.
func config(route string) string {
	return `_format_version: "3.0"
plugins:
- name: prefect-identity
  config:
    issuers: [{issuer: "{vault://env/oidc-issuer}", audiences: [kong-prefect]}]
    roles: [{role: runner, clients: [svc-nightly]}]
services:
- name: runs
  host: prefect.invalid
  routes:
  - name: report
    paths: [/run/report]
    plugins:
    - name: prefect-trigger
      config:
        allow_roles: [runner]
` + route
}

const good = `        prefect: {api_url: "{vault://env/prefect-api-url}", auth_string: "{vault://env/prefect-api-auth-string}"}
`

func TestWhatIsAsked(t *testing.T) {
	p := startParts(t)
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	away := "http://" + closed.Addr().String()
	shipped, err := os.ReadFile(filepath.Join(repository, "kong.yml"))
	require.NoError(t, err)
	for _, c := range []struct {
		name, file string
		want       []string // code and field
		says       string
	}{
		{"all is well", config(good + `        deployment: report/prod
        parameters: [{name: region, from: body}, {name: limit, from: fixed, value: "3"}]
`), nil, ""},
		{"decK's variables", config(good + `        deployment: report/prod
        parameters: [{name: region, from: fixed, value: '${{ env "DECK_REGION" }}'}]
`), nil, ""},
		{"deployments that aren't there, in the shipped file", string(shipped),
			[]string{"deployment_unknown deployment", "deployment_unknown deployment"}, `has no deployment "nightly-report/prod"`},
		{"a deployment that a rule names", config(good + `        deployment: report/prod
        deployments: [{when: 'request.method == "POST"', deployment: report/test}]
`), []string{"deployment_unknown deployments[1].deployment"}, `"report/test"`},
		{"a paused deployment", config(good + "        deployment: report/paused\n"), []string{"deployment_not_executed deployment"}, "is paused"},
		{"a paused deployment that is meant", config(good + "        deployment: report/paused\n        allow_paused: true\n"), nil, ""},
		{"a deployment that nobody executes", config(good + "        deployment: report/unattended\n"), []string{"deployment_not_executed deployment"}, "no work pool"},
		{"a parameter that the flow doesn't have", config(good + `        deployment: report/prod
        parameters: [{name: region, from: body}, {name: country, from: query}]
`), []string{"parameter_misfit parameters[2].name"}, "it has day, limit, region"},
		{"a parameter that nobody gives", config(good + `        deployment: report/prod
        parameters: [{name: limit, from: query}]
`), []string{"parameter_misfit parameters"}, `the flow demands "region"`},
		{"fixed values that don't fit", config(good + `        deployment: report/prod
        parameters: [{name: region, from: fixed, value: moon}, {name: limit, from: query, default: many}]
`), []string{"parameter_misfit parameters[1].value", "parameter_misfit parameters[2].default"}, "can't be this"},
		{"a condition about a parameter that the flow doesn't have", config(good + `        deployment: report/prod
        allow: [{name: small, when: 'parameters.region == "emea" && parameters.max < 5'}]
`), []string{"parameter_misfit allow[1].when"}, `no parameter "max"`},
		{"a choice of nothing", config(good + `        path: /run/report/{flow}/{deployment}
        choose: ["report/p*", "reprot/*"]
`), []string{"choice_empty choose[2]"}, `fits "reprot/*"`},
		{"a Prefect that is away", config(`        prefect: {api_url: "` + away + `/api"}
        deployment: report/prod
`), []string{"prefect_unavailable prefect.api_url"}, "connection refused"},
		{"a wrong credential", config(`        prefect: {api_url: "{vault://env/prefect-api-url}", auth_env: PREFECT_WRONG}
        deployment: report/prod
`), []string{"prefect_unauthorized prefect"}, "401"},
		{"an issuer that is away", strings.ReplaceAll(config(good+"        deployment: report/prod\n"), "{vault://env/oidc-issuer}", away),
			[]string{"issuer_unavailable issuers[1].issuer"}, "connection refused"},
		{"an issuer by another name", strings.ReplaceAll(config(good+"        deployment: report/prod\n"), "{vault://env/oidc-issuer}", p.idp.Issuer()+"/"),
			[]string{"issuer_unavailable issuers[1].issuer"}, "issuer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PREFECT_WRONG", "admin:wrong")
			report := check.Check(t.Context(), []check.File{{Name: "kong.yml", Data: []byte(c.file)}}, check.Options{Env: p.env})
			var have []string
			all := ""
			for _, f := range report.Findings {
				_, field, _ := strings.Cut(f.Field, ".config.")
				have = append(have, f.Code+" "+field)
				all += f.What + "\n"
				require.Equal(t, f.Code != "choice_empty", f.Severity == check.Error)
				require.Positive(t, f.Line)
			}
			slices.Sort(have)
			require.Equal(t, c.want, have, "%+v", report)
			require.Contains(t, all, c.says)
			require.NotContains(t, fmt.Sprint(report), p.prefect.AuthString())
			require.Empty(t, report.NotChecked)
		})
	}
	t.Run("what isn't known here isn't asked", func(t *testing.T) {
		report := check.Check(t.Context(), []check.File{{Name: "kong.yml", Data: shipped}}, check.Options{})
		require.Empty(t, report.Findings)
		require.Empty(t, report.Asked)
		require.Len(t, report.NotChecked, 3)
	})
	t.Run("offline nobody is asked", func(t *testing.T) {
		report := check.Check(t.Context(), []check.File{{Name: "kong.yml", Data: shipped}}, check.Options{Offline: true, Env: p.env})
		require.Empty(t, report.Findings)
		require.Empty(t, report.Asked)
	})
}
