package tokens

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// soon is how long a change may take that is promised within a second, on a machine that does other things too.
const soon = 5 * time.Second

func TestOpaqueToken(t *testing.T) {
	t.Parallel()
	token := serviceToken(t, s.idp, "svc-opaque")
	for range 3 {
		requireTaken(t, call(t, "/opaque", bearer(token)), "svc-opaque")
	}
	requireTaken(t, call(t, "/opaque", bearer(serviceToken(t, s.idp, "svc"))), "svc") // signed ones as well
	requireRefused(t, call(t, "/opaque", bearer("made-up")), http.StatusUnauthorized, "token_inactive")
	requireRefused(t, call(t, "/opaque", bearer("a.b.c.d.e")), http.StatusUnauthorized, "token_inactive")
	requireRefused(t, call(t, "/opaque", bearer(serviceToken(t, s.idp, "svc-elsewhere"))), http.StatusUnauthorized, "token_audience_mismatch")
	requireRefused(t, call(t, "/plain", bearer(token)), http.StatusUnauthorized, "token_malformed")

	s.idp.Withdraw("svc-opaque")
	require.Eventually(t, func() bool { return call(t, "/opaque", bearer(token)).code == "token_inactive" },
		soon, 50*time.Millisecond, "cache_seconds after it was withdrawn")
}

// The promise is a second; what is measured is written into the test's output.
func TestDenyListOnATokenThatIsCached(t *testing.T) {
	t.Parallel()
	token, other := serviceToken(t, s.idp, "svc"), forge(t, s.idp, map[string]any{"sub": "somebody-else"})
	for range 5 {
		requireTaken(t, call(t, "/denied", bearer(token)), "svc")
	}
	write := func(list string) {
		require.NoError(t, os.WriteFile(s.denyList+".new", []byte(list), 0o600))
		require.NoError(t, os.Rename(s.denyList+".new", s.denyList))
	}
	write(`{"deny":[{"subject":"svc","note":"its secret is out"}]}`)
	begin := time.Now()
	require.Eventually(t, func() bool { return call(t, "/denied", bearer(token)).code == "token_denied" }, soon, 5*time.Millisecond)
	t.Logf("denied after %s", time.Since(begin).Round(time.Millisecond))
	requireRefused(t, call(t, "/denied", bearer(serviceToken(t, s.idp, "svc"))), http.StatusUnauthorized, "token_denied")
	requireTaken(t, call(t, "/denied", bearer(other)), "somebody-else")

	write(`{"deny":[`)                  // a slip of the editor frees nobody
	require.Eventually(t, func() bool { // each request may look at the file
		call(t, "/denied", bearer(token))
		return strings.Contains(s.gateway.Logs(), "a watched file can't be used; its last good version stays in force for a time\" path="+s.denyList)
	}, soon, 50*time.Millisecond)
	requireRefused(t, call(t, "/denied", bearer(token)), http.StatusUnauthorized, "token_denied")
	requireTaken(t, call(t, "/denied", bearer(other)), "somebody-else")

	write(`{"deny":[]}`)
	require.Eventually(t, func() bool { return call(t, "/denied", bearer(token)).status == http.StatusOK }, soon, 5*time.Millisecond)
}

// A provider that can't be reached: its keys are a file, and a change of the file is all that is needed.
func TestKeysFromAWatchedFile(t *testing.T) {
	t.Parallel()
	first, second := tokentest.NewKey(t, "first", "ES256"), tokentest.NewKey(t, "second", "EdDSA")
	mint := func(k *tokentest.Key) http.Header {
		now := time.Now().Unix()
		return bearer(k.Sign(t, nil, map[string]any{
			"iss": "https://nowhere.invalid", "aud": "kong-prefect", "sub": "offline", "iat": now, "exp": now + 300,
		}))
	}
	publish := func(k *tokentest.Key) {
		data, err := json.Marshal(map[string]any{"keys": []any{k.JWK()}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(s.keyFile+".new", data, 0o600))
		require.NoError(t, os.Rename(s.keyFile+".new", s.keyFile))
	}
	taken := func(h http.Header) bool { return call(t, "/file", h).status == http.StatusOK }
	old, young := mint(first), mint(second)

	requireRefused(t, call(t, "/file", old), http.StatusServiceUnavailable, "keys_unavailable") // no file yet
	publish(first)
	require.Eventually(t, func() bool { return taken(old) }, soon, 20*time.Millisecond)
	requireRefused(t, call(t, "/file", young), http.StatusUnauthorized, "token_key_unknown")
	publish(second)
	require.Eventually(t, func() bool { return taken(young) }, soon, 20*time.Millisecond)
	requireRefused(t, call(t, "/file", old), http.StatusUnauthorized, "token_key_unknown") // although it was cached
}

func selfSigned(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}
