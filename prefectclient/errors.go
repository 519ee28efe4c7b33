package prefectclient

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Reasons of an [Error]. They are stable: branch on them, never on text.
const (
	// ReasonDeploymentNotFound: there is no such deployment.
	ReasonDeploymentNotFound = "deployment_not_found"
	// ReasonNotFound: there is no such object, other than a deployment.
	ReasonNotFound = "not_found"
	// ReasonParametersInvalid: the parameters do not fit the deployment's
	// schema; Field and Detail say which and why.
	ReasonParametersInvalid = "parameters_invalid"
	// ReasonRequestInvalid: refused by this package before anything was sent.
	ReasonRequestInvalid = "request_invalid"
	// ReasonUnauthorized: the server refused the credential (401 or 403).
	ReasonUnauthorized = "prefect_unauthorized"
	// ReasonCredentialUnavailable: there was no credential to send (a missing
	// file, an identity provider that is away). Nothing was sent.
	ReasonCredentialUnavailable = "credential_unavailable"
	// ReasonUnavailable: the server could not be reached, was too slow, or
	// failed. A create that ends with it has made no run.
	ReasonUnavailable = "prefect_unavailable"
	// ReasonBusy: no slot became free in time. Nothing was sent.
	ReasonBusy = "prefect_busy"
	// ReasonRefused: the server refused the request for another reason.
	ReasonRefused = "prefect_refused"
	// ReasonIdempotencyConflict: the idempotency key belongs to a run of
	// another deployment of the same flow (Prefect's keys are per flow).
	ReasonIdempotencyConflict = "idempotency_conflict"
	// ReasonIdempotencyKeyReused: the idempotency key belongs to a run that was
	// asked for with something else (NewFlowRun.Fingerprint).
	ReasonIdempotencyKeyReused = "idempotency_key_reused"
	// ReasonOutcomeUnknown: the server may or may not have made the run.
	// FlowRunByIdempotencyKey with the error's IdempotencyKey tells, and so
	// does repeating the create with the same key.
	ReasonOutcomeUnknown = "outcome_unknown"
	// ReasonResponseInvalid: the answer was not what Prefect answers.
	ReasonResponseInvalid = "response_invalid"
	// ReasonWithheld: Options.Withhold didn't let the request go. Nothing was
	// sent.
	ReasonWithheld = "withheld"
	// ReasonCanceled: the caller's context ended. A create that ends with it
	// has made no run.
	ReasonCanceled = "canceled"
)

// Error is what every method of [Client] returns when it fails. It holds no
// credential and no part of a request's body; Unwrap gives the cause where
// there is one, such as context.DeadlineExceeded.
type Error struct {
	// Op is the operation, such as "create flow run".
	Op string
	// Reason is one of the Reason constants.
	Reason string
	// Status is the HTTP status of the last answer; 0: there was none.
	Status int
	// Field is the parameter that Prefect refused, as a path such as
	// "person.age" or "ids[0]". Empty: it concerns the parameters as a whole.
	Field string
	// Detail is a short description for an operator. For parameters_invalid
	// it may be shown to the caller: it names the rule, never the value.
	Detail string
	// RetryAfter is how long to wait before another try; 0: not known.
	RetryAfter time.Duration
	// Attempts is the number of requests that were sent or tried.
	Attempts int
	// IdempotencyKey is the key of a create, for finding out what became of
	// it.
	IdempotencyKey string

	cause error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("prefect: " + e.Op + ": " + e.Reason)
	if e.Status != 0 {
		b.WriteString(" (status " + strconv.Itoa(e.Status) + ")")
	}
	if e.Field != "" {
		fmt.Fprintf(&b, ": field %q", e.Field)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.cause != nil {
		b.WriteString(": " + e.cause.Error())
	}
	return b.String()
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the reason of err, or "" if err is not an [Error].
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// failure is an attempt that did not succeed, and what may be done about it.
type failure struct {
	*Error
	// retry: another attempt may succeed.
	retry bool
	// maybeDone: the server may have carried the request out. It stays true
	// when a later attempt fails for sure.
	maybeDone bool
	// inFlight: the server may still be working on it, so that not finding
	// its effect proves nothing.
	inFlight bool
	// stale: a kept connection turned out to be closed; the next attempt
	// needs no pause.
	stale bool
	// away: counts against the server in the breaker.
	away bool
	// notSent: the breaker or the credential stopped it; it says nothing
	// about the server.
	notSent bool
}

// retryable are the statuses after which the same request may succeed.
func retryable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
