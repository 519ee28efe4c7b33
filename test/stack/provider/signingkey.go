package provider

import (
	"crypto/rand"
	"crypto/rsa"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// signingKey is one RS256 key pair. It is op.SigningKey and, as verifyKey, op.Key.
type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

func newSigningKey() (signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	return signingKey{id: uuid.NewString(), private: private}, err
}

func (k signingKey) ID() string                                  { return k.id }
func (k signingKey) Key() any                                    { return k.private }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

type verifyKey struct{ signingKey }

func (k verifyKey) Key() any                           { return &k.private.PublicKey }
func (k verifyKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k verifyKey) Use() string                        { return "sig" }

var (
	_ op.SigningKey = signingKey{}
	_ op.Key        = verifyKey{}
)

// RotateKey makes a new key sign from now on. The old one stays published only where keepOld is set.
func (p *Provider) RotateKey(keepOld bool) error {
	key, err := newSigningKey()
	if err != nil {
		return err
	}
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	if keepOld {
		p.storage.keys = append([]signingKey{key}, p.storage.keys...)
	} else {
		p.storage.keys = []signingKey{key}
	}
	return nil
}

// newSecret is 32 random bytes.
func newSecret() (secret [32]byte) {
	_, _ = rand.Read(secret[:]) // never fails, by its documentation
	return secret
}
