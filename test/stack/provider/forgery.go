package provider

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Forgery is a token that did not come out of a flow. Its zero value is a true access token of Service's shape, signed
// with the provider's own key: every field makes it wrong in one way.
type Forgery struct {
	// Service is the account whose claims are the base. Required.
	Service string
	// Claims are laid over the base; a nil value removes the claim.
	Claims map[string]any
	// Header is laid over {alg, kid, typ}; a nil value removes the field. alg chooses the signature's algorithm.
	Header map[string]any
	// Key signs in the place of the provider's current key: *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey,
	// []byte for HMAC, jwt.UnsafeAllowNoneSignatureType for alg none.
	Key any
}

// Forge builds and signs the token.
func (p *Provider) Forge(f Forgery) (string, error) {
	service, ok := p.storage.services[f.Service]
	if !ok {
		return "", fmt.Errorf("provider: no service account %q", f.Service)
	}
	p.storage.mu.Lock()
	current := p.storage.keys[0]
	p.storage.mu.Unlock()

	now := time.Now()
	claims := jwt.MapClaims{
		"iss": p.issuer, "sub": service.ID, "aud": p.storage.audienceOf(service),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(p.storage.lifetime).Unix(),
		"jti": uuid.NewString(), "client_id": service.ID, "azp": service.ID,
	}
	maps.Copy(claims, service.Claims)
	overlay(claims, f.Claims)
	header := map[string]any{"alg": "RS256", "kid": current.id, "typ": "JWT"}
	overlay(header, f.Header)

	alg, _ := header["alg"].(string)
	method := jwt.GetSigningMethod(alg)
	if method == nil {
		return "", fmt.Errorf("provider: can't sign with alg %q", alg)
	}
	key := f.Key
	if key == nil {
		key = current.private
	}
	return (&jwt.Token{Header: header, Claims: claims, Method: method}).SignedString(key)
}

func overlay(base, over map[string]any) {
	for name, value := range over {
		if value == nil {
			delete(base, name)
		} else {
			base[name] = value
		}
	}
}

// ForeignKey is a key that no provider published.
func ForeignKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// PublicKeyPEM is the current public key as PEM: the HMAC secret of the oldest forgery (alg HS256 with an RSA key).
func (p *Provider) PublicKeyPEM() ([]byte, error) {
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	der, err := x509.MarshalPKIXPublicKey(&p.storage.keys[0].private.PublicKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
