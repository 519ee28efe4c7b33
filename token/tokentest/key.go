package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// Key is a signing key.
type Key struct {
	ID        string
	Algorithm string
	Private   crypto.Signer
}

// NewKey makes a key for the algorithm.
func NewKey(t testing.TB, id, algorithm string) *Key {
	t.Helper()
	var private crypto.Signer
	var err error
	switch algorithm {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	require.NoError(t, err)
	return &Key{ID: id, Algorithm: algorithm, Private: private}
}

// JWK is the public key as published.
func (k *Key) JWK() map[string]any {
	jwk := k.bareJWK()
	jwk["kid"], jwk["use"], jwk["alg"] = k.ID, "sig", k.Algorithm
	return jwk
}

func (k *Key) bareJWK() map[string]any {
	raw, err := (&jose.JSONWebKey{Key: k.Private.Public()}).MarshalJSON()
	if err != nil {
		panic(err) // the key was made by NewKey
	}
	jwk := map[string]any{}
	if err := json.Unmarshal(raw, &jwk); err != nil {
		panic(err)
	}
	return jwk
}

// Thumbprint is the key's RFC 7638 thumbprint, as a token's cnf.jkt holds it.
func (k *Key) Thumbprint(t testing.TB) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: k.Private.Public()}).Thumbprint(crypto.SHA256)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Sign signs claims under a usual header with the changes applied.
func (k *Key) Sign(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	full := merge(map[string]any{"alg": k.Algorithm, "kid": k.ID, "typ": "at+jwt"}, header)
	h, err := json.Marshal(full)
	require.NoError(t, err)
	c, err := json.Marshal(claims)
	require.NoError(t, err)
	return k.SignRaw(t, h, c)
}

// SignRaw signs header and payload as they are, valid JSON or not.
func (k *Key) SignRaw(t testing.TB, header, payload []byte) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	name := k.Algorithm
	if name == "Ed25519" {
		name = "EdDSA"
	}
	signature, err := jwt.GetSigningMethod(name).Sign(input, k.Private)
	require.NoError(t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Proof makes a DPoP proof (RFC 9449 section 4.2) for a token, with the changes
// applied to header and claims.
func (k *Key) Proof(t testing.TB, compact string, header, claims map[string]any) string {
	t.Helper()
	sum := sha256.Sum256([]byte(compact))
	h := merge(map[string]any{"typ": "dpop+jwt", "kid": Absent, "jwk": k.bareJWK()}, header)
	c := merge(map[string]any{"ath": base64.RawURLEncoding.EncodeToString(sum[:]), "jti": rand.Text()}, claims)
	return k.Sign(t, h, c)
}
