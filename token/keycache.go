package token

import (
	"context"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// keySource is where an issuer's keys come from: the network or a file.
type keySource interface {
	// current gives the keys to verify with now.
	current(ctx context.Context) (*KeySet, error)
	// newer is asked when a token named a key that the given set doesn't have;
	// it gives the same set again when there is no newer one.
	newer(ctx context.Context, than *KeySet) (*KeySet, error)
}

// KeyCacheOptions are the times of a [KeyCache]. All have defaults.
type KeyCacheOptions struct {
	// RefreshAfter is the age at which keys are fetched again in the background
	// while they go on being used. Default 5 min; each time is drawn between
	// three quarters of it and all of it, so that a fleet doesn't ask at once.
	RefreshAfter time.Duration
	// MaxAge is the age after which keys are not used without a try to fetch
	// them first. A withdrawn key is refused after it. Default 10 min.
	MaxAge time.Duration
	// MaxStale is the age up to which keys are used while the issuer can't be
	// reached. Default 1 h. After it every token of the issuer is refused until
	// it is back.
	MaxStale time.Duration
	// UnknownKeyCooldown is the least time between two fetches caused by
	// tokens with an unknown kid. Default 10 s.
	UnknownKeyCooldown time.Duration
	// RetryAfter is the wait after a first failed fetch; it doubles with each
	// further one up to 16 times. Default 1 s.
	RetryAfter time.Duration
	// FileCheckInterval is how often key files are looked at. Default 500 ms.
	FileCheckInterval time.Duration
	// Logger gets changes of key sets, refused keys and failed fetches. Default:
	// nowhere.
	Logger *slog.Logger
	// OnChange is told of each key set that takes the place of another, and of
	// each first one. It must return quickly. Default: nobody.
	OnChange func(KeyChange)
	// Now is the clock. Default [time.Now].
	Now func() time.Time
}

// KeyChange says which keys are used from now on.
type KeyChange struct {
	// Source is the issuer, or the file where keys are read from one.
	Source string
	KeyIDs []string // those that have one
	Keys   int
	// Digest names the set: SHA-256, in hexadecimal.
	Digest string
}

func (o *KeyCacheOptions) changed(source string, set *KeySet) {
	o.OnChange(KeyChange{Source: source, KeyIDs: slices.Sorted(maps.Keys(set.byID)), Keys: set.Len(), Digest: hex.EncodeToString(set.digest[:])})
}

func (o KeyCacheOptions) withDefaults() KeyCacheOptions {
	setDefault(&o.RefreshAfter, 5*time.Minute)
	setDefault(&o.MaxAge, 10*time.Minute)
	setDefault(&o.MaxStale, time.Hour)
	setDefault(&o.UnknownKeyCooldown, 10*time.Second)
	setDefault(&o.RetryAfter, time.Second)
	setDefault(&o.FileCheckInterval, 500*time.Millisecond)
	o.MaxAge = max(o.MaxAge, o.RefreshAfter)
	o.MaxStale = max(o.MaxStale, o.MaxAge)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func(KeyChange) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// KeyCache holds the key sets of the whole process, one for each issuer and
// settings, shared by all Verifiers. It fetches only when keys are asked for, so
// an issuer nobody uses costs nothing.
type KeyCache struct {
	options KeyCacheOptions
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	remotes map[remote]*remoteKeys
	files   map[keyFile]*fileKeys
}

// NewKeyCache makes an empty cache. Close ends its fetches.
func NewKeyCache(o KeyCacheOptions) *KeyCache {
	ctx, cancel := context.WithCancel(context.Background())
	return &KeyCache{
		options: o.withDefaults(), ctx: ctx, cancel: cancel,
		remotes: map[remote]*remoteKeys{}, files: map[keyFile]*fileKeys{},
	}
}

// Close stops all fetches and waits for their end. Keys that were fetched go on
// being usable up to their age.
func (c *KeyCache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
}

// begin registers a fetch; false after Close.
func (c *KeyCache) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Add(1)
	return true
}

// source gives the keys of an issuer whose settings passed check. It does not
// touch the network.
func (c *KeyCache) source(i Issuer) (keySource, error) {
	if f := (keyFile{issuer: i.URL, jwks: i.JWKSFile, pem: i.PEMFile}); f.jwks != "" || f.pem != "" {
		return c.file(f), nil
	}
	r := i.remote()
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.remotes[r]; k != nil {
		return k, nil
	}
	client, err := newFetchClient(i.HTTP)
	if err != nil {
		return nil, err
	}
	k := &remoteKeys{cache: c, remote: r, client: client}
	makeRoom(c.remotes)
	c.remotes[r] = k
	return k, nil
}

func (c *KeyCache) file(f keyFile) *fileKeys {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.files[f]
	if k == nil {
		k = newFileKeys(f, c.options)
		makeRoom(c.files)
		c.files[f] = k
	}
	return k
}

// maxSources bounds a cache that lives through years of changing settings.
const maxSources = 256

// makeRoom drops any entry of a full map. A Verifier that holds the dropped
// source goes on with it; it is only no longer shared.
func makeRoom[K comparable, V any](m map[K]V) {
	for k := range m {
		if len(m) < maxSources {
			return
		}
		delete(m, k)
	}
}
