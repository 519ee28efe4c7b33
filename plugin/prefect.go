package plugin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// unavailableRetryAfter is what a caller waits when Prefect doesn't say.
const unavailableRetryAfter = 5 * time.Second

// prefectProblem turns a failed call into a refusal. What Prefect said stays
// with the operator; only what is wrong with the caller's own parameters goes
// back.
func prefectProblem(deployment string, err error) *Problem {
	err = fmt.Errorf("deployment %q: %w", deployment, err)
	var failed *prefectclient.Error
	if !errors.As(err, &failed) {
		return &Problem{Code: CodePrefectRefused, Cause: err}
	}
	p := &Problem{Code: prefectCode(failed.Reason), Cause: err}
	switch p.Code {
	case CodePrefectUnavailable, CodePrefectBusy:
		if p.RetryAfter = failed.RetryAfter; p.RetryAfter < time.Second {
			p.RetryAfter = unavailableRetryAfter
		}
	case CodeOutcomeUnknown:
		p.Detail = fmt.Sprintf("If it was, Prefect has it under the idempotency_key %q.", failed.IdempotencyKey)
	case CodeParametersInvalid:
		p.Violations = []Violation{{Pointer: pointerOf(failed.Field), Detail: failed.Detail, Code: CodeParametersInvalid}}
	}
	return p
}

// fingerprint stands for what a caller asks for: an Idempotency-Key that comes
// back with something else is refused (draft-ietf-httpapi-idempotency-key-header,
// section 2.7).
func fingerprint(parameters map[string]any) string {
	data, err := json.Marshal(parameters) // sorts the names
	if err != nil {
		panic(err) // they were read from JSON
	}
	sum := sha256.Sum256(data)
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// pointerOf makes a JSON pointer of the path by which Prefect names a
// parameter, person.age or ids[0]; empty is the parameters as a whole.
func pointerOf(field string) string {
	if field == "" {
		return ""
	}
	return "/" + strings.NewReplacer("].", "/", ".", "/", "[", "/", "]", "").Replace(field)
}

func prefectCode(reason string) string {
	switch reason {
	case prefectclient.ReasonDeploymentNotFound:
		return CodeDeploymentUnknown
	case prefectclient.ReasonParametersInvalid:
		return CodeParametersInvalid
	case prefectclient.ReasonUnauthorized, prefectclient.ReasonCredentialUnavailable:
		return CodePrefectUnauthorized
	case prefectclient.ReasonUnavailable, prefectclient.ReasonCanceled:
		return CodePrefectUnavailable
	case prefectclient.ReasonBusy:
		return CodePrefectBusy
	case prefectclient.ReasonIdempotencyConflict:
		return CodeIdempotencyConflict
	case prefectclient.ReasonIdempotencyKeyReused:
		return CodeIdempotencyKeyReused
	case prefectclient.ReasonOutcomeUnknown:
		return CodeOutcomeUnknown
	default:
		return CodePrefectRefused
	}
}
