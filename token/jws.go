package token

import (
	"encoding/base64"
	"strings"
)

// Sizes that no honest token reaches. They bound work before anything is
// decoded.
const (
	// DefaultMaxTokenBytes is the longest compact token that is looked at.
	DefaultMaxTokenBytes = 16 << 10
	maxHeaderBytes       = 8 << 10
	maxKeyIDBytes        = 512
)

// compactJWS is a token in JWS compact serialization, split and with its header
// read; nothing in it is verified.
type compactJWS struct {
	header       header
	payload      []byte
	signature    []byte
	signingInput string
}

// header is the part of a JOSE header that is used. Everything else in it (jku,
// jwk, x5u, x5c, x5t) is read past: keys come from the issuer alone.
type header struct {
	algorithm *algorithm
	keyID     string
	hasKeyID  bool
	typ       string
	// jwk is used by DPoP proofs alone (RFC 9449 section 4.2).
	jwk map[string]any
}

// parseToken splits a compact JWS and reads its header, without any trust. It
// is the first thing done to foreign bytes.
func parseToken(compact string, maxBytes int) (*compactJWS, error) {
	if len(compact) > maxBytes {
		return nil, refusef(ReasonTooLarge, "the token is longer than %d bytes; ask the issuer for fewer claims or raise the limit", maxBytes)
	}
	first, second, err := separators(compact)
	if err != nil {
		return nil, err
	}
	if first > maxHeaderBytes {
		return nil, refusef(ReasonTooLarge, "the token's header is longer than %d bytes", maxHeaderBytes)
	}
	t := &compactJWS{signingInput: compact[:second]}
	rawHeader, err := decodeSegment(compact[:first])
	if err != nil {
		return nil, err
	}
	if t.header, err = parseHeader(rawHeader); err != nil {
		return nil, err
	}
	if t.payload, err = decodeSegment(compact[first+1 : second]); err != nil {
		return nil, err
	}
	if t.signature, err = decodeSegment(compact[second+1:]); err != nil {
		return nil, err
	}
	if len(t.signature) == 0 {
		return nil, refuse(ReasonSignature, "the token carries no signature")
	}
	return t, nil
}

// separators finds the two dots. It stops at the third, so that a million dots
// cost nothing (CVE-2025-30204, CVE-2025-27144, CVE-2025-22868 split first).
func separators(compact string) (first, second int, err error) {
	first = strings.IndexByte(compact, '.')
	if first <= 0 {
		return 0, 0, refuse(ReasonMalformed, "the token is not a signed JWT in compact form (header.payload.signature)")
	}
	n := strings.IndexByte(compact[first+1:], '.')
	if n < 0 {
		return 0, 0, refuse(ReasonMalformed, "the token is not a signed JWT in compact form (header.payload.signature)")
	}
	second = first + 1 + n
	if strings.IndexByte(compact[second+1:], '.') >= 0 {
		return 0, 0, refuse(ReasonMalformed, "the token has more than three parts; encrypted tokens (JWE) are not accepted, use a signed token or introspection")
	}
	return first, second, nil
}

// decodeSegment decodes base64url without padding (RFC 7515 section 2). The
// decoder of encoding/base64 skips CR and LF and, unless strict, takes any
// value in the unused last bits: both would give one token several spellings.
func decodeSegment(s string) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		if !isBase64URL[s[i]] {
			return nil, refuse(ReasonMalformed, "the token holds a character outside base64url")
		}
	}
	out, err := strictBase64.DecodeString(s)
	if err != nil {
		return nil, refuse(ReasonMalformed, "a part of the token is not base64url")
	}
	return out, nil
}

var strictBase64 = base64.RawURLEncoding.Strict()

var isBase64URL = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		set[c] = true
	}
	return set
}()

func parseHeader(raw []byte) (header, error) {
	var h header
	members, err := DecodeClaims(raw)
	if err != nil {
		return h, refusef(ReasonMalformed, "the token's header is unusable: %v", err)
	}
	// RFC 7515 section 4.1.11: an extension that isn't understood must be
	// refused, and none is. b64 (RFC 7797) is never allowed in a JWT.
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if _, present := members[name]; present {
			return h, refusef(ReasonMalformed, "the token's header uses %q, which is not supported", name)
		}
	}
	name, _ := members["alg"].(string)
	h.algorithm = algorithms[name]
	if h.algorithm == nil {
		return h, refuse(ReasonAlgorithm, "the token is not signed with an asymmetric algorithm (RS, PS, ES or EdDSA)")
	}
	if err := h.readKeyID(members); err != nil {
		return h, err
	}
	if h.typ, err = optionalString(members, "typ"); err != nil {
		return h, err
	}
	// RFC 7519 section 5.2: cty "JWT" announces a token within the token.
	cty, err := optionalString(members, "cty")
	if err != nil {
		return h, err
	}
	if mediaType(cty) == "jwt" {
		return h, refuse(ReasonType, "the token wraps another token; nested tokens are not accepted")
	}
	h.jwk, _ = members["jwk"].(map[string]any)
	return h, nil
}

func (h *header) readKeyID(members map[string]any) error {
	v, present := members["kid"]
	if !present {
		return nil
	}
	s, ok := v.(string)
	if !ok || s == "" || len(s) > maxKeyIDBytes {
		return refusef(ReasonMalformed, "the token's key id (kid) is not a string of 1 to %d bytes", maxKeyIDBytes)
	}
	h.keyID, h.hasKeyID = s, true
	return nil
}

func optionalString(members map[string]any, name string) (string, error) {
	v, present := members[name]
	if !present {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", refusef(ReasonMalformed, "the header parameter %q is not a string", name)
	}
	return s, nil
}

// mediaType puts a typ or cty value into one form: RFC 7515 section 4.1.9 lets
// "application/" be left out and compares without case.
func mediaType(s string) string {
	return strings.TrimPrefix(strings.ToLower(s), "application/")
}
