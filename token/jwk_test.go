package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

func TestKeySetImportFilter(t *testing.T) {
	t.Parallel()
	good := tokentest.NewKey(t, "good", "ES256")
	rsaKey := tokentest.NewKey(t, "rsa", "RS256")
	with := func(k *tokentest.Key, change map[string]any) map[string]any {
		jwk := k.JWK()
		jwk["kid"] = "bad"
		for name, v := range change {
			if jwk[name] = v; v == tokentest.Absent {
				delete(jwk, name)
			}
		}
		return jwk
	}
	n := func(bits int) string {
		x, err := rand.Prime(rand.Reader, bits)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(x.Bytes())
	}
	odd := func(bits int) *big.Int { // fit for a modulus as far as anybody can tell without factoring it
		x, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-1)))
		require.NoError(t, err)
		return x.SetBit(x.SetBit(x, bits-1, 1), 0, 1)
	}
	for name, bad := range map[string]any{
		"oct":                      map[string]any{"kty": "oct", "k": "AAAA", "kid": "bad"},
		"oct with alg":             map[string]any{"kty": "oct", "k": "AAAA", "kid": "bad", "alg": "HS256", "use": "sig"},
		"private":                  with(good, map[string]any{"d": "AAAA"}),
		"private, a prime":         with(rsaKey, map[string]any{"p": "AAAA"}),
		"private, other prime":     with(rsaKey, map[string]any{"q": "AAAA"}),
		"private, exponents":       with(rsaKey, map[string]any{"dp": "AAAA"}),
		"private, exponents, q":    with(rsaKey, map[string]any{"dq": "AAAA"}),
		"private, coefficient":     with(rsaKey, map[string]any{"qi": "AAAA"}),
		"private, other primes":    with(rsaKey, map[string]any{"oth": []any{}}),
		"a secret in an EC key":    with(good, map[string]any{"k": "AAAA"}),
		"RSA of 1024 bits":         with(rsaKey, map[string]any{"n": n(1024)}),
		"RSA of 2047 bits":         with(rsaKey, map[string]any{"n": n(2047)}),
		"RSA of 8193 bits":         with(rsaKey, map[string]any{"n": base64.RawURLEncoding.EncodeToString(odd(8193).Bytes())}),
		"RSA exponent one":         with(rsaKey, map[string]any{"e": "AQ"}),
		"RSA exponent even":        with(rsaKey, map[string]any{"e": "AAQ"}),
		"RSA modulus even":         with(rsaKey, map[string]any{"n": base64.RawURLEncoding.EncodeToString(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}),
		"alg of another curve":     with(good, map[string]any{"alg": "ES384"}),
		"alg of another type":      with(good, map[string]any{"alg": "RS256"}),
		"alg symmetric":            with(rsaKey, map[string]any{"alg": "HS256"}),
		"alg for encryption":       with(rsaKey, map[string]any{"alg": "RSA-OAEP"}),
		"alg no string":            with(rsaKey, map[string]any{"alg": []string{"RS256"}}),
		"alg null":                 with(rsaKey, map[string]any{"alg": nil}),
		"use enc":                  with(good, map[string]any{"use": "enc"}),
		"use null":                 with(good, map[string]any{"use": nil}),
		"key_ops without verify":   with(good, map[string]any{"key_ops": []string{"sign"}}),
		"key_ops no list":          with(good, map[string]any{"key_ops": "verify"}),
		"kid no string":            with(good, map[string]any{"kid": 1}),
		"kty of another type":      with(good, map[string]any{"kty": "RSA"}),
		"point not on the curve":   with(good, map[string]any{"x": good.JWK()["y"], "y": good.JWK()["x"]}),
		"coordinate cut":           with(good, map[string]any{"x": good.JWK()["x"].(string)[:40]}),
		"coordinate with padding":  with(good, map[string]any{"x": good.JWK()["x"].(string) + "="}),
		"curve not for signatures": with(good, map[string]any{"crv": "X25519"}),
		"curve secp256k1":          with(good, map[string]any{"crv": "secp256k1"}),
		"no type":                  with(good, map[string]any{"kty": tokentest.Absent}),
		"no object":                "key",
		"null":                     nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, refused, err := token.ParseKeySet(mustJSON(t, map[string]any{"keys": []any{bad, good.JWK()}}))
			require.NoError(t, err)
			require.Equal(t, 1, set.Len())
			require.Len(t, refused, 1)
			require.NotEmpty(t, refused[0].Why)
			_, err = set.VerifyJWS(good.Sign(t, nil, map[string]any{}))
			require.NoError(t, err)
			_, _, err = token.ParseKeySet(mustJSON(t, map[string]any{"keys": []any{bad}}))
			require.ErrorContains(t, err, "no usable signature keys")
		})
	}
}

func TestAKeySetOfTooMany(t *testing.T) {
	t.Parallel()
	jwk := tokentest.NewKey(t, "good", "ES256").JWK()
	delete(jwk, "kid")
	set, _, err := token.ParseKeySet(mustJSON(t, map[string]any{"keys": slices.Repeat([]any{jwk}, 200)}))
	require.NoError(t, err)
	require.Equal(t, 200, set.Len())
	_, _, err = token.ParseKeySet(mustJSON(t, map[string]any{"keys": slices.Repeat([]any{jwk}, 201)}))
	require.ErrorContains(t, err, "more than 200")
}

func TestDuplicateKeyID(t *testing.T) {
	t.Parallel()
	a, b, c := tokentest.NewKey(t, "same", "ES256"), tokentest.NewKey(t, "same", "EdDSA"), tokentest.NewKey(t, "other", "ES256")
	set, refused, err := token.ParseKeySet(mustJSON(t, map[string]any{"keys": []any{a.JWK(), b.JWK(), c.JWK()}}))
	require.NoError(t, err)
	require.Equal(t, 1, set.Len())
	require.Len(t, refused, 2)
	for _, k := range []*tokentest.Key{a, b} {
		_, err = set.VerifyJWS(k.Sign(t, nil, map[string]any{}))
		requireReason(t, token.ReasonKeyUnknown, err)
	}
	t.Run("of a key that is refused itself", func(t *testing.T) {
		oct := map[string]any{"kty": "oct", "k": "AAAA", "kid": "other"}
		_, _, err := token.ParseKeySet(mustJSON(t, map[string]any{"keys": []any{oct, c.JWK()}}))
		require.Error(t, err)
	})
	t.Run("of an encryption key, which is another matter", func(t *testing.T) {
		enc := tokentest.NewKey(t, "other", "ES256").JWK()
		enc["use"] = "enc"
		set, _, err := token.ParseKeySet(mustJSON(t, map[string]any{"keys": []any{enc, c.JWK()}}))
		require.NoError(t, err)
		require.Equal(t, 1, set.Len())
	})
}

// A modulus with the ROCA structure: primes k*M + (65537^a mod M).
func TestROCA(t *testing.T) {
	t.Parallel()
	m := big.NewInt(1)
	for _, p := range []int64{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		m.Mul(m, big.NewInt(p))
	}
	prime := func() *big.Int {
		for {
			a, err := rand.Int(rand.Reader, m)
			require.NoError(t, err)
			k, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 1024-uint(m.BitLen())))
			require.NoError(t, err)
			k.SetBit(k, 1024-m.BitLen(), 1)
			p := new(big.Int).Exp(big.NewInt(65537), a, m)
			if p.Add(p, k.Mul(k, m)); p.ProbablyPrime(10) {
				return p
			}
		}
	}
	n := new(big.Int).Mul(prime(), prime())
	for n.BitLen() != 2048 {
		n.Mul(prime(), prime())
	}
	jwk := func(n *big.Int) []byte {
		return mustJSON(t, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "k", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(n.Bytes()),
		}}})
	}
	_, refused, err := token.ParseKeySet(jwk(n))
	require.Error(t, err)
	require.Len(t, refused, 1)
	require.Contains(t, refused[0].Why, "ROCA")
	for range 5 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		_, _, err = token.ParseKeySet(jwk(key.N))
		require.NoError(t, err)
	}
}

func TestKeysWithoutAlg(t *testing.T) {
	t.Parallel()
	key := tokentest.NewKey(t, "k", "RS256") // as Entra publishes them
	jwk := key.JWK()
	delete(jwk, "alg")
	delete(jwk, "use")
	set, _, err := token.ParseKeySet(mustJSON(t, map[string]any{"keys": []any{jwk}}))
	require.NoError(t, err)
	for _, alg := range []string{"RS256", "PS384"} {
		signer := *key
		signer.Algorithm = alg
		compact := signer.Sign(t, nil, map[string]any{})
		_, err = set.VerifyJWS(compact)
		require.NoError(t, err)
		_, err = set.VerifyJWS(compact, "ES256")
		requireReason(t, token.ReasonAlgorithm, err)
	}
	_, err = set.VerifyJWS(tokentest.NewKey(t, "k", "ES256").Sign(t, nil, map[string]any{}))
	requireReason(t, token.ReasonAlgorithm, err)
}
