package token

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ProofMemoryOptions bounds a [ProofMemory].
type ProofMemoryOptions struct {
	// MaxProofs is how many proofs are remembered. When it is reached, further
	// ones are refused until older ones have lapsed. Default 200,000 (about
	// 12 MB), which is more than a thousand a second.
	MaxProofs int
	// MaxAge is how old a proof may be, beside the leeway. Default 60 s.
	MaxAge time.Duration
	// Now is the clock. Default [time.Now].
	Now func() time.Time
}

// ProofMemory remembers the DPoP proofs (RFC 9449) that were used, so that none
// is used twice. One serves the whole process. Processes don't share it: a proof
// can be replayed at another node while it is young (section 11.1 accepts that).
//
// One holder can fill a tenth of it and no more: the others go on.
type ProofMemory struct {
	maxProofs int
	maxAge    time.Duration
	now       func() time.Time

	// One generation for each minute in which proofs say they were made: a
	// proof always falls into the same one, which goes when no proof of its
	// minute can be used any more. No entry needs a timer.
	mu     sync.Mutex
	byMade map[int64]*proofGeneration
	proofs int
}

type proofGeneration struct {
	seen     map[tokenHash]struct{}
	byHolder map[string]int
}

// NewProofMemory makes an empty memory.
func NewProofMemory(o ProofMemoryOptions) *ProofMemory {
	m := &ProofMemory{maxProofs: o.MaxProofs, maxAge: o.MaxAge, now: o.Now, byMade: map[int64]*proofGeneration{}}
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
	// maxProofLeeway bounds the leeway for proofs, whatever the issuer's is:
	// they are made for one request, and remembered for as long as they are
	// taken.
	maxProofLeeway = time.Minute
	// holderShare is the part of the memory that one holder can fill: 1/10.
	holderShare = 10
)

// check does the steps of RFC 9449 section 4.3, for a token that is bound to a
// DPoP key and came with a proof.
func (m *ProofMemory) check(t *verified, compact string, p Presentation) error {
	switch len(p.DPoP) {
	case 0:
		return refuse(ReasonProofMissing, "the token is bound to a DPoP key and the request has no DPoP header")
	case 1:
	default:
		return refuse(ReasonProofInvalid, "the request has more than one DPoP header")
	}
	claims, err := verifyProof(p.DPoP[0], t.binding.jkt)
	if err != nil {
		return err
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
	made, present, err := dateClaim(claims, "iat", math.Floor)
	if err != nil || !present {
		return refuse(ReasonProofInvalid, "the DPoP proof has no usable time (iat)")
	}
	leeway := min(t.state.leeway, maxProofLeeway)
	if made.After(now.Add(leeway)) || made.Before(now.Add(-m.maxAge-leeway)) {
		return refuse(ReasonProofInvalid, "the DPoP proof is too old or from the future; make a new one for each request")
	}
	id, _ := claims["jti"].(string)
	if id == "" || len(id) > maxProofIDBytes {
		return refuse(ReasonProofInvalid, "the DPoP proof has no usable id (jti)")
	}
	return m.remember(sha256.Sum256([]byte(t.binding.jkt+"."+id)), t.issuer+" "+t.subject, made, now)
}

// verifyProof checks form and signature. Here, and only here, the key comes
// from the header: what makes it trusted is its thumbprint in the access token,
// which is compared before the key is used for anything.
func verifyProof(proof, jkt string) (claims map[string]any, err error) {
	j, err := parseToken(proof, maxProofBytes)
	if err != nil {
		return nil, refuse(ReasonProofInvalid, "the DPoP proof is not a signed JWT with an asymmetric algorithm")
	}
	if mediaType(j.header.typ) != "dpop+jwt" {
		return nil, refuse(ReasonProofInvalid, "the DPoP proof's header typ is not dpop+jwt")
	}
	_, k, err := importKey(j.header.jwk)
	if err != nil {
		return nil, refusef(ReasonProofInvalid, "the DPoP proof's key can't be used: %v", err)
	}
	if k.thumbprint != jkt {
		return nil, refuse(ReasonProofMismatch, "the token is bound to another DPoP key than the proof's")
	}
	if err := j.verify(k); err != nil {
		return nil, refuse(ReasonProofInvalid, "the DPoP proof's signature is wrong")
	}
	if claims, err = DecodeClaims(j.payload); err != nil {
		return nil, refusef(ReasonProofInvalid, "the DPoP proof's claims are unusable: %v", err)
	}
	return claims, nil
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
func (m *ProofMemory) remember(proof tokenHash, holder string, made, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	minute := made.Unix() / 60
	g := m.byMade[minute]
	if g == nil {
		g = &proofGeneration{seen: map[tokenHash]struct{}{}, byHolder: map[string]int{}}
		m.byMade[minute] = g
	}
	if _, seen := g.seen[proof]; seen {
		return refuse(ReasonProofReplayed, "the DPoP proof was used before; make a new one for each request")
	}
	held := 0
	for _, other := range m.byMade {
		held += other.byHolder[holder]
	}
	if m.proofs >= m.maxProofs || held >= max(1, m.maxProofs/holderShare) {
		return unavailable(ReasonReplayMemoryFull, "too many DPoP proofs are in use; try again shortly", ErrReplayMemoryFull, nil)
	}
	g.seen[proof] = struct{}{}
	g.byHolder[holder]++
	m.proofs++
	return nil
}

// forget drops the minutes of which no proof would be taken any more.
func (m *ProofMemory) forget(now time.Time) {
	for minute, g := range m.byMade {
		if end := time.Unix((minute+1)*60, 0); end.Before(now.Add(-m.maxAge - maxProofLeeway)) {
			m.proofs -= len(g.seen)
			delete(m.byMade, minute)
		}
	}
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
