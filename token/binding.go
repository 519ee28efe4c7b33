package token

import "strings"

// Binding says which sender-constrained tokens an issuer's must be.
type Binding string

// What can be required. The zero value requires nothing.
const (
	// BindingAny takes tokens bound in either way.
	BindingAny Binding = "any"
	// BindingDPoP takes tokens bound to a DPoP key (RFC 9449) only.
	BindingDPoP Binding = "dpop"
	// BindingMTLS takes tokens bound to a client certificate (RFC 8705) only.
	BindingMTLS Binding = "mtls"
)

func (r Binding) known() bool {
	return r == "" || r == BindingAny || r == BindingDPoP || r == BindingMTLS
}

// satisfiedBy tells whether a token is bound as required. A value that isn't
// known is satisfied by nothing.
func (r Binding) satisfiedBy(b binding) bool {
	switch r {
	case "":
		return true
	case BindingAny:
		return b != binding{}
	case BindingDPoP:
		return b.jkt != ""
	case BindingMTLS:
		return b.x5tS != ""
	default:
		return false
	}
}

// binding is what a token is bound to (RFC 7800 cnf): the SHA-256 thumbprint of
// a DPoP key (RFC 9449 section 6.1), or of a client certificate (RFC 8705
// section 3.1). Both are base64url without padding.
type binding struct {
	jkt  string
	x5tS string
}

// readBinding reads cnf. A confirmation method that isn't known here must be
// refused: the issuer bound the token to something nobody would check.
func readBinding(claims map[string]any) (binding, error) {
	v, present := claims["cnf"]
	if !present {
		return binding{}, nil
	}
	cnf, ok := v.(map[string]any)
	if !ok || len(cnf) == 0 {
		return binding{}, refuse(ReasonClaims, "the claim \"cnf\" is not an object with a confirmation")
	}
	var b binding
	for name, value := range cnf {
		s, ok := value.(string)
		if !ok || len(s) != thumbprintLen {
			return binding{}, refuse(ReasonClaims, "the claim \"cnf\" holds a confirmation that can't be checked here; jkt and x5t#S256 can")
		}
		switch name {
		case "jkt":
			b.jkt = s
		case "x5t#S256":
			b.x5tS = s
		default:
			return binding{}, refuse(ReasonClaims, "the claim \"cnf\" holds a confirmation that can't be checked here; jkt and x5t#S256 can")
		}
	}
	return b, nil
}

// thumbprintLen is the length of a SHA-256 in base64url without padding.
const thumbprintLen = 43

// Presentation is how a token came: what sender-constrained tokens are checked
// against. The zero value proves nothing, so bound tokens are refused with it.
type Presentation struct {
	// Method and URL are those of the request as the client made it, without
	// the query: behind a proxy the public URL, which the client's proof names.
	Method string
	URL    string
	// DPoPScheme says that the token came as "Authorization: DPoP TOKEN".
	DPoPScheme bool
	// DPoP are the values of the DPoP header.
	DPoP []string
	// CertificateSHA256 is the SHA-256 of the client's certificate in DER, as 43
	// characters of base64url or 64 of hex, "" without one. It must come from
	// the TLS connection, never from a header a client can send.
	CertificateSHA256 string
}

// checkBinding demands the proof that the token says it needs, and any when the
// issuer is configured so.
func (v *Verifier) checkBinding(t *verified, compact string, p Presentation) error {
	b := t.binding
	if !t.state.requireBinding.satisfiedBy(b) {
		return refusef(ReasonNotBound, "the token is not bound to its sender as this issuer's tokens must be (%s)", t.state.requireBinding)
	}
	if p.DPoPScheme && b.jkt == "" {
		return refuse(ReasonProofMismatch, "the token was sent with the DPoP scheme but is not bound to a DPoP key")
	}
	if b.x5tS != "" {
		if err := checkCertificate(b.x5tS, p.CertificateSHA256); err != nil {
			return err
		}
	}
	if b.jkt == "" {
		return nil
	}
	// RFC 9449 section 7.1: with the Bearer scheme a bound token must be refused,
	// or a stolen one could be downgraded.
	if !p.DPoPScheme {
		return refuse(ReasonProofMissing, "the token is bound to a DPoP key; send it as \"Authorization: DPoP TOKEN\" with a DPoP header")
	}
	return v.proofs.check(t, compact, p)
}

func checkCertificate(want, presented string) error {
	if presented == "" {
		return refuse(ReasonProofMissing, "the token is bound to a client certificate and none was presented")
	}
	if len(presented) == 64 {
		presented = hexToBase64(strings.ToLower(presented))
	}
	if presented != want {
		return refuse(ReasonProofMismatch, "the token is bound to another client certificate")
	}
	return nil
}
