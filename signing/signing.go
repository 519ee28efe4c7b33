// Package signing holds the gateway's own keys: what it says under its own
// name (the stamp on a run, an assertion for an upstream, a checkpoint of the
// audit) is signed with them, and whoever reads it checks it against the
// published key set.
//
// The private keys live in one file, made at the first start, mode 0600. Any
// number of processes may use the file at once: whoever writes holds a lock
// and looks again, whoever reads sees a whole file. Nodes share one file, or
// have one each and publish each other's public keys ([Options.Peers]).
//
// It refuses a key file that others can read, never writes over a file that
// it can't read, takes no other algorithm than Ed25519 and no token whose
// header says more than alg, kid and typ. It never fetches anything.
//
// Read [Open] first, then [Keys.Sign] and [KeySet.Verify]; file.go says when
// keys come and go.
package signing

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MediaType of a published key set (RFC 7517, section 8.5.2).
const MediaType = "application/jwk-set+json"

// PublishLead is how long a new key is published before anything is signed
// with it, so that whoever caches the key set has it in time. A key set may
// be cached for half of it ([CacheSeconds]).
const PublishLead = 20 * time.Minute

// CacheSeconds is how long a published key set may be cached.
const CacheSeconds = int(PublishLead / 2 / time.Second)

// ErrKeyFile says that the key file, or a peer's, can't be used.
var ErrKeyFile = errors.New("signing keys")

// Options say where the keys are and how long they live.
type Options struct {
	// File holds the private keys. It is made if there is none. Required.
	File string
	// Peers are JWKS files with the public keys of other nodes that have a
	// key file of their own; their keys are published and believed as well.
	Peers []string
	// RotateEvery is a key's age at which a new one takes over. Default: 90
	// days. Negative: never, for a file that somebody else rotates.
	RotateEvery time.Duration
	// Keep is how long a key's public half stays published after the key was
	// replaced: as long as what it signed is to be checked. Default: 400 days.
	Keep time.Duration
	// CheckInterval is how often the files are looked at. Default: 5 s.
	CheckInterval time.Duration
	// Logger gets what goes wrong later. Default: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.RotateEvery == 0 {
		o.RotateEvery = 90 * 24 * time.Hour
	}
	if o.Keep <= 0 {
		o.Keep = 400 * 24 * time.Hour
	}
	if o.CheckInterval <= 0 {
		o.CheckInterval = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Keys are the gateway's keys. They follow the files: a rotation by any
// process, or by an operator, counts within [Options.CheckInterval].
type Keys struct {
	options Options

	mu      sync.Mutex
	checked time.Time
	private ed25519.PrivateKey
	kid     string
	made    time.Time
	public  *KeySet
	tell    func(*KeySet) // nil: nobody
	err     error         // of the last look at the files
}

// Open reads the keys, making the file if there is none.
func Open(o Options) (*Keys, error) {
	if o.File == "" {
		return nil, fmt.Errorf("%w: no file given", ErrKeyFile)
	}
	k := &Keys{options: o.withDefaults()}
	if err := k.load(k.options.Now()); err != nil {
		return nil, err
	}
	return k, nil
}

// Fleeting makes keys that are in no file and end with the process: for who
// wants to see what a gateway would sign, and serves nobody.
func Fleeting() (*Keys, error) {
	k := &Keys{options: Options{CheckInterval: math.MaxInt64}.withDefaults()}
	k.checked = k.options.Now()
	made, err := newKey(k.checked)
	if err != nil {
		return nil, err
	}
	k.private, k.kid = made.Private, made.ID
	k.public, err = k.publish(&keyFile{Keys: []*key{made}})
	return k, err
}

// Sign makes a compact JWS of the claims. typ says what it is (RFC 8725,
// section 3.11): what is signed for one purpose must not pass for another.
func (k *Keys) Sign(claims jwt.Claims, typ string) (string, error) {
	private, kid, _ := k.current()
	if typ == "" {
		return "", errors.New("signing: typ is missing")
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	t.Header["kid"], t.Header["typ"] = kid, typ
	return t.SignedString(private)
}

// Public is the key set as it is now: ours, those that signed before, and the
// peers'.
func (k *Keys) Public() *KeySet {
	_, _, public := k.current()
	return public
}

// JWKS is the published key set, as JSON.
func (k *Keys) JWKS() []byte { return k.Public().JWKS() }

// Verify checks what one of the keys signed; see [KeySet.Verify].
func (k *Keys) Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error {
	return k.Public().Verify(compact, typ, claims, options...)
}

// OnChange has somebody told of the key set as it is, and whenever it changes.
// tell must return quickly and use no method of k.
func (k *Keys) OnChange(tell func(*KeySet)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tell = tell
	tell(k.public)
}

// current looks at the files when it is time. Files that can't be used any
// more change nothing: what was good stays good until somebody repairs them.
func (k *Keys) current() (ed25519.PrivateKey, string, *KeySet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.options.Now(); now.Sub(k.checked) >= k.options.CheckInterval || now.Before(k.checked) {
		if k.err = k.loadLocked(now); k.err != nil {
			k.options.Logger.Error("the signing keys can't be read again; those of before stay in use", "error", k.err)
		}
	}
	return k.private, k.kid, k.public
}

func (k *Keys) load(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loadLocked(now)
}

func (k *Keys) loadLocked(now time.Time) error {
	k.checked = now
	f, err := k.tend(now)
	if err != nil {
		return err
	}
	signer, err := f.signer(now)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrKeyFile, k.options.File, err)
	}
	public, err := k.publish(f)
	if err != nil {
		return err
	}
	changed := k.public == nil || k.public.Digest() != public.Digest()
	k.private, k.kid, k.made, k.public = signer.Private, signer.ID, signer.Made, public
	if changed && k.tell != nil {
		k.tell(public)
	}
	return nil
}
