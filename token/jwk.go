package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of an RSA key: NIST SP 800-131A asks for 2048 bits; above 8192 one
// verification costs milliseconds.
const (
	minRSABits = 2048
	maxRSABits = 8192
	maxKeys    = 200
)

// key is one public key that was let in.
type key struct {
	id         string
	public     crypto.PublicKey
	algorithm  string // the JWK's alg; "" when the issuer names none
	thumbprint string // RFC 7638, SHA-256, base64url
}

// accepts tells whether the key may verify this algorithm: pinned to the JWK's
// alg where there is one, to its type and curve always.
func (k *key) accepts(a *algorithm) bool {
	return (k.algorithm == "" || a.same(k.algorithm)) && a.fits(k.public)
}

// Refused is a key of a key set that was not let in, and why.
type Refused struct {
	// KeyID is the key's kid, "" without one.
	KeyID string
	// Why is one clause for the operator.
	Why string
}

var errNoUsableKeys = errors.New("no usable signature keys")

// ParseKeySet reads a JWK set (RFC 7517) and lets in only public keys that may
// verify signatures and are worth it. Refused: symmetric and private keys, RSA
// below 2048 bits or with the ROCA weakness, keys whose alg disagrees with
// their type or curve, keys for another use, and every key whose kid is given
// twice. The set is an error when nothing is left.
func ParseKeySet(data []byte) (*KeySet, []Refused, error) {
	doc, err := DecodeClaims(data)
	if err != nil {
		return nil, nil, fmt.Errorf("key set: %w", err)
	}
	list, ok := doc["keys"].([]any)
	if !ok {
		return nil, nil, errors.New(`key set: no list "keys"`)
	}
	if len(list) > maxKeys {
		return nil, nil, fmt.Errorf("key set: more than %d keys", maxKeys)
	}
	var keys []*key
	var refused []Refused
	uses := map[string]int{}
	for _, entry := range list {
		id, k, err := importKey(entry)
		if id != "" && !forEncryption(entry) {
			uses[id]++
		}
		if err != nil {
			refused = append(refused, Refused{KeyID: id, Why: err.Error()})
			continue
		}
		keys = append(keys, k)
	}
	keys = slices.DeleteFunc(keys, func(k *key) bool {
		if uses[k.id] > 1 {
			refused = append(refused, Refused{KeyID: k.id, Why: "the same kid is given twice"})
			return true
		}
		return false
	})
	if len(keys) == 0 {
		return nil, refused, fmt.Errorf("key set: %w (%d refused)", errNoUsableKeys, len(refused))
	}
	return newKeySet(keys), refused, nil
}

// forEncryption tells that a key is plainly not for signatures: providers
// publish such keys beside the others, sometimes under the same kid.
func forEncryption(entry any) bool {
	jwk, _ := entry.(map[string]any)
	return jwk["use"] == "enc"
}

func importKey(entry any) (id string, k *key, err error) {
	jwk, ok := entry.(map[string]any)
	if !ok {
		return "", nil, errors.New("not a JSON object")
	}
	if v, present := jwk["kid"]; present {
		if id, ok = v.(string); !ok || len(id) > maxKeyIDBytes {
			return "", nil, errors.New("kid is not a short string")
		}
	}
	if err := checkPurpose(jwk); err != nil {
		return id, nil, err
	}
	public, err := publicKey(jwk)
	if err != nil {
		return id, nil, err
	}
	if err := checkStrength(public); err != nil {
		return id, nil, err
	}
	k, err = newKey(id, public)
	if err != nil {
		return id, nil, err
	}
	if v, present := jwk["alg"]; present {
		name, _ := v.(string)
		a := algorithms[name]
		if a == nil || !a.fits(public) {
			return id, nil, errors.New("alg is no signature algorithm for this type of key and curve")
		}
		k.algorithm = name
	}
	return id, k, nil
}

// checkPurpose applies RFC 7517 sections 4.2 and 4.3, and refuses key material
// that should never have been in a public document.
func checkPurpose(jwk map[string]any) error {
	if jwk["kty"] == "oct" {
		return errors.New("symmetric keys are not accepted")
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, present := jwk[private]; present {
			return errors.New("holds private key material")
		}
	}
	if use, present := jwk["use"]; present && use != "sig" {
		return errors.New("use is not sig")
	}
	ops, present := jwk["key_ops"]
	if !present {
		return nil
	}
	list, _ := ops.([]any)
	if !slices.Contains(list, any("verify")) {
		return errors.New("key_ops does not hold verify")
	}
	return nil
}

// publicKey hands go-jose the members that make the key and nothing else: a
// certificate chain in the JWK has no say here.
func publicKey(jwk map[string]any) (crypto.PublicKey, error) {
	bare := map[string]any{}
	for _, name := range []string{"kty", "crv", "n", "e", "x", "y"} {
		v, present := jwk[name]
		if !present {
			continue
		}
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%s is not a string", name)
		}
		if name != "kty" && name != "crv" {
			if _, err := decodeSegment(s); err != nil {
				return nil, fmt.Errorf("%s is not base64url", name)
			}
		}
		bare[name] = s
	}
	raw, err := json.Marshal(bare)
	if err != nil {
		return nil, errors.New("not a key")
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(raw); err != nil || !parsed.Valid() {
		return nil, errors.New("type, curve and coordinates make no valid public key")
	}
	return parsed.Key, nil
}

func checkStrength(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		switch {
		case bits < minRSABits || bits > maxRSABits:
			return fmt.Errorf("an RSA key must have %d to %d bits", minRSABits, maxRSABits)
		case k.E < 3 || k.E%2 == 0 || k.N.Bit(0) == 0:
			return errors.New("RSA modulus or exponent is not that of a key")
		case hasROCA(k.N):
			return errors.New("made by a generator with the ROCA weakness (CVE-2017-15361)")
		}
		return nil
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	default:
		return errors.New("the type of key is not supported")
	}
}

func newKey(id string, public crypto.PublicKey) (*key, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, errors.New("no thumbprint can be made of it")
	}
	return &key{id: id, public: public, thumbprint: strictBase64.EncodeToString(sum)}, nil
}

// digest tells whether two sets hold the same keys under the same names.
func digest(keys []*key) [sha256.Size]byte {
	lines := make([]string, 0, len(keys))
	for _, k := range keys {
		lines = append(lines, fmt.Sprintf("%q %q %q\n", k.id, k.algorithm, k.thumbprint))
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return [sha256.Size]byte(h.Sum(nil))
}
