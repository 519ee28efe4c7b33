package token

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Options configures a [Verifier].
type Options struct {
	// Issuers are the trusted issuers; at least one, each URL once.
	Issuers []Issuer
	// Keys is the process's key cache. Required.
	Keys *KeyCache
	// MaxTokenBytes is the longest token that is looked at. Default
	// [DefaultMaxTokenBytes], at most 1 MiB.
	MaxTokenBytes int
	// Cache bounds the cache of verified tokens.
	Cache CacheOptions
	// DenyListFile is a file with tokens to refuse; none by default. See
	// [ParseDenyList] for its form.
	DenyListFile string
	// Proofs is the process's memory of DPoP proofs. Without one a Verifier has
	// its own, and a proof can be replayed once to each Verifier.
	Proofs *ProofMemory
	// Now is the clock. Default [time.Now].
	Now func() time.Time
}

// Verifier decides whether a token is true. It is safe for concurrent use and
// holds nothing that needs closing.
type Verifier struct {
	issuers       map[string]*issuerState
	introspecting []*issuerState
	maxBytes      int
	cache         *tokenCache
	deny          *denyList
	proofs        *ProofMemory
	now           func() time.Time
}

// NewVerifier checks the settings and names every problem at once, by the path of
// the configuration's field as Kong writes it: lists count from 1. It touches no
// network: an issuer that is down now is asked when its first token comes.
func NewVerifier(o Options) (*Verifier, error) {
	if o.Keys == nil {
		return nil, errors.New("keys: a key cache is required")
	}
	v := &Verifier{issuers: map[string]*issuerState{}, maxBytes: o.MaxTokenBytes, proofs: o.Proofs, now: o.Now}
	if v.now == nil {
		v.now = time.Now
	}
	var errs []error
	if v.maxBytes <= 0 {
		v.maxBytes = DefaultMaxTokenBytes
	}
	if v.maxBytes > 1<<20 {
		errs = append(errs, errors.New("max_token_bytes: is above 1 MiB"))
	}
	if len(o.Issuers) == 0 {
		errs = append(errs, errors.New("issuers: at least one is required"))
	}
	for n, i := range o.Issuers {
		if err := v.add(i, o.Keys); err != nil {
			errs = append(errs, prefixEach(fmt.Sprintf("issuers[%d].", n+1), err)...)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if v.proofs == nil {
		v.proofs = NewProofMemory(ProofMemoryOptions{Now: v.now})
	}
	if o.DenyListFile != "" {
		v.deny = newDenyList(o.DenyListFile, o.Keys.options.Logger)
	}
	var err error
	v.cache, err = newTokenCache(o.Cache)
	return v, err
}

func (v *Verifier) add(i Issuer, keys *KeyCache) error {
	if err := i.check(); err != nil {
		return err
	}
	if v.issuers[i.URL] != nil {
		return errors.New("issuer: the same issuer is configured twice")
	}
	source, err := keys.source(i)
	if err != nil {
		return err
	}
	s := i.build(source)
	v.issuers[i.URL] = s
	if i.Introspection != nil {
		if s.introspection, err = newIntrospector(i); err != nil {
			return err
		}
		v.introspecting = append(v.introspecting, s)
	}
	return nil
}

// prefixEach puts a prefix before every error that errors.Join put together.
func prefixEach(prefix string, err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{fmt.Errorf("%s%w", prefix, err)}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, fmt.Errorf("%s%w", prefix, e))
	}
	return all
}

// Keys gives an issuer's keys as they are used for its tokens now, fetched
// where none are at hand: for those who want to know whether they can be had.
func (v *Verifier) Keys(ctx context.Context, issuer string) (*KeySet, error) {
	s := v.issuers[issuer]
	if s == nil {
		return nil, fmt.Errorf("issuer %q isn't configured", issuer)
	}
	return s.keys.current(ctx)
}

// Verify decides on a token that came without any proof of possession.
func (v *Verifier) Verify(ctx context.Context, compact string) (Verified, error) {
	return v.VerifyPresented(ctx, compact, Presentation{})
}

// VerifyPresented decides on a token and on how it came. The order: whether it
// was verified before with keys that still hold; else its form, issuer, key and
// signature, and only then what it says; at last, for cached tokens too, the
// deny list and the proof of possession. Every error is an [*Error].
func (v *Verifier) VerifyPresented(ctx context.Context, compact string, p Presentation) (Verified, error) {
	if compact == "" {
		return Verified{}, missing()
	}
	if len(compact) > v.maxBytes {
		return Verified{}, refusef(ReasonTooLarge, "the token is longer than %d bytes; ask the issuer for fewer claims or raise the limit", v.maxBytes)
	}
	now := v.now()
	sum := hashToken(compact)
	t := v.cached(ctx, sum, now)
	if t == nil {
		var err error
		if t, err = v.verify(ctx, compact, now); err != nil {
			return Verified{}, asError(err)
		}
		v.cache.put(sum, t, now)
	}
	if err := v.deny.check(t); err != nil {
		return Verified{}, asError(err)
	}
	if err := v.checkBinding(t, compact, p); err != nil {
		return Verified{}, asError(err)
	}
	return Verified{t}, nil
}

// verify does all that needs no doing twice for one token.
func (v *Verifier) verify(ctx context.Context, compact string, now time.Time) (*verified, error) {
	if len(v.introspecting) > 0 && isOpaque(compact) {
		return v.introspect(ctx, compact, now)
	}
	j, err := parseToken(compact, v.maxBytes)
	if err != nil {
		return nil, err
	}
	claims, err := DecodeClaims(j.payload)
	if err != nil {
		return nil, refusef(ReasonMalformed, "the token's claims are unusable: %v", err)
	}
	s, err := v.issuerOf(claims)
	if err != nil {
		return nil, err
	}
	if !anySame(j.header.algorithm, s.algorithms) {
		return nil, refuse(ReasonAlgorithm, "the token is signed with an algorithm that is not on its issuer's list")
	}
	keys, err := s.checkSignature(ctx, j)
	if err != nil {
		return nil, err
	}
	t := &verified{issuer: s.url, claims: claims, typ: j.header.typ, state: s, keys: keys}
	return t, s.accept(t, j.header, now)
}

// issuerOf finds the issuer by exact comparison. What it gives is a claim until
// the signature is checked with that issuer's own keys, which no other issuer's
// are tried for.
func (v *Verifier) issuerOf(claims map[string]any) (*issuerState, error) {
	iss, ok := claims["iss"].(string)
	if !ok {
		return nil, refuse(ReasonClaims, "the token has no issuer (iss), or one that is not a string")
	}
	if s := v.issuers[iss]; s != nil {
		return s, nil
	}
	for url := range v.issuers {
		if near(iss, url) {
			return nil, refusef(ReasonIssuer, "the token's issuer differs from the configured %s only by case, scheme or a trailing slash; they must be equal", url)
		}
	}
	return nil, refuse(ReasonIssuer, "the token's issuer is none of the configured issuers")
}

// checkSignature verifies with the issuer's present keys. A key that they lack
// may be newer than they are: then they are asked for again, once.
func (s *issuerState) checkSignature(ctx context.Context, j *compactJWS) (*KeySet, error) {
	keys, err := s.keys.current(ctx)
	if err != nil {
		return nil, err
	}
	err = keys.check(j)
	if reason := ReasonOf(err); reason == ReasonKeyUnknown || reason == ReasonSignature && !j.header.hasKeyID {
		newer, fetchErr := s.keys.newer(ctx, keys)
		if fetchErr != nil {
			return nil, fetchErr
		}
		if newer != keys {
			return newer, newer.check(j)
		}
	}
	return keys, err
}

func (s *KeySet) check(j *compactJWS) error {
	k, err := s.find(j.header)
	if err != nil {
		return err
	}
	return j.verify(k)
}

// accept decides on the content of a token that its issuer did sign.
func (s *issuerState) accept(t *verified, h header, now time.Time) error {
	if err := t.readRegistered(); err != nil {
		return err
	}
	if err := s.checkClaims(t, now); err != nil {
		return err
	}
	if err := s.checkType(h, t); err != nil {
		return err
	}
	if t.subject == "" {
		return refuse(ReasonClaims, "the token names nobody: it has no subject (sub)")
	}
	var err error
	t.binding, err = readBinding(t.claims)
	return err
}

// asError makes sure that every refusal has a reason; an error without one is a
// fault of ours and refuses as such.
func asError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Reason: ReasonMalformed, Detail: "the token could not be verified", err: err}
}
