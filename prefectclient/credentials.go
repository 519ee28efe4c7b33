package prefectclient

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Credentials gives the value of the Authorization header, which may change
// over time. Implementations are safe for concurrent use.
type Credentials interface {
	// Authorization returns the header's value for one request. An error
	// means that nothing is sent.
	Authorization(ctx context.Context) (string, error)
	// Rejected says that the server answered 401 to the value, and returns
	// whether Authorization now gives another one that deserves a try. The
	// client asks at most once in each call.
	Rejected(ctx context.Context, value string) bool
}

// AuthString is the shared string of an open-source server
// (PREFECT_SERVER_API_AUTH_STRING), such as "admin:secret". During a rotation
// a second one may be given: whichever the server takes is used.
func AuthString(current string, next ...string) Credentials {
	return newRotation("auth string", basic, append([]string{current}, next...))
}

// APIKey is a key of Prefect Cloud, or any other bearer token. During a
// rotation a second one may be given: whichever the server takes is used.
func APIKey(current string, next ...string) Credentials {
	return newRotation("api key", bearer, append([]string{current}, next...))
}

// basic writes the scheme as Prefect compares it: case-sensitively.
func basic(secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(secret))
}

func bearer(secret string) string { return "Bearer " + secret }

// rotation holds up to two secrets that are valid at the same time and uses
// the one that the server took last.
type rotation struct {
	kind   string
	encode func(secret string) string
	// source re-reads the secrets; nil: they never change. With force it
	// reads even when nothing seems to have changed. It returns nil when
	// there is nothing new.
	source func(force bool) ([]string, error)

	mu      sync.Mutex
	values  []sealed // as header values
	at      int
	invalid error // of the first read, or of secrets given as such
	logger  *slog.Logger
	logged  string
}

func newRotation(kind string, encode func(string) string, secrets []string) *rotation {
	r := &rotation{kind: kind, encode: encode}
	r.invalid = r.take(secrets)
	return r
}

// check lets New report what is wrong with secrets that can't change any more.
func (r *rotation) check() error {
	if r.source == nil {
		return r.invalid
	}
	return nil
}

// logTo says where problems of a re-read go; the first client to use the
// credentials decides.
func (r *rotation) logTo(logger *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logger == nil {
		r.logger = logger
	}
}

func (r *rotation) Authorization(context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh(false)
	if len(r.values) == 0 {
		return "", r.invalid
	}
	return r.values[r.at](), nil
}

// rotates tells whether two secrets are valid at the moment.
func (r *rotation) rotates() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh(false)
	return len(r.values) > 1
}

func (r *rotation) Rejected(_ context.Context, value string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh(true)
	if len(r.values) == 0 {
		return false
	}
	// Another caller may have switched already, or the re-read brought a new
	// secret.
	if r.values[r.at]() != value {
		return true
	}
	r.at = (r.at + 1) % len(r.values)
	return r.values[r.at]() != value
}

// refresh asks the source. A source that fails after it once gave secrets
// changes nothing: a file is often empty for a moment while it is replaced.
func (r *rotation) refresh(force bool) {
	if r.source == nil {
		return
	}
	secrets, err := r.source(force)
	if err == nil && secrets != nil {
		err = r.take(secrets)
	}
	if err == nil {
		if secrets != nil {
			r.invalid, r.logged = nil, ""
		}
		return
	}
	r.invalid = err
	if r.logger != nil && r.logged != err.Error() {
		r.logged = err.Error()
		r.logger.Warn("prefect credential could not be read", "kind", r.kind, "error", err, "keeps_last", len(r.values) > 0)
	}
}

// take replaces the secrets. The first is preferred, unless the one in use is
// still among them and the set is the same.
func (r *rotation) take(secrets []string) error {
	if len(secrets) == 0 || len(secrets) > 2 {
		return fmt.Errorf("%s: expected one secret, or two during a rotation, found %d", r.kind, len(secrets))
	}
	values := make([]sealed, len(secrets))
	for i, secret := range secrets {
		if err := checkSecret(secret); err != nil {
			return fmt.Errorf("%s: %w", r.kind, err)
		}
		values[i] = seal(r.encode(secret))
	}
	if slices.EqualFunc(values, r.values, func(a, b sealed) bool { return a() == b() }) {
		return nil
	}
	if r.logger != nil && len(r.values) > 0 {
		r.logger.Info("prefect credential replaced", "kind", r.kind, "valid_now", len(values))
	}
	r.values, r.at = values, 0
	return nil
}

// sealed gives a secret to who calls it. fmt and the log handlers, which print
// a value's private fields at any depth, show a function's address only.
type sealed func() string

func seal(secret string) sealed { return func() string { return secret } }

// checkSecret refuses what can't be a secret or can't be sent in a header.
func checkSecret(secret string) error {
	if secret == "" {
		return errors.New("empty")
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("holds a control character")
	}
	return nil
}

// Format keeps the secrets out of every form of printing.
func (r *rotation) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "prefectclient."+strings.ReplaceAll(r.kind, " ", "_")+"(redacted)")
}

// lastRefused is the SHA-256 of the credential that the server refused last,
// and when it was asked about one.
type lastRefused struct {
	mu    sync.Mutex
	sum   [sha256.Size]byte
	asked time.Time
}

// askAgain says whether it is time to ask the server, to one of all who ask.
func (l *lastRefused) askAgain(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.asked) < askWhichEvery {
		return false
	}
	l.asked = now
	return true
}

// isNew notes a refused credential, and says whether another one was refused
// before it.
func (l *lastRefused) isNew(value string) bool {
	sum := sha256.Sum256([]byte(value))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sum == sum {
		return false
	}
	l.sum = sum
	return true
}
