package token

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// keyFile names an issuer's file with public keys, in one of two forms.
type keyFile struct{ issuer, jwks, pem string }

// fileKeys are keys from a watched file, for issuers that can't be reached.
type fileKeys struct {
	file *watchedFile
	set  atomic.Pointer[KeySet]
}

func newFileKeys(f keyFile, o KeyCacheOptions) *fileKeys {
	k := &fileKeys{}
	path, parse := f.jwks, func(data []byte) (*KeySet, error) {
		set, refused, err := ParseKeySet(data)
		for _, r := range refused {
			o.Logger.Warn("a key of the file was not let in", "kid", r.KeyID, "why", r.Why, "path", f.jwks)
		}
		return set, err
	}
	if f.pem != "" {
		path, parse = f.pem, ParsePEM
	}
	k.file = &watchedFile{
		path: path, interval: o.FileCheckInterval, maxStale: o.MaxStale, now: o.Now, log: o.Logger,
		load: func(data []byte) error {
			set, err := parse(data)
			if err != nil {
				return err
			}
			if old := k.set.Load(); old == nil || old.digest != set.digest {
				k.set.Store(set)
				o.changed(path, set)
			}
			return nil
		},
	}
	return k
}

func (k *fileKeys) current(context.Context) (*KeySet, error) {
	if err := k.file.check(); err != nil {
		return nil, unavailable(ReasonKeysUnavailable, "the issuer's key file can't be read, so its tokens can't be verified", ErrKeysUnavailable, err)
	}
	return k.set.Load(), nil
}

func (k *fileKeys) newer(ctx context.Context, _ *KeySet) (*KeySet, error) { return k.current(ctx) }

// maxFileBytes bounds what is read of a key file or deny list.
const maxFileBytes = 64 << 20

// settleTime is how long a file's modification time is not trusted to tell two
// versions apart: two writes within a tick of the file system's clock can have
// the same time and size.
const settleTime = 2 * time.Second

// watchedFile reads a file again when it changed. It looks when it is asked, at
// most once an interval, so it needs no goroutine and works on every file
// system, mounted ConfigMaps included. A version that can't be read leaves the
// last good one in force, for maxStale at the most.
type watchedFile struct {
	path     string
	interval time.Duration
	maxStale time.Duration
	now      func() time.Time
	log      *slog.Logger
	load     func([]byte) error

	next   atomic.Int64 // when to look again, in Unix ns
	mu     sync.Mutex
	seen   os.FileInfo
	loaded bool
	goodAt time.Time
	err    error
	// failing counts the looks that failed since the last good one, good and
	// failed all that read the file.
	failing      int
	good, failed uint64
}

func (w *watchedFile) check() error {
	now := w.now()
	if w.rests(now) {
		return w.state(now)
	}
	w.mu.Lock()
	if !w.rests(now) {
		w.look(now)
		w.next.Store(now.Add(w.interval).UnixNano())
	}
	w.mu.Unlock()
	return w.state(now)
}

// rests tells that it isn't time to look again. A clock that was set back must
// not put that off: a deny list would be read hours late.
func (w *watchedFile) rests(now time.Time) bool {
	wait := time.Duration(w.next.Load() - now.UnixNano())
	return wait > 0 && wait <= w.interval
}

func (w *watchedFile) state(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil || w.loaded && now.Sub(w.goodAt) < w.maxStale {
		return nil
	}
	return w.err
}

func (w *watchedFile) look(now time.Time) {
	info, err := os.Stat(w.path)
	if err == nil && w.err == nil && w.unchanged(info, now) {
		w.goodAt = now
		return
	}
	if err == nil {
		var data []byte
		if data, _, err = smallfile.Read(w.path, maxFileBytes); err == nil {
			err = w.load(data)
		}
	}
	if err != nil {
		if w.err == nil {
			w.log.Error("a watched file can't be used; its last good version stays in force for a time", "path", w.path, "error", err)
		}
		w.err = err
		w.failing++
		w.failed++
		return
	}
	if w.err != nil {
		w.log.Info("a watched file can be used again", "path", w.path)
	}
	w.err, w.loaded, w.seen, w.goodAt = nil, true, info, now
	w.failing = 0
	w.good++
}

func (w *watchedFile) unchanged(info os.FileInfo, now time.Time) bool {
	return w.seen != nil && os.SameFile(w.seen, info) && w.seen.Size() == info.Size() &&
		w.seen.ModTime().Equal(info.ModTime()) && now.Sub(info.ModTime()) > settleTime
}
