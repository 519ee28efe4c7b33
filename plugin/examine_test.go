package plugin

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/policy"
)

// TestExamineNamesFields holds that whatever stage a problem comes from, it is
// told with the configuration's field, and one by one.
func TestExamineNamesFields(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, plugin, config string
		want                 []string
	}{
		{"identity, every stage", IdentityName, `{
			"issuers": [
				{"issuer": "http://idp.example.com", "audiences": ["a"], "jwks_file": "a", "pem_file": "b", "consumer": {"mode": "kong", "by": "custom_id"}},
				{"issuer": "https://other.example.com", "audiences": [""]}],
			"roles": [{"role": "r", "clients": ["c"]}, {"role": "q", "condition": "identty.kind == 'user'", "issuers": ["https://nowhere.example.com"]}],
			"headers": [{"name": "Host", "from": "nothing"}], "public_origins": ["x"], "token_header": "host",
			"resource": {"url": "http://gateway.example.com"}, "assertion": {"audience": "a", "issuer": "b", "header": "host"}}`,
			[]string{
				"assertion.header", "headers[1].from", "headers[1].name", "issuers[1].consumer.by", "issuers[1].issuer", "issuers[1].issuer",
				"issuers[2].audiences", "public_origins[1]", "resource.url", "roles[1]", "roles[2]", "roles[2].condition", "token_header",
			}},
		{"trigger, every stage", TriggerName, `{
			"prefect": {"api_url": "http://user:password@prefect:4200/api", "auth_string": "a:b"},
			"deployment": "report", "deployments": [{"when": "parameters.x == 1", "deployment": "a/b/c"}],
			"allow": [{"name": "a", "when": "1 +"}], "path": "/run/{a}",
			"parameters": [{"name": "b", "from": "capture"}, {"name": "c", "from": "claim", "path": "shoe"}]}`,
			[]string{
				"allow[1].when", "deployment", "deployments[1].deployment", "deployments[1].when", "parameters[1]", "parameters[2]", "prefect.api_url",
			}},
		{"guard", GuardName, `{"prefect": {"api_url": "http://prefect:4200/api"}, "grants": [{"role": "x"}, {"role": "y", "permissions": ["z"]}]}`,
			[]string{"grants[1]", "grants[2]"}},
		{"what the schema refuses", IdentityName, `{"issuers": [{"issuer": "https://idp.example.com"}]}`, []string{"issuers[1].audiences"}},
		{"no object", GuardName, `[]`, []string{""}},
		{"no plugin of ours", "prefect-guardian", `{}`, []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := Examine(c.plugin, []byte(c.config))
			defer x.Close()
			var fields []string
			for _, p := range x.Problems {
				require.NotContains(t, p.Text, ErrConfig.Error())
				require.NotEmpty(t, p.Text)
				fields = append(fields, p.Field)
				if p.Field == "roles[2].condition" || p.Field == "allow[1].when" {
					require.ErrorIs(t, p.Err, policy.ErrCondition)
				}
			}
			slices.Sort(fields)
			require.Equal(t, c.want, fields, "%v", x.Problems)
		})
	}
}

func TestExamineOfWhatWorks(t *testing.T) {
	t.Parallel()
	x := Examine(IdentityName, []byte(`{"issuers": [{"issuer": "https://idp.example.com", "audiences": ["a"]}], "roles": [{"role": "r", "subjects": ["ann"]}], "assertion": {"audience": "a", "issuer": "b"}}`))
	defer x.Close()
	require.Empty(t, x.Problems, "the process's own keys are no matter of the configuration")
	require.Equal(t, "roles[1]", x.Advice[0].Field)
	require.Equal(t, []string{"https://idp.example.com"}, x.Issuers())

	y := Examine(TriggerName, []byte(`{"prefect": {"api_url": "http://prefect:4200/api", "auth_env": "SURELY_NOT_SET"}, "deployment": "a/b", "allow_roles": ["r"]}`))
	defer y.Close()
	require.Empty(t, y.Problems)
	require.Equal(t, "prefect", y.Elsewhere[0].Field)
	require.Empty(t, y.Server())

	z := Examine(TriggerName, []byte(`{"prefect": {"api_url": "http://prefect:4200/api"}, "deployment": "a/b", "deployments": [{"when": "true", "deployment": "c/d"}], "allow_roles": ["r"]}`))
	defer z.Close()
	require.Equal(t, "prefect:4200", z.Server())
	require.Equal(t, map[string]string{"deployment": "a/b", "deployments[1].deployment": "c/d"}, z.Deployments())
}
