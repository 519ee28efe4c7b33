package plugin

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token"
)

// auditedProcess is a process with an audit; records ends it and gives what is on record.
func auditedProcess(t *testing.T) (p *Process, records func() []audit.Record) {
	t.Helper()
	p = startProcess(t)
	var err error
	p.Signing, err = signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	dir := t.TempDir()
	p.Audit, err = audit.Open(audit.Options{Dir: dir, Signer: p.Signing})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- p.Audit.FollowChanges(ctx) }()
	return p, func() (all []audit.Record) {
		t.Helper()
		cancel()
		require.ErrorIs(t, <-followed, context.Canceled)
		require.NoError(t, p.Audit.Close())
		require.NoError(t, audit.Find(dir, audit.Query{To: time.Now()}, func(r audit.Record) bool {
			all = append(all, r)
			return true
		}))
		return all
	}
}

func compilePlugin(t *testing.T, p *Process, name, config string) pluginserver.Handler {
	t.Helper()
	for _, hosted := range p.Plugins() {
		if hosted.Name == name {
			return hosted.Compile([]byte(config))
		}
	}
	t.Fatal(name)
	return nil
}

func TestChangesAreAudited(t *testing.T) {
	t.Parallel()
	p, records := auditedProcess(t)
	p.AuditOwnKeys()
	for range 2 { // each worker of Kong's, say
		compilePlugin(t, p, IdentityName, `{"issuers":[{"issuer":"https://idp.example","audiences":["a"]}],
			"roles":[{"role":"runner","clients":["svc"],"groups":["data"],"claims":[{"claim":"tier","values":["gold","silver"]}],"condition":"identity.kind == 'service'"},{"role":"viewer","issuers":["https://idp.example"]}]}`)
		compilePlugin(t, p, TriggerName, `{"prefect":{"api_url":"http://prefect/api","auth_string":"admin:hunter2"},"deployment":"a/b","allow_roles":["runner"],
			"allow":[{"name":"gold","roles":["analyst"],"when":"parameters.n < 5"}]}`)
		compilePlugin(t, p, GuardName, `{"prefect":{"api_url":"http://prefect/api"},"grants":[{"role":"viewer","permissions":["connect"],"tags":["sales"],"flows":["a","b"]}]}`)
	}
	compilePlugin(t, p, TriggerName, `{"prefect":{"api_url":"http://prefect/api","auth_string":"admin:correct horse"},"deployment":"a/b","allow_roles":["runner","owner"],
		"allow":[{"name":"gold","roles":["analyst"],"when":"parameters.n < 5"}]}`)
	compilePlugin(t, p, TriggerName, `{"deployment":"hunter2"}`)
	p.keysChanged(token.KeyChange{Source: "https://idp.example", KeyIDs: []string{"k1", "k2"}, Keys: 2, Digest: "d"})
	require.NoError(t, p.Signing.Rotate())

	type change struct {
		kind   audit.Type
		object string
		rights []audit.Right
	}
	var got []change
	for _, r := range records() {
		switch r.Type {
		case audit.ConfigurationChanged, audit.PolicyChanged, audit.KeysChanged:
			got = append(got, change{r.Type, r.Object, r.Rights})
			require.NotEmpty(t, r.ConfigDigest)
			require.NotContains(t, r.Detail, "hunter2")
		}
	}
	may := "run a/b"
	require.Equal(t, []change{
		{audit.KeysChanged, gatewaysOwn, nil},
		{audit.ConfigurationChanged, "https://idp.example", nil},
		{audit.PolicyChanged, "https://idp.example", []audit.Right{
			{Who: "client svc, group data", May: "has the role runner", When: "tier is gold or silver and identity.kind == 'service'"},
			{Who: "every caller of https://idp.example", May: "has the role viewer"},
		}},
		{audit.ConfigurationChanged, "a/b", nil},
		{audit.PolicyChanged, "a/b", []audit.Right{
			{Who: "role runner", May: may}, {Who: "role analyst", May: may + " by the rule gold", When: "parameters.n < 5"},
		}},
		{audit.ConfigurationChanged, "http://prefect/api", nil},
		{audit.PolicyChanged, "http://prefect/api", []audit.Right{{Who: "role viewer", May: "connect", When: "flow is a or b and tag is sales"}}},
		{audit.ConfigurationChanged, "a/b", nil},
		{audit.PolicyChanged, "a/b", []audit.Right{
			{Who: "role runner", May: may}, {Who: "role owner", May: may}, {Who: "role analyst", May: may + " by the rule gold", When: "parameters.n < 5"},
		}},
		{audit.ConfigurationChanged, "", nil}, // it can't work
		{audit.KeysChanged, "https://idp.example", nil},
		{audit.KeysChanged, gatewaysOwn, nil},
	}, got)
}

// By the digest of all of it a weak secret could be guessed.
func TestSecretsHaveNoPartInDigests(t *testing.T) {
	t.Parallel()
	p, records := auditedProcess(t)
	for _, secret := range []string{"one", "two"} {
		compilePlugin(t, p, TriggerName, `{"prefect":{"api_url":"http://prefect/api","auth_string":"`+secret+`"},"deployment":"a/b","allow_roles":["runner"]}`)
		compilePlugin(t, p, IdentityName, `{"issuers":[{"issuer":"https://idp.example","audiences":["a"],"introspection":{"url":"https://idp.example/i","client_id":"c","client_secret":"`+secret+`"}}]}`)
	}
	n := 0
	for _, r := range records() {
		if r.Type == audit.ConfigurationChanged {
			n++
		}
	}
	require.Equal(t, 2, n)
}

func TestKeysInWords(t *testing.T) {
	t.Parallel()
	require.Equal(t, `now "a", "b"`, keysDetail(2, []string{"a", "b"}))
	require.Equal(t, `now "a" and 1 more`, keysDetail(2, []string{"a"}))
	require.Equal(t, "now 2 without an id", keysDetail(2, nil))
	require.Less(t, len(keysDetail(100, slices.Repeat([]string{strings.Repeat("\"", 10_000)}, 100))), 4000)
}
