package keycloak

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServiceAccount(t *testing.T) {
	caller := seen(t, service(t, "svc-nightly").Access)
	require.Regexp(t, `^[0-9a-f-]{36}$`, caller["Subject"], "Keycloak's subjects are UUIDs, of service accounts too")
	delete(caller, "Subject")
	scopes := caller["Scopes"]
	require.NotContains(t, scopes, "%")
	delete(caller, "Scopes")
	require.Equal(t, map[string]string{
		"Issuer": s.keycloak.Issuer(), "Kind": "service", "Client": "svc-nightly", "Name": "service-account-svc-nightly", "Roles": "runner",
	}, caller)
}

func TestPerson(t *testing.T) {
	caller := seen(t, alice(t).Access)
	require.Regexp(t, `^[0-9a-f-]{36}$`, caller["Subject"])
	delete(caller, "Subject")
	require.Contains(t, caller["Scopes"], "openid")
	delete(caller, "Scopes")
	require.Equal(t, map[string]string{
		"Issuer": s.keycloak.Issuer(), "Kind": "user", "Client": "command-line", "Name": "Alice %C3%84", "Email": "alice@example.com",
		"Groups": "data-team", "Roles": "runner",
	}, caller)
}

func TestStrangerHasNoRole(t *testing.T) {
	token := service(t, "svc-stranger").Access
	require.Equal(t, "svc-stranger", seen(t, token)["Client"])
	status, code := refusal(t, http.MethodPost, "/run/nightly-report", token)
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, "role_not_allowed", code)
}

// What else Keycloak signs, with the same keys or of another realm, is no
// access token for this gateway.
func TestOtherTokensOfKeycloak(t *testing.T) {
	person := alice(t)
	admin, err := s.keycloak.AdminTokens(t.Context())
	require.NoError(t, err)
	for name, c := range map[string]struct{ path, token, code string }{
		"the ID token":                {"/echo", person.ID, "token_audience_mismatch"},
		"the ID token, to its client": {"/for-the-client", person.ID, "token_type_not_allowed"},
		"the refresh token":           {"/echo", person.Refresh, "token_algorithm_not_allowed"},
		"another realm's":             {"/echo", admin.Access, "token_issuer_unknown"},
		"another realm's ID token":    {"/echo", admin.ID, "token_issuer_unknown"},
		"a changed signature":         {"/echo", person.Access[:len(person.Access)-8] + "AAAAAAAA", "token_signature_invalid"},
	} {
		status, code := refusal(t, http.MethodGet, c.path, c.token)
		require.Equal(t, http.StatusUnauthorized, status, name)
		require.Equal(t, c.code, code, name)
	}
}

// docker-compose.yml's own story: the service account and the person start a
// run, a worker runs it, and Prefect knows who it was.
func TestCallersStartRuns(t *testing.T) {
	for caller, c := range map[string]struct{ token, display string }{
		"service": {service(t, "svc-nightly").Access, "svc-nightly"},
		"person":  {alice(t).Access, "Alice Ä <alice@example.com>"},
	} {
		var started struct{ ID string }
		require.Equal(t, http.StatusCreated, call(t, http.MethodPost, "/run/nightly-report", c.token, `{"region":"emea"}`, &started), caller)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		run, err := s.Prefect.Finished(ctx, started.ID, nil)
		cancel()
		require.NoError(t, err)
		require.Equal(t, "COMPLETED", run.StateType, run.State.Message)
		require.NotNil(t, run.CreatedBy)
		require.Equal(t, c.display, run.CreatedBy.DisplayValue)
		require.Contains(t, run.Tags, "function:finance")
	}
}

// Keycloak signs with a new key from one moment to the next: tokens of both
// are taken.
func TestKeysOfKeycloakRotate(t *testing.T) {
	before := service(t, "svc-nightly").Access
	require.NotEmpty(t, seen(t, before))
	require.NoError(t, s.keycloak.RotateKeys(t.Context()))
	after := service(t, "svc-nightly").Access
	oldHeader, _, _ := strings.Cut(before, ".")
	newHeader, _, _ := strings.Cut(after, ".")
	require.NotEqual(t, oldHeader, newHeader, "the header names another key")
	require.NotEmpty(t, seen(t, after))
	require.NotEmpty(t, seen(t, before))
}
