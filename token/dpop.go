package token

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ProofMemoryOptions bounds a [ProofMemory].
type ProofMemoryOptions struct {
	// MaxProofs is how many proofs are remembered. When it is reached, further
	// ones are refused until older ones have lapsed. Default 200,000 (about
	// 12 MB).
	MaxProofs int
	// MaxAge is how old a proof may be, beside the leeway. Default 60 s.
	MaxAge time.Duration
	// Now is the clock. Default [time.Now].
	Now func() time.Time
}

// ProofMemory remembers the DPoP proofs (RFC 9449) that were used, so that none
// is used twice. One serves the whole process. Processes don't share it: a proof
// can be replayed at another node while it is young (section 11.1 accepts that).
type ProofMemory struct {
	maxProofs int
	maxAge    time.Duration
	now       func() time.Time

	// Two generations: a proof is in one of them for at least the time it could
	// be used, and no entry needs a timer.
	mu       sync.Mutex
	young    map[tokenHash]struct{}
	old      map[tokenHash]struct{}
	turnedAt time.Time
}

// NewProofMemory makes an empty memory.
func NewProofMemory(o ProofMemoryOptions) *ProofMemory {
	m := &ProofMemory{maxProofs: o.MaxProofs, maxAge: o.MaxAge, now: o.Now, young: map[tokenHash]struct{}{}}
	if m.maxProofs <= 0 {
		m.maxProofs = 200_000
	}
	if m.now == nil {
		m.now = time.Now
	}
	setDefault(&m.maxAge, time.Minute)
	return m
}

const (
	maxProofBytes   = 8 << 10
	maxProofIDBytes = 256
)

// check does the steps of RFC 9449 section 4.3, for the key with the thumbprint
// jkt and the token that came with the proof.
func (m *ProofMemory) check(jkt, compact string, p Presentation, leeway time.Duration) error {
	switch len(p.DPoP) {
	case 0:
		return refuse(ReasonProofMissing, "the token is bound to a DPoP key and the request has no DPoP header")
	case 1:
	default:
		return refuse(ReasonProofInvalid, "the request has more than one DPoP header")
	}
	thumbprint, claims, err := verifyProof(p.DPoP[0])
	if err != nil {
		return err
	}
	if thumbprint != jkt {
		return refuse(ReasonProofMismatch, "the token is bound to another DPoP key than the proof's")
	}
	sum := hashToken(compact)
	switch {
	case claims["ath"] != strictBase64.EncodeToString(sum[:]):
		return refuse(ReasonProofMismatch, "the DPoP proof was made for another token (ath)")
	case claims["htm"] != p.Method || p.Method == "":
		return refuse(ReasonProofMismatch, "the DPoP proof was made for another method (htm)")
	case !sameTarget(claims["htu"], p.URL):
		return refuse(ReasonProofMismatch, "the DPoP proof was made for another URL (htu)")
	}
	now := m.now()
	issued, present, err := dateClaim(claims, "iat", func(f float64) float64 { return f })
	if err != nil || !present {
		return refuse(ReasonProofInvalid, "the DPoP proof has no usable time (iat)")
	}
	if issued.After(now.Add(leeway)) || issued.Before(now.Add(-m.maxAge-leeway)) {
		return refuse(ReasonProofInvalid, "the DPoP proof is too old or from the future; make a new one for each request")
	}
	id, _ := claims["jti"].(string)
	if id == "" || len(id) > maxProofIDBytes {
		return refuse(ReasonProofInvalid, "the DPoP proof has no usable id (jti)")
	}
	return m.remember(sha256.Sum256([]byte(jkt+"."+id)), now)
}

// verifyProof checks form and signature. Here, and only here, the key comes
// from the header: what makes it trusted is its thumbprint in the access token.
func verifyProof(proof string) (thumbprint string, claims map[string]any, err error) {
	j, err := parseToken(proof, maxProofBytes)
	if err != nil {
		return "", nil, refuse(ReasonProofInvalid, "the DPoP proof is not a signed JWT with an asymmetric algorithm")
	}
	if mediaType(j.header.typ) != "dpop+jwt" {
		return "", nil, refuse(ReasonProofInvalid, "the DPoP proof's header typ is not dpop+jwt")
	}
	_, k, err := importKey(j.header.jwk)
	if err != nil {
		return "", nil, refusef(ReasonProofInvalid, "the DPoP proof's key can't be used: %v", err)
	}
	if err := j.verify(k); err != nil {
		return "", nil, refuse(ReasonProofInvalid, "the DPoP proof's signature is wrong")
	}
	if claims, err = DecodeClaims(j.payload); err != nil {
		return "", nil, refusef(ReasonProofInvalid, "the DPoP proof's claims are unusable: %v", err)
	}
	return k.thumbprint, claims, nil
}

// sameTarget compares as RFC 9449 section 4.3 step 9 asks: without query and
// fragment, after the normalization of RFC 3986 sections 6.2.2 and 6.2.3.
func sameTarget(htu any, presented string) bool {
	claimed, ok := htu.(string)
	if !ok || presented == "" {
		return false
	}
	a, b := target(claimed), target(presented)
	return a != "" && a == b
}

func target(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return ""
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path
}

// remember refuses a proof that was seen, and any when there is no room left: to
// forget an old one early would open it to replay.
func (m *ProofMemory) remember(proof tokenHash, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.turnedAt) > m.maxAge+2*maxLeeway {
		m.young, m.old, m.turnedAt = map[tokenHash]struct{}{}, m.young, now
	}
	_, inYoung := m.young[proof]
	_, inOld := m.old[proof]
	switch {
	case inYoung || inOld:
		return refuse(ReasonProofReplayed, "the DPoP proof was used before; make a new one for each request")
	case len(m.young)+len(m.old) >= m.maxProofs:
		return unavailable(ReasonReplayMemoryFull, "too many DPoP proofs are in use; try again shortly", ErrReplayMemoryFull, nil)
	}
	m.young[proof] = struct{}{}
	return nil
}

// hexToBase64 puts a thumbprint in hex, as proxies print it, into the form of
// tokens; "" when it is none.
func hexToBase64(s string) string {
	raw, err := hex.DecodeString(s)
	if err != nil {
		return ""
	}
	return strictBase64.EncodeToString(raw)
}
