package plugin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
)

// An operator denies whom headers, audit and log name. Where a preset or the configuration takes the caller from other
// claims than sub and client_id, those names count as well as the token's own.
func TestDeniedByTheNamesThatOperatorsSee(t *testing.T) {
	t.Parallel()
	okta := map[string]any{"uid": "00u1alice", "sub": "alice@example.com", "cid": "0oa1portal"}
	github := map[string]any{"sub": "repo:acme/reports:ref:refs/heads/main"}
	for name, c := range map[string]struct {
		preset string
		claims map[string]any
		entry  string
		denied bool
	}{
		"the account":                           {"okta", okta, `{"subject":"00u1alice"}`, true},
		"the token's own subject":               {"okta", okta, `{"subject":"alice@example.com"}`, true},
		"the account, by this client":           {"okta", okta, `{"subject":"00u1alice","client":"0oa1portal"}`, true},
		"the account, by another client":        {"okta", okta, `{"subject":"00u1alice","client":"0oa2"}`, false},
		"another account":                       {"okta", okta, `{"subject":"00u1bob"}`, false},
		"the account, issued before":            {"okta", okta, `{"subject":"00u1alice","issued_before":"2001-01-01T00:00:00Z"}`, false},
		"the client that a subject is":          {"github-actions", github, `{"client":"repo:acme/reports:ref:refs/heads/main"}`, true},
		"subject and the client that it is":     {"github-actions", github, `{"subject":"repo:acme/reports:ref:refs/heads/main","client":"repo:acme/reports:ref:refs/heads/main"}`, true},
		"the token's own client, of that name":  {"github-actions", github, `{"client":"cli"}`, true},
		"another client":                        {"github-actions", github, `{"client":"repo:acme/reports"}`, false},
		"the token's own subject, that account": {"okta", okta, `{"subject":"alice@example.com","client":"0oa1portal"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "deny.json")
			require.NoError(t, os.WriteFile(path, []byte(`{"deny":[`+c.entry+`]}`), 0o600))
			r := newRig(t, `,"preset":"`+c.preset+`"}],"deny_list_file":"`+path+`"`)
			saw := r.access(kongRequest{headers: r.bearer(c.claims)})
			if !c.denied {
				require.Nil(t, saw.exit)
				return
			}
			require.Equal(t, token.ReasonDenied, saw.code(t))
			require.Empty(t, saw.set)
			require.Empty(t, saw.shared)
		})
	}
}
