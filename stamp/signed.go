package stamp

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Type is the typ of a signed stamp's header: it passes for nothing else that
// the gateway signs, and nothing else for it (RFC 8725, section 3.11).
const Type = "kong-prefect-stamp+jwt"

// Issuer is the iss of a signed stamp. Whose stamp it is, the key says.
const Issuer = "kong-prefect"

// MaxSignedBytes bounds a signed stamp: it must fit into a request's headers
// on its way to the next run, and nginx takes 8 kB in one by default.
const MaxSignedBytes = 7 << 10

// ErrNotSigned says that a run couldn't be stamped.
var ErrNotSigned = errors.New("the run can't be stamped")

// Context is who and why: what a flow reads under [ContextKey].
type Context struct {
	Version int `json:"version"`
	// Caller is the first caller, however many runs lie between them and this
	// run.
	Caller Caller `json:"caller"`
	// Actors are those who acted for the caller, the nearest first.
	Actors []Actor `json:"actors,omitempty"`
	// Roles are those that all of them have.
	Roles            []string `json:"roles"`
	Rule             string   `json:"rule"`
	RequestID        string   `json:"request_id"`
	Team             string   `json:"team,omitempty"`
	BusinessFunction string   `json:"business_function,omitempty"`
	// Via are the runs that this one comes from, the nearest first.
	Via []Link `json:"via,omitempty"`
}

// Caller is the part of an identity that stays on a run: who, but not all the
// groups and scopes they had.
type Caller struct {
	Subject string      `json:"subject"`
	Issuer  string      `json:"issuer"`
	Kind    claims.Kind `json:"kind"`
	// Name is what people know the caller by; there always is one.
	Name   string `json:"name"`
	Email  string `json:"email,omitempty"`
	Client string `json:"client,omitempty"`
}

// Actor is who acted for the caller: through a token that says so, or by
// starting a run from within the caller's run.
type Actor struct {
	Subject string      `json:"subject"`
	Issuer  string      `json:"issuer,omitempty"`
	Kind    claims.Kind `json:"kind,omitempty"`
	Name    string      `json:"name,omitempty"`
	Client  string      `json:"client,omitempty"`
}

// Display is what people know the actor by.
func (a Actor) Display() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Subject != "":
		return a.Subject
	default:
		return a.Client
	}
}

// Link is a run of the chain, as its own stamp names it.
type Link struct {
	DeploymentID uuid.UUID `json:"deployment_id"`
	// IdempotencyKey finds the run in Prefect.
	IdempotencyKey string `json:"idempotency_key"`
	RequestID      string `json:"request_id"`
}

// Claims are what is signed: who and why, the run it is for, and what else was
// written onto it, so that a change of any of them is found.
type Claims struct {
	// Issuer, Subject, IssuedAt and ExpiresAt are set.
	jwt.RegisteredClaims
	Context

	FlowID         uuid.UUID `json:"flow_id"`
	DeploymentID   uuid.UUID `json:"deployment_id"`
	IdempotencyKey string    `json:"idempotency_key"`
	// ParametersSHA256 is [ParametersHash] of the run's parameters without
	// ServerParameters.
	ParametersSHA256 string   `json:"parameters_sha256"`
	ServerParameters []string `json:"server_parameters,omitempty"`

	// What was written beside the context; absent where it wasn't.
	CreatedBy *CreatedBy     `json:"created_by,omitempty"`
	Tags      []string       `json:"tags,omitempty"`
	Labels    map[string]any `json:"labels,omitempty"`
}

// CreatedBy is what Prefect shows as "Created By".
type CreatedBy struct {
	ID           uuid.UUID `json:"id"`
	DisplayValue string    `json:"display_value"`
}

func newClaims(c Cause, now time.Time, lifetime time.Duration) (Claims, error) {
	hash, err := ParametersHash(c.Run.Parameters, c.Run.ServerParameters)
	if err != nil {
		return Claims{}, err
	}
	context := newContext(c)
	return Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: Issuer, Subject: context.Caller.Subject,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)),
		},
		Context: context,
		FlowID:  c.Run.FlowID, DeploymentID: c.Run.DeploymentID, IdempotencyKey: c.Run.IdempotencyKey,
		ParametersSHA256: hash, ServerParameters: c.Run.ServerParameters,
	}, nil
}
