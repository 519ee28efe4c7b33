package token

import (
	"errors"
	"fmt"
)

// The reasons of a refusal. They are stable: answers, logs, audit events and
// metrics carry them unchanged.
const (
	ReasonMissing       = "token_missing"
	ReasonDuplicate     = "token_duplicate"
	ReasonMalformed     = "token_malformed"
	ReasonUnreadable    = "credentials_malformed" // where a token should be is something else
	ReasonTooLarge      = "token_too_large"
	ReasonAlgorithm     = "token_algorithm_not_allowed"
	ReasonType          = "token_type_not_allowed"
	ReasonIssuer        = "token_issuer_unknown"
	ReasonAudience      = "token_audience_mismatch"
	ReasonParty         = "token_authorized_party_mismatch"
	ReasonExpired       = "token_expired"
	ReasonNotYetValid   = "token_not_yet_valid"
	ReasonLifetime      = "token_lifetime_too_long"
	ReasonSignature     = "token_signature_invalid"
	ReasonKeyUnknown    = "token_key_unknown"
	ReasonClaims        = "token_claims_invalid"
	ReasonDenied        = "token_denied"
	ReasonInactive      = "token_inactive"
	ReasonNotBound      = "token_not_bound"
	ReasonProofMissing  = "proof_missing"
	ReasonProofInvalid  = "proof_invalid"
	ReasonProofReplayed = "proof_replayed"
	ReasonProofMismatch = "proof_mismatch"

	// The three below are temporary: the token may be good, but what is needed
	// to tell is out of reach. They deserve a 503, not a 401.
	ReasonKeysUnavailable          = "keys_unavailable"
	ReasonIntrospectionUnavailable = "introspection_unavailable"
	ReasonDenyListUnavailable      = "deny_list_unavailable"
	ReasonReplayMemoryFull         = "replay_memory_full"
)

// ErrUnavailable is the class of the temporary refusals; each of the narrower
// sentinels below is one of it.
var ErrUnavailable = errors.New("token: temporarily unable to verify")

// ErrKeysUnavailable says that an issuer's keys can't be had right now.
var ErrKeysUnavailable = fmt.Errorf("%w: keys", ErrUnavailable)

// ErrIntrospectionUnavailable says that the introspection endpoint gave no
// usable answer.
var ErrIntrospectionUnavailable = fmt.Errorf("%w: introspection", ErrUnavailable)

// ErrDenyListUnavailable says that the deny list was never read.
var ErrDenyListUnavailable = fmt.Errorf("%w: deny list", ErrUnavailable)

// ErrReplayMemoryFull says that no more DPoP proofs can be remembered.
var ErrReplayMemoryFull = fmt.Errorf("%w: replay memory", ErrUnavailable)

// Error is a refusal. Neither Detail nor Error() ever holds bytes of a token.
type Error struct {
	// Reason is one of the Reason constants.
	Reason string
	// Detail is one sentence for people: what is wrong and what to do.
	Detail string

	err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.err != nil {
		return e.Reason + ": " + e.Detail + ": " + e.err.Error()
	}
	return e.Reason + ": " + e.Detail
}

// Unwrap gives the cause, if there is one.
func (e *Error) Unwrap() error { return e.err }

// Temporary tells whether the same token may pass later without a change.
func (e *Error) Temporary() bool { return errors.Is(e.err, ErrUnavailable) }

// ReasonOf gives the reason of a refusal, or "" when err isn't one.
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func refuse(reason, detail string) *Error { return &Error{Reason: reason, Detail: detail} }

func refusef(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// unavailable builds a temporary refusal: class is one of the sentinels above,
// cause what went wrong (never a response body).
func unavailable(reason, detail string, class, cause error) *Error {
	err := class
	if cause != nil {
		err = fmt.Errorf("%w: %w", class, cause)
	}
	return &Error{Reason: reason, Detail: detail, err: err}
}
