package stamp

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
)

// IdempotencyKey is the key of a run in Prefect. Prefect looks a key up within
// a flow, across all who use it, so the caller is part of it: nobody gets, or
// guesses, another's run; and where a run asks, the first caller of its chain
// is too: a pipeline that uses one key in two people's names starts two runs.
// Where the caller sent no key Kong's request id stands in: Kong may run a
// handler twice for one request.
func IdempotencyKey(caller claims.Identity, parent *Claims, deployment uuid.UUID, clientKey, requestID string) string {
	kind, value := "key", clientKey
	if clientKey == "" {
		kind, value = "request", requestID
	}
	if parent != nil {
		kind += " for " + callerID(parent.Caller.Issuer, parent.Caller.Subject).String()
	}
	// The issuer is configured and holds no NUL, the subject may: it comes
	// last but one, and the value after it is ASCII without NUL.
	sum := sha256.Sum256([]byte(strings.Join([]string{kind, deployment.String(), caller.Issuer, caller.Subject, value}, "\x00")))
	return "kong-prefect-" + base64.RawURLEncoding.EncodeToString(sum[:])
}
