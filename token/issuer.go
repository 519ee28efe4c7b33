package token

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Defaults and bounds of an issuer's settings.
const (
	// DefaultLeeway is how far clocks may be apart.
	DefaultLeeway = 30 * time.Second
	// DefaultMaxLifetime is the longest life of a token (exp - iat) that is
	// taken. The longest default among the usual issuers is one day.
	DefaultMaxLifetime = 24 * time.Hour

	maxLeeway = 5 * time.Minute
)

// Issuer is one trusted issuer, as configured.
type Issuer struct {
	// URL is the exact value of iss, and where discovery is asked. Required,
	// https; http is taken for loopback addresses only.
	URL string
	// Audiences are the names this gateway goes by at the issuer; a token must
	// hold one of them. At least one is required.
	Audiences []string
	// AudienceClaim is the claim the audience is taken from. Default "aud"; AWS
	// Cognito's access tokens have none: "client_id".
	AudienceClaim string
	// AuthorizedParties, when not empty, are the only clients (client_id, azp,
	// cid, appid) whose tokens are taken.
	AuthorizedParties []string
	// Algorithms the issuer may sign with. Default [DefaultAlgorithms];
	// symmetric ones don't exist here.
	Algorithms []string

	// DiscoveryURL is where discovery is asked instead of URL (an address inside
	// the cluster, say), without /.well-known/openid-configuration. The document
	// must still name URL as its issuer.
	DiscoveryURL string
	// JWKSURL is the key set's address, for issuers without discovery.
	JWKSURL string
	// JWKSFile and PEMFile are files with the issuer's public keys, for issuers
	// that can't be reached; they are read again when they change. At most one
	// of DiscoveryURL, JWKSURL, JWKSFile and PEMFile may be set.
	JWKSFile string
	PEMFile  string

	// Leeway is how far clocks may be apart. 0 means [DefaultLeeway], negative
	// none; at most five minutes.
	Leeway time.Duration
	// MaxLifetime is the longest exp - iat that is taken. 0 means
	// [DefaultMaxLifetime].
	MaxLifetime time.Duration
	// InsecureUnlimitedLifetime takes tokens of any lifetime. Danger: a stolen
	// token stays good until exp, whenever that is.
	InsecureUnlimitedLifetime bool

	// RequireAccessTokenType takes only tokens whose header typ is at+jwt (RFC
	// 9068). Off by default, since Keycloak, Entra and others send JWT.
	RequireAccessTokenType bool
	// NamesClient says that the issuer's access tokens always name the client
	// they were issued to (client_id, azp, cid, appid) and its ID tokens never
	// do: one that doesn't is refused.
	NamesClient bool
	// InsecureAcceptAnyTokenType takes ID tokens, refresh tokens, logout tokens
	// and whatever else the issuer signs for our audience as access tokens.
	// Danger: such tokens pass through browsers and logs that access tokens don't.
	InsecureAcceptAnyTokenType bool

	// RequireBinding takes only sender-constrained tokens. Tokens that are bound
	// are always checked, whatever is required.
	RequireBinding Binding

	// Introspection, when set, is where opaque tokens of this issuer are asked
	// about (RFC 7662).
	Introspection *Introspection

	// HTTP limits what is fetched from the issuer.
	HTTP HTTPOptions
}

// issuerState is an issuer with its defaults filled in and its keys at hand.
type issuerState struct {
	url                    string
	audiences              []string
	audienceClaim          string
	parties                []string
	algorithms             []string
	leeway                 time.Duration
	maxLifetime            time.Duration // 0: unlimited
	requireAccessTokenType bool
	namesClient            bool
	insecureAcceptAnyType  bool
	requireBinding         Binding
	keys                   keySource
	introspection          *introspector
}

// check names every problem of the settings, by the fields of the configuration.
func (i Issuer) check() error {
	var errs []error
	add := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if err := checkURL(i.URL, i.HTTP.InsecureAllowHTTP); err != nil {
		add("issuer", "%v", err)
	}
	for field, value := range map[string]string{"discovery_url": i.DiscoveryURL, "jwks_url": i.JWKSURL} {
		if value == "" {
			continue
		}
		if err := checkURL(value, i.HTTP.InsecureAllowHTTP); err != nil {
			add(field, "%v", err)
		}
	}
	if n := countSet(i.DiscoveryURL, i.JWKSURL, i.JWKSFile, i.PEMFile); n > 1 {
		add("issuer", "only one of discovery_url, jwks_url, jwks_file and pem_file may be set")
	}
	if len(i.Audiences) == 0 || slices.Contains(i.Audiences, "") {
		add("audiences", "at least one is required and none may be empty")
	}
	for _, name := range i.Algorithms {
		if algorithms[name] == nil {
			add("algorithms", "%q is not one of %s", name, strings.Join(DefaultAlgorithms, ", "))
		}
	}
	if i.Leeway > maxLeeway {
		add("leeway_seconds", "is above %s", maxLeeway)
	}
	if i.MaxLifetime < 0 {
		add("max_lifetime_seconds", "is negative")
	}
	if i.RequireAccessTokenType && i.InsecureAcceptAnyTokenType {
		add("require_access_token_type", "contradicts insecure_accept_any_token_type")
	}
	if !i.RequireBinding.known() {
		add("require_binding", "%q is not one of %s, %s and %s", i.RequireBinding, BindingAny, BindingDPoP, BindingMTLS)
	}
	if i.Introspection != nil {
		errs = append(errs, i.Introspection.check(i.HTTP.InsecureAllowHTTP)...)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func countSet(values ...string) (n int) {
	for _, v := range values {
		if v != "" {
			n++
		}
	}
	return n
}

// checkURL takes https URLs, and http ones to this machine: a key set fetched
// over plain http is whatever the network says.
func checkURL(raw string, insecureAllowHTTP bool) error {
	if raw == "" {
		return errors.New("is required")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return errors.New("is not an absolute URL")
	case u.User != nil:
		return errors.New("must not hold a user name or password")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must not have a fragment")
	}
	return checkScheme(u, insecureAllowHTTP)
}

func checkScheme(u *url.URL, insecureAllowHTTP bool) error {
	switch {
	case u.Scheme == "https", u.Scheme == "http" && (insecureAllowHTTP || isLoopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("must be https (http is taken for loopback addresses only)")
	default:
		return errors.New("must be https")
	}
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// build fills in the defaults of settings that passed check.
func (i Issuer) build(keys keySource) *issuerState {
	s := &issuerState{
		url: i.URL, audiences: i.Audiences, audienceClaim: i.AudienceClaim,
		parties: i.AuthorizedParties, algorithms: i.Algorithms,
		leeway: i.Leeway, maxLifetime: i.MaxLifetime,
		requireAccessTokenType: i.RequireAccessTokenType,
		namesClient:            i.NamesClient,
		insecureAcceptAnyType:  i.InsecureAcceptAnyTokenType,
		requireBinding:         i.RequireBinding,
		keys:                   keys,
	}
	if s.audienceClaim == "" {
		s.audienceClaim = "aud"
	}
	if len(s.algorithms) == 0 {
		s.algorithms = DefaultAlgorithms
	}
	switch {
	case s.leeway == 0:
		s.leeway = DefaultLeeway
	case s.leeway < 0:
		s.leeway = 0
	}
	switch {
	case i.InsecureUnlimitedLifetime:
		s.maxLifetime = 0
	case s.maxLifetime == 0:
		s.maxLifetime = DefaultMaxLifetime
	}
	return s
}

// near tells that two issuers are the same but for the mistakes people make when
// they copy one: case, scheme and a trailing slash.
func near(a, b string) bool {
	bare := func(s string) string {
		_, rest, _ := strings.Cut(strings.ToLower(s), "://")
		return strings.TrimSuffix(rest, "/")
	}
	return bare(a) != "" && bare(a) == bare(b)
}
