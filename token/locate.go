package token

import "strings"

const (
	schemeBearer = "bearer"
	schemeDPoP   = "dpop"
)

func missing() error {
	return refuse(ReasonMissing, "the request carries no access token; send it as \"Authorization: Bearer TOKEN\"")
}

// authorization takes the values of the Authorization header, as Kong gives
// them, and finds the token in it: one value, the scheme in any case, one space,
// and nothing but the characters of RFC 6750 section 2.1. Another scheme counts
// as no token.
func authorization(values []string) (token, scheme string, err error) {
	switch len(values) {
	case 0:
		return "", "", missing()
	case 1:
	default:
		return "", "", refuse(ReasonDuplicate, "the request carries more than one Authorization header; send one")
	}
	scheme, token, spaced := strings.Cut(values[0], " ")
	scheme = strings.ToLower(scheme)
	if scheme != schemeBearer && scheme != schemeDPoP {
		if looksLikeOurs(scheme) {
			return "", "", refuse(ReasonUnreadable, "the Authorization header must be the scheme, one space and the token")
		}
		return "", "", missing()
	}
	if !spaced || !isToken68(token) {
		return "", "", refuse(ReasonUnreadable, "the Authorization header must be the scheme, one space and the token, and nothing else")
	}
	return token, scheme, nil
}

// looksLikeOurs tells a mangled header of ours ("Bearer<TAB>x", "DPoP,x") from
// one of another scheme, which is somebody else's business: where it counted as
// none, a token elsewhere or nobody would be taken in its place.
func looksLikeOurs(scheme string) bool {
	return strings.HasPrefix(scheme, schemeBearer) || strings.HasPrefix(scheme, schemeDPoP) || strings.TrimSpace(scheme) != scheme
}

// isToken68 checks b64token of RFC 6750 section 2.1: padding only at the end.
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	for i := 0; i < len(body); i++ {
		c := body[i]
		if !isBase64URL[c] && c != '.' && c != '~' && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// Locator says where besides the Authorization header a token may be. The zero
// value looks nowhere else. The query and the body are never looked at: they end
// up in logs (RFC 9700 section 4.3.2).
type Locator struct {
	// Cookie is the name of a cookie whose value is the token; none by default.
	// Whoever configures it must defend against cross-site requests.
	Cookie string
	// Header is the name of a further header, in any case, whose value is the
	// token, with or without "Bearer "; none by default.
	Header string
}

// Located is a token and where it was.
type Located struct {
	// Token is the compact token, not yet verified.
	Token string
	// DPoP says that it came with the DPoP scheme (RFC 9449 section 7.1), so a
	// proof must come with it.
	DPoP bool
	// Source is the header's name in lower case, or "cookie".
	Source string
}

// Find looks at all configured places. Headers are as Kong gives them: names in
// lower case. More than one token is refused even when they are the same: which
// one would count is a question attackers ask.
func (l Locator) Find(headers map[string][]string) (Located, error) {
	var found []Located
	t, scheme, err := authorization(headers["authorization"])
	switch {
	case err == nil:
		found = append(found, Located{Token: t, DPoP: scheme == schemeDPoP, Source: "authorization"})
	case ReasonOf(err) != ReasonMissing:
		return Located{}, err
	}
	if name := strings.ToLower(l.Header); name != "" && name != "authorization" {
		more, err := headerTokens(headers[name], name)
		if err != nil {
			return Located{}, err
		}
		found = append(found, more...)
	}
	if l.Cookie != "" {
		more, err := cookieTokens(headers["cookie"], l.Cookie)
		if err != nil {
			return Located{}, err
		}
		found = append(found, more...)
	}
	switch len(found) {
	case 0:
		return Located{}, missing()
	case 1:
		return found[0], nil
	default:
		return Located{}, refuse(ReasonDuplicate, "the request carries more than one token; send one, in one place")
	}
}

func headerTokens(values []string, name string) ([]Located, error) {
	var found []Located
	for _, v := range values {
		if scheme, rest, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, schemeBearer) {
			v = rest
		}
		if !isToken68(v) {
			return nil, refusef(ReasonUnreadable, "the header %q does not hold a token alone", name)
		}
		found = append(found, Located{Token: v, Source: name})
	}
	return found, nil
}

// cookieTokens reads the pairs of RFC 6265 section 4.2.1. A cookie set for
// another path or domain arrives beside ours under the same name: two are two.
func cookieTokens(values []string, name string) ([]Located, error) {
	var found []Located
	for _, v := range values {
		for pair := range strings.SplitSeq(v, ";") {
			n, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if n != name {
				continue
			}
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			if value == "" {
				continue // a cookie that was cleared
			}
			if !isToken68(value) {
				return nil, refusef(ReasonUnreadable, "the cookie %q does not hold a token alone", name)
			}
			found = append(found, Located{Token: value, Source: "cookie"})
		}
	}
	return found, nil
}
