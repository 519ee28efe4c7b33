package token

import "time"

// Verified is what is known of a token that passed every check. It can be built
// by this package alone; its zero value is no token.
type Verified struct{ v *verified }

// verified is shared by all holders of one token, the cache among them: it is
// never changed after it was returned.
type verified struct {
	issuer    string
	subject   string
	client    string
	clients   []string // all names of the client that the token gives
	actors    []actor
	id        string
	audiences []string
	issuedAt  time.Time
	notBefore time.Time
	expiry    time.Time
	claims    map[string]any
	typ       string
	opaque    bool
	binding   binding
	recheckAt time.Time // introspected: when to ask again

	state *issuerState
	keys  *KeySet // the generation it was verified with
}

// IsZero tells that this is no token at all.
func (t Verified) IsZero() bool { return t.v == nil }

// Issuer is the issuer's URL, exactly as configured.
func (t Verified) Issuer() string { return t.v.issuer }

// Subject is the claim sub; never empty for a signed token. For an introspected
// token without sub it is the client id, or empty where a username says that the
// token is a person's.
func (t Verified) Subject() string { return t.v.subject }

// Client is the client the token was issued to (client_id, azp, cid or appid),
// or "".
func (t Verified) Client() string { return t.v.client }

// ID is the claim jti, or "".
func (t Verified) ID() string { return t.v.id }

// Audiences are the values of the audience claim. The slice is shared and must
// not be changed.
func (t Verified) Audiences() []string { return t.v.audiences }

// Expiry is the claim exp, without leeway.
func (t Verified) Expiry() time.Time { return t.v.expiry }

// IssuedAt is the claim iat; the zero time when there is none.
func (t Verified) IssuedAt() time.Time { return t.v.issuedAt }

// Opaque tells that the token was verified by introspection, not by signature.
func (t Verified) Opaque() bool { return t.v.opaque }

// Bound tells that the token is sender-constrained, and so was proven to be in
// its holder's hands.
func (t Verified) Bound() bool { return t.v.binding != (binding{}) }

// Claim gives one claim by its exact name. For the kinds of values see
// [DecodeClaims].
func (t Verified) Claim(name string) (any, bool) {
	v, ok := t.v.claims[name]
	return v, ok
}

// Claims are all claims. The map and everything in it is shared and must not be
// changed.
func (t Verified) Claims() map[string]any { return t.v.claims }
