package token

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxNumericDate is the end of the year 9999: later dates are mistakes or
// attempts to overflow.
const maxNumericDate = 253402300799

// checkClaims decides on the decoded claims of a token whose signature is
// already known to be its issuer's.
func (s *issuerState) checkClaims(v *verified, now time.Time) error {
	if err := s.checkTimes(v, now); err != nil {
		return err
	}
	if err := s.checkAudience(v); err != nil {
		return err
	}
	return s.checkParty(v)
}

// readRegistered fills in the registered claims of RFC 7519 section 4.1, by
// exact name and exact type.
func (v *verified) readRegistered() error {
	var err error
	if v.subject, err = stringClaim(v.claims, "sub"); err != nil {
		return err
	}
	if v.id, err = stringClaim(v.claims, "jti"); err != nil {
		return err
	}
	if v.clients, err = clientClaims(v.claims); err != nil {
		return err
	}
	if len(v.clients) > 0 {
		v.client = v.clients[0]
	}
	v.actors = readActors(v.claims)
	expiry, present, err := dateClaim(v.claims, "exp", math.Floor)
	if err != nil {
		return err
	}
	if present {
		v.expiry = expiry
	}
	if v.expiry.IsZero() {
		return refuse(ReasonClaims, "the token has no expiry (exp); tokens that live for ever are not accepted")
	}
	if v.notBefore, _, err = dateClaim(v.claims, "nbf", math.Ceil); err != nil {
		return err
	}
	v.issuedAt, _, err = dateClaim(v.claims, "iat", math.Ceil)
	return err
}

// stringClaim gives a claim that names somebody: a string without control
// characters, since it will stand in headers and logs.
func stringClaim(claims map[string]any, name string) (string, error) {
	v, present := claims[name]
	if !present {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", refusef(ReasonClaims, "the claim %q is not a string", name)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", refusef(ReasonClaims, "the claim %q holds control characters", name)
	}
	return s, nil
}

// clientClaims gives the names of the client a token was issued to: client_id
// (RFC 9068 section 2.2), azp (OpenID Connect Core section 2), cid (Okta) and
// appid (Entra v1), in this order. Usually there is one; where there are
// several that differ, the first is the client, and all are looked at before
// the token is let through.
func clientClaims(claims map[string]any) ([]string, error) {
	var clients []string
	for _, name := range []string{"client_id", "azp", "cid", "appid"} {
		s, err := stringClaim(claims, name)
		if err != nil {
			return nil, err
		}
		if s != "" && !slices.Contains(clients, s) {
			clients = append(clients, s)
		}
	}
	return clients, nil
}

// dateClaim reads a NumericDate (RFC 7519 section 2): a JSON number, fractions
// allowed, rounded so that the token is valid for less, never for more.
func dateClaim(claims map[string]any, name string, round func(float64) float64) (time.Time, bool, error) {
	v, present := claims[name]
	if !present {
		return time.Time{}, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false, refusef(ReasonClaims, "the claim %q is not a number", name)
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || f < 0 || f > maxNumericDate {
		return time.Time{}, false, refusef(ReasonClaims, "the claim %q is not a date", name)
	}
	return time.Unix(int64(round(f)), 0), true, nil
}

// checkTimes: RFC 7519 section 4.1.4 says a token must not be accepted on or
// after exp; equality counts as expired, before and after the leeway.
func (s *issuerState) checkTimes(v *verified, now time.Time) error {
	switch {
	case !now.Before(v.expiry.Add(s.leeway)):
		return refuse(ReasonExpired, "the token has expired; get a new one")
	case now.Add(s.leeway).Before(v.notBefore):
		return refuse(ReasonNotYetValid, "the token is not valid yet (nbf); check the clocks")
	case now.Add(s.leeway).Before(v.issuedAt):
		return refuse(ReasonNotYetValid, "the token was issued in the future (iat); check the clocks")
	}
	if s.maxLifetime <= 0 {
		return nil
	}
	begin := v.issuedAt
	if begin.IsZero() {
		begin = now
	}
	if v.expiry.Sub(begin) > s.maxLifetime {
		return refusef(ReasonLifetime, "the token is valid for longer than %s; let the issuer shorten it or raise the limit", s.maxLifetime)
	}
	return nil
}

func (s *issuerState) checkAudience(v *verified) error {
	var err error
	if v.audiences, err = audienceClaim(v.claims, s.audienceClaim); err != nil {
		return err
	}
	for _, a := range v.audiences {
		if slices.Contains(s.audiences, a) {
			return nil
		}
	}
	return refusef(ReasonAudience, "the token is not meant for this gateway: its %q names none of the configured audiences", s.audienceClaim)
}

// audienceClaim reads aud as RFC 7519 section 4.1.3 has it: a string or a list
// of strings.
func audienceClaim(claims map[string]any, name string) ([]string, error) {
	switch v := claims[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, refusef(ReasonClaims, "the claim %q is not a list of strings", name)
			}
			list = append(list, s)
		}
		return list, nil
	default:
		return nil, refusef(ReasonClaims, "the claim %q is neither a string nor a list of strings", name)
	}
}

// checkParty asks of every name of the client to be on the list.
func (s *issuerState) checkParty(v *verified) error {
	allowed := func(client string) bool { return slices.Contains(s.parties, client) }
	if len(s.parties) == 0 || len(v.clients) > 0 && !slices.ContainsFunc(v.clients, func(c string) bool { return !allowed(c) }) {
		return nil
	}
	return refuse(ReasonParty, "the token was issued to a client that is not on this issuer's list of authorized parties")
}
