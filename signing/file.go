package signing

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// maxFileBytes bounds what is read of a key file.
const maxFileBytes = 1 << 20

// keyFile is the file's content, the oldest key first.
type keyFile struct {
	Keys []*key `json:"keys"`
}

// key is one key's life: published when it is made, signing from
// [PublishLead] later (the very first at once), without its private half once
// its successor signs, gone after [Options.Keep].
type key struct {
	ID      string
	Made    time.Time
	Public  ed25519.PublicKey
	Private ed25519.PrivateKey // nil: signs no more
}

// keyJSON is a key in the file: a JWK, and when it was made.
type keyJSON struct {
	Made time.Time       `json:"made"`
	JWK  jose.JSONWebKey `json:"jwk"`
}

func (k *key) MarshalJSON() ([]byte, error) {
	j := keyJSON{Made: k.Made, JWK: publicJWK(k.ID, k.Public)}
	if k.Private != nil {
		j.JWK.Key = k.Private
	}
	return json.Marshal(j)
}

func (k *key) UnmarshalJSON(data []byte) error {
	var j keyJSON
	if err := json.Unmarshal(data, &j); err != nil {
		// go-jose's errors may quote the key.
		return errors.New("a key is no JWK")
	}
	k.Made = j.Made
	switch material := j.JWK.Key.(type) {
	case ed25519.PrivateKey:
		// A JWK holds the public half beside the seed it follows from.
		if !material.Equal(ed25519.NewKeyFromSeed(material.Seed())) {
			return errors.New("a key's two halves are of two keys")
		}
		k.Private, k.Public = material, material.Public().(ed25519.PublicKey)
	case ed25519.PublicKey:
		k.Public = material
	default:
		return errors.New("a key is no Ed25519 key")
	}
	id, err := thumbprint(k.Public)
	if err != nil || j.JWK.KeyID != id {
		return errors.New("a key's kid is not its thumbprint")
	}
	k.ID = id
	return nil
}

// thumbprint names a key by what it is (RFC 7638), so that no two keys ever
// share a name.
func thumbprint(public ed25519.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

func newKey(now time.Time) (*key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := thumbprint(public)
	return &key{ID: id, Made: now.UTC().Truncate(time.Second), Public: public, Private: private}, err
}

// signer is the newest key whose time has come; the first key's has come at
// once.
func (f *keyFile) signer(now time.Time) (*key, error) {
	for i := len(f.Keys) - 1; i >= 0; i-- {
		k := f.Keys[i]
		if k.Private != nil && (!now.Before(k.Made.Add(PublishLead)) || !f.signsBefore(i)) {
			return k, nil
		}
	}
	return nil, errors.New("no private key in it")
}

func (f *keyFile) signsBefore(i int) bool {
	for _, k := range f.Keys[:i] {
		if k.Private != nil {
			return true
		}
	}
	return false
}

// tended is the file as it should be now, and whether that is a change.
func (f *keyFile) tended(o Options, now time.Time) (*keyFile, bool, error) {
	next := &keyFile{}
	changed := false
	for i, k := range f.Keys {
		if i+1 < len(f.Keys) {
			// Other processes may sign with it until they look again.
			replaced := f.Keys[i+1].Made.Add(PublishLead)
			if now.After(replaced.Add(o.Keep)) {
				changed = true
				continue
			}
			if k.Private != nil && now.After(replaced.Add(PublishLead)) {
				retired := *k
				retired.Private = nil
				k, changed = &retired, true
			}
		}
		next.Keys = append(next.Keys, k)
	}
	n := len(next.Keys)
	if n == 0 || o.RotateEvery > 0 && !now.Before(next.Keys[n-1].Made.Add(o.RotateEvery)) {
		k, err := newKey(now)
		if err != nil {
			return nil, false, err
		}
		next.Keys, changed = append(next.Keys, k), true
	}
	return next, changed, nil
}

// tend reads the file and, where it should be another, writes it under the
// lock. A file that is there but can't be written, a mounted secret for
// instance, is used as it is.
func (k *Keys) tend(now time.Time) (*keyFile, error) {
	f, err := readKeyFile(k.options.File)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	if !missing {
		if _, changed, err := f.tended(k.options, now); err != nil || !changed {
			return f, err
		}
	}
	written, err := k.rewrite(func(f *keyFile) (*keyFile, bool, error) { return f.tended(k.options, now) })
	if err != nil && !missing {
		k.options.Logger.Error("the signing keys can't be rotated; those of before stay in use", "file", k.options.File, "error", err)
		return f, nil
	}
	return written, err
}

// Rotate adds a key at once; it signs after [PublishLead]. An operator does
// so after a leak, or ahead of time.
func (k *Keys) Rotate() error {
	now := k.options.Now()
	_, err := k.rewrite(func(f *keyFile) (*keyFile, bool, error) {
		next, err := newKey(now)
		if err != nil {
			return nil, false, err
		}
		return &keyFile{Keys: append(f.Keys, next)}, true, nil
	})
	if err != nil {
		return err
	}
	return k.load(now)
}

// rewrite changes the file while nobody else does: it reads it again under
// the lock, for another process may have been first.
func (k *Keys) rewrite(change func(*keyFile) (*keyFile, bool, error)) (*keyFile, error) {
	path := k.options.File
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer lock.Close() // which releases the lock
	if err := hold(lock); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, lock.Name(), err)
	}
	f, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = &keyFile{}, nil
	}
	if err != nil {
		return nil, err
	}
	next, changed, err := change(f)
	if err != nil || !changed {
		return f, err
	}
	data, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if err := writeWhole(path, append(data, '\n')); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return next, nil
}

// hold takes the lock. Requests wait for it, so a process that stands still
// with it may keep them for lockLimit and no longer.
func hold(lock *os.File) error {
	for until := time.Now().Add(lockLimit); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return err
		case time.Now().After(until):
			return errors.New("another process holds the lock")
		}
	}
}

const lockLimit = 2 * time.Second

func readKeyFile(path string) (*keyFile, error) {
	data, info, err := smallfile.Read(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	// A group may read: that is how Kubernetes mounts secrets.
	if mode := info.Mode(); mode.Perm()&0o027 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %v; nobody but its owner may have access (chmod 600)", ErrKeyFile, path, mode)
	}
	f := &keyFile{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(f); err != nil || len(f.Keys) == 0 {
		return nil, fmt.Errorf("%w: %s is no key file: repair it, or move it away and a new one is made", ErrKeyFile, path)
	}
	for _, k := range f.Keys {
		if k == nil || k.ID == "" {
			return nil, fmt.Errorf("%w: %s is no key file: an entry holds no key", ErrKeyFile, path)
		}
	}
	return f, nil
}

// writeWhole replaces the file: readers see the old one or the new one, and
// after a power cut there is one of them. Where the path is a link, what it
// points to is replaced.
func writeWhole(path string, data []byte) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".kong-prefect-keys-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
