package signing

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// What can be wrong with a token that [KeySet.Verify] refuses, beside what
// golang-jwt names: [jwt.ErrTokenExpired] and its like are in its errors too.
var (
	ErrMalformed  = errors.New("not a token of this gateway")
	ErrType       = errors.New("a token for another purpose")
	ErrUnknownKey = errors.New("signed with a key that is not in the key set")
	ErrSignature  = errors.New("the signature is wrong")
)

// MaxTokenBytes bounds a token.
const MaxTokenBytes = 32 << 10

// KeySet is a set of public keys.
type KeySet struct {
	keys map[string]ed25519.PublicKey
	jwks []byte
}

// JWKS is the set as JSON.
func (s *KeySet) JWKS() []byte { return s.jwks }

// Has tells whether the key of that kid is in the set.
func (s *KeySet) Has(kid string) bool { return s.keys[kid] != nil }

// IDs are the keys' kids, sorted.
func (s *KeySet) IDs() []string { return slices.Sorted(maps.Keys(s.keys)) }

// Digest names the set: SHA-256 over its keys, in hexadecimal.
func (s *KeySet) Digest() string {
	sum := sha256.New()
	for _, id := range s.IDs() {
		fmt.Fprintf(sum, "%q %x\n", id, []byte(s.keys[id]))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// ParseKeySet reads a published key set. Every key must be an Ed25519 public
// key for signatures: a set that holds anything else isn't one of ours.
func ParseKeySet(data []byte) (*KeySet, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil || len(data) > maxFileBytes || len(set.Keys) == 0 {
		return nil, fmt.Errorf("%w: not a key set", ErrKeyFile)
	}
	public := map[string]ed25519.PublicKey{}
	var order []jose.JSONWebKey
	for i, jwk := range set.Keys {
		key, ok := jwk.Key.(ed25519.PublicKey)
		if !ok || len(key) != ed25519.PublicKeySize || jwk.KeyID == "" || public[jwk.KeyID] != nil ||
			jwk.Algorithm != "" && jwk.Algorithm != jwt.SigningMethodEdDSA.Alg() || jwk.Use != "" && jwk.Use != "sig" {
			return nil, fmt.Errorf("%w: key %d is not the only Ed25519 public key of its kid", ErrKeyFile, i+1)
		}
		public[jwk.KeyID] = key
		order = append(order, publicJWK(jwk.KeyID, key))
	}
	return newKeySet(public, order)
}

func newKeySet(public map[string]ed25519.PublicKey, order []jose.JSONWebKey) (*KeySet, error) {
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: order})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return &KeySet{keys: public, jwks: append(jwks, '\n')}, nil
}

func publicJWK(kid string, key ed25519.PublicKey) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: jwt.SigningMethodEdDSA.Alg(), Use: "sig"}
}

// publish joins our keys, the newest first, with the peers'.
func (k *Keys) publish(f *keyFile) (*KeySet, error) {
	public := map[string]ed25519.PublicKey{}
	var order []jose.JSONWebKey
	for i := len(f.Keys) - 1; i >= 0; i-- {
		public[f.Keys[i].ID] = f.Keys[i].Public
		order = append(order, publicJWK(f.Keys[i].ID, f.Keys[i].Public))
	}
	for _, path := range k.options.Peers {
		data, _, err := smallfile.Read(path, maxFileBytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
		}
		peers, err := ParseKeySet(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for kid, key := range peers.keys {
			if known := public[kid]; known != nil {
				if !known.Equal(key) {
					return nil, fmt.Errorf("%w: %s: kid %q stands for another key here", ErrKeyFile, path, kid)
				}
				continue
			}
			public[kid] = key
			order = append(order, publicJWK(kid, key))
		}
	}
	return newKeySet(public, order)
}

// Verify checks a compact JWS that [Keys.Sign] made: the signature by a key of
// the set, the type, exp and whatever options ask for (jwt.WithIssuer and its
// like), and reads it into claims. Everything but the claims' meaning.
func (s *KeySet) Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error {
	// Go's base64 passes over line breaks, and one token has one spelling.
	if len(compact) > MaxTokenBytes || strings.ContainsAny(compact, "\r\n") {
		return ErrMalformed
	}
	options = append([]jwt.ParserOption{jwt.WithStrictDecoding(), jwt.WithExpirationRequired()}, options...)
	options = append(options, jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}))
	_, err := jwt.NewParser(options...).ParseWithClaims(compact, claims, func(t *jwt.Token) (any, error) {
		kid, ok := t.Header["kid"].(string)
		// Our own headers hold three members: with crit or jku in it, whatever
		// they ask, it isn't ours.
		if !ok || len(t.Header) != 3 {
			return nil, ErrMalformed
		}
		if got, _ := t.Header["typ"].(string); got != typ {
			return nil, ErrType
		}
		if key := s.keys[kid]; key != nil {
			return key, nil
		}
		return nil, ErrUnknownKey
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrType), errors.Is(err, ErrUnknownKey):
		return err
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fmt.Errorf("%w: %w", ErrSignature, err)
	case errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, jwt.ErrTokenUnverifiable):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	default:
		return err // the claims: expired, another issuer
	}
}
