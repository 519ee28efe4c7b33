package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// Introspection is where an issuer's opaque tokens are asked about (RFC 7662).
type Introspection struct {
	// URL is the introspection endpoint. Required.
	URL string
	// ClientID and ClientSecret are our credential there (HTTP Basic). Required;
	// the secret is given here or in ClientSecretFile.
	ClientID         string
	ClientSecret     string
	ClientSecretFile string
	// CacheFor is how long an answer is used, if the token doesn't expire
	// before; a withdrawn token is refused after it. Default 30 s, at most 5 min.
	CacheFor time.Duration
	// InsecureAcceptMissingAudience takes tokens for which the endpoint names no
	// audience. Danger: a token meant for another service is then taken here,
	// unless the endpoint itself answers only for ours.
	InsecureAcceptMissingAudience bool
}

const (
	defaultIntrospectionCache = 30 * time.Second
	maxIntrospectionCache     = 5 * time.Minute
	// inactiveCache bounds what a flood of made-up tokens costs the endpoint.
	inactiveCache      = 10 * time.Second
	maxInactive        = 10_000
	maxIntrospecting   = 32
	maxOpaqueTokenSize = 8 << 10
)

func (i *Introspection) check(insecureAllowHTTP bool) (errs []error) {
	if err := checkURL(i.URL, insecureAllowHTTP); err != nil {
		errs = append(errs, fmt.Errorf("introspection.url: %w", err))
	}
	if i.ClientID == "" {
		errs = append(errs, errors.New("introspection.client_id: is required"))
	}
	if (i.ClientSecret == "") == (i.ClientSecretFile == "") {
		errs = append(errs, errors.New("introspection.client_secret: one of client_secret and client_secret_file is required"))
	}
	if i.CacheFor > maxIntrospectionCache {
		errs = append(errs, fmt.Errorf("introspection.cache_seconds: is above %s", maxIntrospectionCache))
	}
	return errs
}

// introspector asks one endpoint: never twice at once about one token, and never
// about more than maxIntrospecting tokens at once.
type introspector struct {
	settings Introspection
	client   *http.Client
	slots    chan struct{}
	group    singleflight.Group
	inactive *otter.Cache[tokenHash, time.Time]
}

func newIntrospector(i Issuer) (*introspector, error) {
	client, err := newFetchClient(i.HTTP)
	if err != nil {
		return nil, err
	}
	// A redirect would carry token and credential elsewhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return errRedirect }
	in := &introspector{settings: *i.Introspection, client: client, slots: make(chan struct{}, maxIntrospecting)}
	setDefault(&in.settings.CacheFor, defaultIntrospectionCache)
	in.inactive, err = otter.New(&otter.Options[tokenHash, time.Time]{
		MaximumSize:      maxInactive,
		ExpiryCalculator: otter.ExpiryWriting[tokenHash, time.Time](inactiveCache),
	})
	return in, err
}

// isOpaque tells a token that is not a compact JWS: it has other than three
// parts (encrypted tokens have five and are opaque to us).
func isOpaque(compact string) bool {
	_, _, err := separators(compact)
	return err != nil
}

// introspect asks the issuers that introspect, in the order of the
// configuration, until one knows the token. One that doesn't answer keeps
// nobody from the others.
func (v *Verifier) introspect(ctx context.Context, compact string, now time.Time) (*verified, error) {
	if len(compact) > maxOpaqueTokenSize || !isToken68(compact) {
		return nil, refuse(ReasonMalformed, "the token is neither a signed JWT nor a plausible opaque token")
	}
	var unknown error
	for _, s := range v.introspecting {
		t, err := s.introspect(ctx, compact, now)
		switch reason := ReasonOf(err); {
		case err == nil:
			return t, nil
		case reason == ReasonIntrospectionUnavailable, reason == ReasonInactive && unknown == nil:
			unknown = err // the next may know it; if none does, it may be the silent one's
		case reason != ReasonInactive:
			return nil, err
		}
	}
	return nil, unknown
}

func (s *issuerState) introspect(ctx context.Context, compact string, now time.Time) (*verified, error) {
	in, sum := s.introspection, hashToken(compact)
	inactive := refuse(ReasonInactive, "the issuer says that the token is not active: expired, withdrawn or not its own")
	if until, ok := in.inactive.GetIfPresent(sum); ok && now.Before(until) {
		return nil, inactive
	}
	claims, err := in.ask(ctx, compact, sum)
	if err != nil {
		return nil, err
	}
	if active, ok := claims["active"].(bool); !ok || !active {
		in.inactive.Set(sum, now.Add(inactiveCache))
		return nil, inactive
	}
	return s.acceptIntrospected(claims, now)
}

// acceptIntrospected judges an active answer by the same rules as a signed
// token, where the answer says anything (all but "active" is optional, RFC 7662
// section 2.2).
func (s *issuerState) acceptIntrospected(answer map[string]any, now time.Time) (*verified, error) {
	claims := make(map[string]any, len(answer))
	for name, value := range answer {
		if name != "active" {
			claims[name] = value
		}
	}
	if iss, present := claims["iss"]; present && iss != s.url {
		return nil, refuse(ReasonIssuer, "the introspected token is of another issuer")
	}
	t := &verified{issuer: s.url, claims: claims, opaque: true, state: s, recheckAt: now.Add(s.introspection.settings.CacheFor)}
	if !t.has("exp") {
		t.expiry = t.recheckAt // good until it is asked about again
	}
	if err := t.readRegistered(); err != nil {
		return nil, err
	}
	if err := s.checkTimes(t, now); err != nil {
		return nil, err
	}
	if t.has(s.audienceClaim) || !s.introspection.settings.InsecureAcceptMissingAudience {
		if err := s.checkAudience(t); err != nil {
			return nil, err
		}
	}
	if err := s.checkParty(t); err != nil {
		return nil, err
	}
	if err := checkIntrospectedType(t); err != nil && !s.insecureAcceptAnyType {
		return nil, err
	}
	username, err := stringClaim(claims, "username")
	if err != nil {
		return nil, err
	}
	if t.subject == "" && (username == "" || username == t.client) {
		// A person whom only username names isn't the client: all who use it
		// would be one caller.
		t.subject = t.client
	}
	if t.subject == "" && username == "" {
		return nil, refuse(ReasonClaims, "the introspected token names nobody: neither sub nor client_id")
	}
	t.binding, err = readBinding(claims)
	return t, err
}

func checkIntrospectedType(t *verified) error {
	if err := checkMarkers(t); err != nil {
		return err
	}
	if kind, _ := t.claims["token_type"].(string); kind != "" && !isAccessTokenType(kind) {
		return refuse(ReasonType, "the introspected token is not an access token (token_type)")
	}
	return nil
}

// ask sends one question, shared by all who ask about the same token now. Its
// context is its own, so that one caller who leaves doesn't fail the others.
func (in *introspector) ask(ctx context.Context, compact string, sum tokenHash) (map[string]any, error) {
	answers := in.group.DoChan(string(sum[:]), func() (any, error) {
		select {
		case in.slots <- struct{}{}:
			defer func() { <-in.slots }()
		default:
			return nil, errors.New("too many introspections at once")
		}
		return in.post(context.WithoutCancel(ctx), compact)
	})
	select {
	case r := <-answers:
		if r.Err != nil {
			return nil, introspectionFailed(r.Err)
		}
		return r.Val.(map[string]any), nil
	case <-ctx.Done():
		return nil, introspectionFailed(ctx.Err())
	}
}

func introspectionFailed(cause error) error {
	return unavailable(ReasonIntrospectionUnavailable, "the issuer can't be asked about the token; try again shortly", ErrIntrospectionUnavailable, cause)
}

func (in *introspector) post(ctx context.Context, compact string) (answer map[string]any, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, errors.New("panic while reading the introspection answer")
		}
	}()
	secret, err := in.secret()
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {compact}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.settings.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the endpoint's URL is unusable")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// RFC 6749 section 2.3.1: both are form-encoded before they are joined.
	req.SetBasicAuth(url.QueryEscape(in.settings.ClientID), url.QueryEscape(secret))
	resp, err := in.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return DecodeClaims(body)
}

func (in *introspector) secret() (string, error) {
	if in.settings.ClientSecretFile == "" {
		return in.settings.ClientSecret, nil
	}
	secret, err := smallfile.Secret(in.settings.ClientSecretFile)
	if err != nil {
		return "", errors.New("client_secret_file can't be read")
	}
	return secret, nil
}
