package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is one signature algorithm of RFC 7518 / 8037 and the keys it fits.
type algorithm struct {
	name   string
	method jwt.SigningMethod
	curve  elliptic.Curve // for ECDSA: the one curve RFC 7518 section 3.4 allows
}

// algorithms is every algorithm there is for this package. There is no entry
// for HS256, HS384, HS512 and none, so no configuration can allow them: with a
// public key set a symmetric algorithm would make the public key a secret.
var algorithms = map[string]*algorithm{
	"RS256": {name: "RS256", method: jwt.SigningMethodRS256},
	"RS384": {name: "RS384", method: jwt.SigningMethodRS384},
	"RS512": {name: "RS512", method: jwt.SigningMethodRS512},
	"PS256": {name: "PS256", method: strictPSS(jwt.SigningMethodPS256)},
	"PS384": {name: "PS384", method: strictPSS(jwt.SigningMethodPS384)},
	"PS512": {name: "PS512", method: strictPSS(jwt.SigningMethodPS512)},
	"ES256": {name: "ES256", method: jwt.SigningMethodES256, curve: elliptic.P256()},
	"ES384": {name: "ES384", method: jwt.SigningMethodES384, curve: elliptic.P384()},
	"ES512": {name: "ES512", method: jwt.SigningMethodES512, curve: elliptic.P521()},
	"EdDSA": {name: "EdDSA", method: jwt.SigningMethodEdDSA},
	// RFC 9864 names the curve; the signature is the same.
	"Ed25519": {name: "Ed25519", method: jwt.SigningMethodEdDSA},
}

// DefaultAlgorithms is what an issuer may sign with when nothing is configured:
// all asymmetric algorithms of JOSE with keys we can check.
var DefaultAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512", "EdDSA", "Ed25519",
}

// strictPSS demands a salt as long as the hash (RFC 7518 section 3.5); the
// library's default takes any length.
func strictPSS(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          m.Options,
		VerifyOptions:    &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

// fits tells whether the algorithm belongs to this kind of key and, for ECDSA,
// to its curve.
func (a *algorithm) fits(public crypto.PublicKey) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		switch a.method.(type) {
		case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
			return true
		}
	case *ecdsa.PublicKey:
		return a.curve != nil && a.curve == k.Curve
	case ed25519.PublicKey:
		_, ok := a.method.(*jwt.SigningMethodEd25519)
		return ok
	}
	return false
}

// same tells whether two names mean one algorithm: EdDSA and Ed25519 do.
func (a *algorithm) same(name string) bool {
	b := algorithms[name]
	return b != nil && (a.name == b.name || (a.method == b.method && a.method == jwt.SigningMethodEdDSA))
}
