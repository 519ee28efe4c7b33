package vectors

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// TestAcceptedByOthersToo is the property of FuzzParseToken on what fuzzing
// reaches seldom: true tokens of every algorithm, with few of their characters
// changed. What is accepted here, go-jose and jwx accept with the same payload.
func TestAcceptedByOthersToo(t *testing.T) {
	t.Parallel()
	const changes = 300
	for _, alg := range token.DefaultAlgorithms {
		if alg == "Ed25519" {
			continue // RFC 9864's name for EdDSA, which the others don't know
		}
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2)) // the same changes in every run
			key := tokentest.NewKey(t, "k", alg)
			keys, err := json.Marshal(map[string]any{"keys": []any{key.JWK()}})
			require.NoError(t, err)
			set, _, err := token.ParseKeySet(keys)
			require.NoError(t, err)
			compact := key.Sign(t, nil, map[string]any{"sub": "alice"})
			accepted := 0
			for n := range changes {
				changed := compact
				if n > 0 {
					changed = mutate(random, compact)
				}
				payload, err := set.VerifyJWS(changed)
				if err != nil {
					continue
				}
				accepted++
				require.Equal(t, string(payload), string(withGoJOSE(keys, changed)), changed)
				require.Equal(t, string(payload), string(withJWX(keys, changed)), changed)
				require.Equal(t, compact, changed, "a true token has one spelling")
			}
			require.Positive(t, accepted)
		})
	}
}

// mutate replaces, removes, doubles or swaps characters.
func mutate(random *rand.Rand, s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\x00"
	for range 1 + random.IntN(3) {
		at := random.IntN(len(s) - 1)
		switch random.IntN(4) {
		case 0:
			s = s[:at] + string(alphabet[random.IntN(len(alphabet))]) + s[at+1:]
		case 1:
			s = s[:at] + s[at+1:]
		case 2:
			s = s[:at] + s[at:at+1] + s[at:]
		default:
			s = s[:at] + s[at+1:at+2] + s[at:at+1] + s[at+2:]
		}
	}
	return s
}
