// Package stamp says what is written onto a run so that its caller can't be
// lost, and proves later that it is still what was written: the run's
// context with a signed stamp in it, Prefect's own "Created By", tags for
// people, labels for machines, and the trace the request belongs to.
//
// It writes identities, never credentials: no token, no secret and no header
// of the request gets here but the W3C trace context. It never adds a role to
// a run because of another run.
//
// Read [New] first, then [Claims] for what is signed, [Examine] for the proof,
// and chain.go for runs that start runs.
package stamp

import (
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Version of the stamp's form, in the run's context.
const Version = 1

// ContextKey is the one key of a run's context that the stamp takes. No route
// of Prefect's API changes a run's context once it is created.
const ContextKey = "kong_prefect"

// DefaultLifetime is how long a stamp is good where nothing else is said: as
// long as a run may wait to be executed.
const DefaultLifetime = 7 * 24 * time.Hour

// Part is one of the things that are written onto a run.
type Part string

// The parts.
const (
	PartContext   Part = "context"       // identity and signed stamp; the others prove nothing
	PartCreatedBy Part = "created_by"    // "Created By" in Prefect's UI
	PartTags      Part = "tags"          // for people
	PartLabels    Part = "labels"        // for machines
	PartTrace     Part = "trace_context" // the request's W3C trace context
)

// Parts is all of them.
var Parts = []Part{PartContext, PartCreatedBy, PartTags, PartLabels, PartTrace}

// Signer signs. [github.com/kong-prefect/kong-prefect/signing.Keys] does.
type Signer interface {
	Sign(claims jwt.Claims, typ string) (string, error)
}

// Options say how runs are stamped.
type Options struct {
	// Signer signs the stamp. Required where the context is written.
	Signer Signer
	// Omit are parts that are not written. Without the context nothing about
	// the run can be proved.
	Omit []Part
	// Lifetime is how long a stamp is good. Default: [DefaultLifetime].
	Lifetime time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Cause is all that made a run: who asked, by which right, through what.
type Cause struct {
	Caller    claims.Identity
	Roles     []string
	Rule      string // of policy.Decision
	RequestID string // Kong's, as in its logs and X-Kong-Request-Id
	// Team and BusinessFunction come from the route's configuration.
	Team             string
	BusinessFunction string
	// Parent is the verified stamp of the run that asks for this one; nil
	// where no run does. See [Parent].
	Parent *Claims
	// Traceparent is the request's header of that name, as it came.
	Traceparent string
	Run         Run
}

// Run is the run that the stamp is for: it is good on no other.
type Run struct {
	FlowID         uuid.UUID
	DeploymentID   uuid.UUID
	IdempotencyKey string
	// Parameters are those that Prefect will store, the deployment's defaults
	// among them: see [Complete].
	Parameters map[string]any
	// ServerParameters are the names of those that the server fills in and
	// that no stamp can vouch for.
	ServerParameters []string
}

// Stamp is what to write where. What is not to be written is zero.
type Stamp struct {
	Context map[string]any
	// CreatedByID is the same for a caller at all times and gateways;
	// CreatedByName is what Prefect's UI shows under "Created By".
	CreatedByID   uuid.UUID
	CreatedByName string
	Tags          []string
	Labels        map[string]any
	// Claims are what was signed.
	Claims Claims
}

// New returns the stamp of a run.
func New(c Cause, o Options) (Stamp, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lifetime <= 0 {
		o.Lifetime = DefaultLifetime
	}
	writes := func(p Part) bool { return !slices.Contains(o.Omit, p) }
	signed, err := newClaims(c, o.Now(), o.Lifetime)
	if err != nil {
		return Stamp{}, err
	}
	var s Stamp
	if writes(PartCreatedBy) {
		s.CreatedByID = callerID(signed.Caller.Issuer, signed.Caller.Subject)
		s.CreatedByName = createdByName(signed.Context)
		signed.CreatedBy = &CreatedBy{ID: s.CreatedByID, DisplayValue: s.CreatedByName}
	}
	if writes(PartTags) {
		s.Tags = tags(signed.Context)
		signed.Tags = s.Tags
	}
	if writes(PartLabels) {
		s.Labels = labels(signed.Context)
		signed.Labels = s.Labels
	}
	if writes(PartContext) {
		if o.Signer == nil {
			return Stamp{}, fmt.Errorf("%w: there is no signing key", ErrNotSigned)
		}
		compact, err := o.Signer.Sign(signed, Type)
		if err != nil {
			return Stamp{}, fmt.Errorf("%w: %w", ErrNotSigned, err)
		}
		if len(compact) > MaxSignedBytes {
			return Stamp{}, fmt.Errorf("%w: it would have %d bytes, over %d", ErrNotSigned, len(compact), MaxSignedBytes)
		}
		s.Context = map[string]any{ContextKey: written{Context: signed.Context, Signed: compact}}
	}
	if trace := traceLabel(c.Traceparent); trace != "" && writes(PartTrace) {
		// A map of its own: the trace isn't signed, Prefect rewrites it.
		all := map[string]any{LabelTrace: trace}
		for name, value := range s.Labels {
			all[name] = value
		}
		s.Labels = all
	}
	s.Claims = signed
	return s, nil
}

// written is what stands in the run's context: what the signed stamp says, for
// those who only read, and the signed stamp for those who decide.
type written struct {
	Context
	Signed string `json:"stamp"`
}
