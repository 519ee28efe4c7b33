package token_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

func TestKeyStats(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	const away = "http://127.0.0.1:1" // nobody listens there
	s := newSetupFor(t, issuer, token.KeyCacheOptions{}, func(_ *token.Issuer, o *token.Options) {
		o.Issuers = append(o.Issuers, token.Issuer{URL: away, Audiences: []string{tokentest.Audience}})
	})
	stats := func() map[string]token.KeyStats {
		byIssuer := map[string]token.KeyStats{}
		for _, k := range s.keys.Stats() {
			byIssuer[k.Issuer] = k
		}
		return byIssuer
	}
	require.Equal(t, token.KeyStats{Issuer: issuer.URL}, stats()[issuer.URL], "nobody has asked yet")
	s.accepts(t, s.issuer.Mint(t, nil))
	s.clock.Advance(time.Minute)
	require.Equal(t, token.KeyStats{Issuer: issuer.URL, Keys: 1, Age: time.Minute, Fetched: 1}, stats()[issuer.URL])
	_, err := s.verify(issuer.Mint(t, map[string]any{"iss": away}))
	requireReason(t, token.ReasonKeysUnavailable, err)
	require.Equal(t, token.KeyStats{Issuer: away, Failing: 1, Failed: 1}, stats()[away])
}
