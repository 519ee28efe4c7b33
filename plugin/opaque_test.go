package plugin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// What an introspection answer may leave out (RFC 7662, section 2.2) makes nobody somebody else. Without sub the caller is
// the client, unless the answer names a person; and no service account, unless the configuration says so.
func TestWhoAnOpaqueTokenIsOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claims string // the configuration's
		answer map[string]any
		code   string
		want   map[string]string
	}{
		"a person": {"", map[string]any{"sub": "5d1a", "client_id": "portal", "username": "alice"}, "",
			map[string]string{"X-Caller-Subject": "5d1a", "X-Caller-Kind": "user", "X-Caller-Client": "portal"}},
		"a service account that sub names": {"", map[string]any{"sub": "svc-nightly", "client_id": "svc-nightly"}, "",
			map[string]string{"X-Caller-Subject": "svc-nightly", "X-Caller-Kind": "service", "X-Caller-Client": "svc-nightly", "X-Caller-Roles": "runner"}},
		"a service account without sub": {`,"service_accounts":["svc-nightly"]`, map[string]any{"client_id": "svc-nightly"}, "",
			map[string]string{"X-Caller-Subject": "svc-nightly", "X-Caller-Kind": "service", "X-Caller-Client": "svc-nightly", "X-Caller-Roles": "runner"}},
		"a client without sub that nobody names": {"", map[string]any{"client_id": "svc-nightly", "username": "svc-nightly"}, "",
			map[string]string{"X-Caller-Subject": "svc-nightly", "X-Caller-Kind": "user", "X-Caller-Client": "svc-nightly"}},
		"a person without sub isn't their client": {"", map[string]any{"client_id": "svc-nightly", "username": "alice"}, CodeClaimsInvalid, nil},
		"a person by a configured claim": {`,"claims":{"subject":["username"]}`, map[string]any{"client_id": "svc-nightly", "username": "alice"}, "",
			map[string]string{"X-Caller-Subject": "alice", "X-Caller-Kind": "user", "X-Caller-Client": "svc-nightly"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, `,"introspection":{"url":"ISSUER/introspect","client_id":"gateway","client_secret":"gateway secret: +/%"}`+c.claims+
				`}],"roles":[{"role":"runner","clients":["svc-nightly"]}]`)
			c.answer["aud"], c.answer["exp"] = tokentest.Audience, time.Now().Add(time.Minute).Unix()
			r.issuer.Opaque("opaque", c.answer)
			saw := r.access(kongRequest{headers: map[string][]string{"authorization": {"Bearer opaque"}}})
			if c.code != "" {
				require.Equal(t, c.code, saw.code(t))
				return
			}
			require.Nil(t, saw.exit)
			delete(saw.set, "X-Caller-Issuer")
			require.Equal(t, c.want, saw.set)
		})
	}
}
