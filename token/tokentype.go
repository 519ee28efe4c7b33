package token

import (
	"slices"
	"strings"
)

// checkType refuses what the same issuer signs with the same keys for another
// purpose: ID tokens, refresh tokens, logout tokens, client assertions, DPoP
// proofs (RFC 9068 sections 2.1 and 5, RFC 8725 section 3.11). Header typ
// at+jwt settles it; issuers that don't send it (Keycloak, Entra, Google) are
// told by what their other tokens carry and access tokens don't.
func (s *issuerState) checkType(h header, v *verified) error {
	typ := mediaType(h.typ)
	if typ == "at+jwt" {
		return checkMarkers(v)
	}
	if s.requireAccessTokenType {
		return refuse(ReasonType, "the token's header typ is not at+jwt, which this issuer is required to send")
	}
	if s.insecureAcceptAnyType {
		return nil
	}
	if typ != "" && typ != "jwt" {
		return refuse(ReasonType, "the token's header typ says that it is not an access token")
	}
	if err := checkMarkers(v); err != nil {
		return err
	}
	if looksLikeIDToken(v) || s.namesClient && len(v.clients) == 0 {
		return refuse(ReasonType, "the token is an ID token; send the access token instead")
	}
	return nil
}

// bearerTypes are the values of a "typ" or "token_use" claim in access tokens:
// Keycloak writes Bearer or DPoP (and ID, Refresh, Offline, Logout in others),
// Cognito access (and id).
var bearerTypes = []string{"bearer", "dpop", "jwt", "at+jwt", "access", "access_token"}

func isAccessTokenType(s string) bool { return slices.Contains(bearerTypes, strings.ToLower(s)) }

func checkMarkers(v *verified) error {
	for _, name := range []string{"typ", "token_use"} {
		value, present := v.claims[name]
		if !present {
			continue
		}
		text, _ := value.(string)
		if !isAccessTokenType(text) {
			return refusef(ReasonType, "the claim %q says that the token is not an access token", name)
		}
	}
	switch {
	case v.has("events"): // OpenID Connect Back-Channel Logout section 2.4, RFC 8417
		return refuse(ReasonType, "the token is a logout or security event token")
	case v.has("htm") || v.has("htu"): // RFC 9449 section 4.2
		return refuse(ReasonType, "the token is a DPoP proof")
	case v.subject == v.issuer: // RFC 7523 section 3
		return refuse(ReasonType, "the token is a client assertion: its issuer is its subject")
	}
	return nil
}

// looksLikeIDToken knows an ID token by the claims OpenID Connect Core gives to
// it alone (sections 2, 3.1.3.6, 3.3.2.11), or by naming its client as its only
// audience while carrying nothing that an access token would.
func looksLikeIDToken(v *verified) bool {
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if v.has(name) {
			return true
		}
	}
	azp, _ := v.claims["azp"].(string)
	if azp == "" || len(v.audiences) != 1 || v.audiences[0] != azp {
		return false
	}
	return !slices.ContainsFunc([]string{"scope", "scp", "client_id", "roles", "typ", "token_use"}, v.has)
}

func (v *verified) has(name string) bool {
	_, present := v.claims[name]
	return present
}
