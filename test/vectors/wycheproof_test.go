package vectors

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
)

// TestWycheproof is what `make vectors` runs, with -v to see the table.
func TestWycheproof(t *testing.T) {
	sets, err := Sets()
	require.NoError(t, err)
	rows := Table(sets)
	fmt.Print(Format(rows))
	counts := map[string]int{}
	exceptions := 0
	for _, r := range rows {
		require.Empty(t, r.Wrong, r.Set)
		require.Equal(t, r.Cases, r.Right+len(r.Exceptions), r.Set)
		counts[r.Set] = r.Cases
		exceptions += len(r.Exceptions)
	}
	require.Equal(t, len(Exceptions), exceptions)
	require.Equal(t, map[string]int{
		"json_web_signature": 401, "json_web_key": 26, "json_web_crypto": 83, "json_web_encryption": 139,
	}, counts)
}

// Every asymmetric vector that is valid must be let in: refusing all would make
// the table right as well.
func TestWycheproofAcceptsWhatIsValid(t *testing.T) {
	sets, err := Sets()
	require.NoError(t, err)
	accepted := 0
	for _, s := range sets {
		for _, c := range s.Cases {
			if c.Accepts() {
				accepted++
			}
		}
	}
	require.Greater(t, accepted, 30)
	fmt.Printf("valid asymmetric vectors accepted: %d\n", accepted)
}

// The vectors through the front door: no vector is an access token, so a
// Verifier must refuse all of them, with a reason and without a panic.
func TestWycheproofThroughVerifier(t *testing.T) {
	sets, err := Sets()
	require.NoError(t, err)
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	defer keys.Close()
	v, err := token.NewVerifier(token.Options{Keys: keys, Issuers: []token.Issuer{
		{URL: "https://idp.example.com", Audiences: []string{"a"}, JWKSFile: "/nowhere"},
	}})
	require.NoError(t, err)
	for _, s := range sets {
		for _, c := range s.Cases {
			_, err := v.Verify(t.Context(), c.Compact)
			require.Error(t, err)
			require.NotEmpty(t, token.ReasonOf(err))
		}
	}
}
