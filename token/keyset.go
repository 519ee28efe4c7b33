package token

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// KeySet is a set of public keys that were let in. It is immutable: when an
// issuer's keys change there is a new one, so a pointer names a generation.
type KeySet struct {
	keys   []*key
	byID   map[string]*key
	digest [sha256.Size]byte
}

func newKeySet(keys []*key) *KeySet {
	s := &KeySet{keys: keys, byID: make(map[string]*key, len(keys)), digest: digest(keys)}
	for _, k := range keys {
		if k.id != "" {
			s.byID[k.id] = k
		}
	}
	return s
}

// Len is the number of keys.
func (s *KeySet) Len() int { return len(s.keys) }

// ParsePEM reads public keys and certificates in PEM. They have no key id: a
// token with a kid is verified by them only if exactly one key fits. The same
// strength is asked of them as of a key set's.
func ParsePEM(data []byte) (*KeySet, error) {
	var keys []*key
	blocks := bytes.Count(data, []byte("-----BEGIN "))
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		k, err := pemKey(block)
		if err != nil {
			return nil, fmt.Errorf("pem block %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	if blocks == 0 {
		return nil, errNoUsableKeys
	}
	if len(keys) != blocks { // the decoder passes over what is mangled
		return nil, fmt.Errorf("pem: one of %d blocks can't be read", blocks)
	}
	return newKeySet(keys), nil
}

func pemKey(block *pem.Block) (*key, error) {
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = cert.PublicKey
		}
	default:
		return nil, errors.New("is neither a public key nor a certificate")
	}
	if err != nil {
		return nil, errors.New("can't be parsed")
	}
	if err := checkStrength(public); err != nil {
		return nil, err
	}
	return newKey("", public)
}

// find gives the key that a header names. Without a kid, or in a set whose keys
// have none, exactly one key must fit: trying several would let a token choose.
func (s *KeySet) find(h header) (*key, error) {
	if h.hasKeyID && len(s.byID) > 0 {
		k := s.byID[h.keyID]
		if k == nil {
			return nil, refuse(ReasonKeyUnknown, "the token names a key (kid) that its issuer does not publish; it may be withdrawn or of another issuer")
		}
		if !k.accepts(h.algorithm) {
			return nil, refuse(ReasonAlgorithm, "the token's algorithm is not the one its key is for")
		}
		return k, nil
	}
	var found *key
	for _, k := range s.keys {
		if !k.accepts(h.algorithm) {
			continue
		}
		if found != nil && h.hasKeyID {
			return nil, refuse(ReasonKeyUnknown, "the token names a key (kid), and several without names fit; configure the issuer's keys as a key set (jwks_file), which names them")
		}
		if found != nil {
			return nil, refuse(ReasonKeyUnknown, "the token names no key (kid) and its issuer has several that fit; let the issuer add kid to its tokens")
		}
		found = k
	}
	if found == nil {
		return nil, refuse(ReasonKeyUnknown, "the issuer has no key for the token's algorithm")
	}
	return found, nil
}

// VerifyJWS checks the signature of a compact JWS with one of the set's keys and
// gives its payload. It checks no claims: use a [Verifier] for access tokens.
// Without algorithms every asymmetric one is allowed.
func (s *KeySet) VerifyJWS(compact string, algorithms ...string) ([]byte, error) {
	t, err := parseToken(compact, DefaultMaxTokenBytes)
	if err != nil {
		return nil, err
	}
	if len(algorithms) > 0 && !anySame(t.header.algorithm, algorithms) {
		return nil, refuse(ReasonAlgorithm, "the algorithm is not allowed here")
	}
	k, err := s.find(t.header)
	if err != nil {
		return nil, err
	}
	if err := t.verify(k); err != nil {
		return nil, err
	}
	return t.payload, nil
}

func anySame(a *algorithm, names []string) bool {
	for _, name := range names {
		if a.same(name) {
			return true
		}
	}
	return false
}

// verify checks the signature with one key whose fitness was checked by find.
func (t *compactJWS) verify(k *key) error {
	if !k.accepts(t.header.algorithm) {
		return refuse(ReasonAlgorithm, "the token's algorithm is not the one its key is for")
	}
	if err := t.header.algorithm.method.Verify(t.signingInput, t.signature, k.public); err != nil {
		return refuse(ReasonSignature, "the token's signature is wrong; it was changed or signed by someone else")
	}
	return nil
}
