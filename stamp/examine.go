package stamp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/signing"
)

// Finding is one thing that is wrong with a run's stamp.
type Finding struct {
	// Code is stable: absent, malformed, key_unknown, forged, expired,
	// issuer, version, flow, deployment, idempotency_key, parameters,
	// context, created_by, tags, labels.
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Stored is a run as Prefect has it now. Numbers in the maps are json.Number.
type Stored struct {
	FlowID         uuid.UUID
	DeploymentID   uuid.UUID
	IdempotencyKey string
	Parameters     map[string]any
	Context        map[string]any
	CreatedBy      *CreatedBy
	Tags           []string
	Labels         map[string]any
	// At is when the stamp had to be good: the start of a run that has ended,
	// else now.
	At time.Time
}

// Examine says what is wrong with a run's stamp: nothing where it is genuine
// and everything on the run is as it was written. The claims are what the
// stamp says, as far as its signature is good; nil where it isn't.
func Examine(run Stored, keys KeySet) (*Claims, []Finding) {
	plain, compact, finding := readContext(run.Context)
	if finding != nil {
		return nil, []Finding{*finding}
	}
	var c Claims
	err := keys.Verify(compact, Type, &c, jwt.WithIssuer(Issuer), jwt.WithTimeFunc(func() time.Time { return run.At }))
	expired := errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenInvalidIssuer)
	if err != nil && !expired {
		return nil, []Finding{signatureFinding(err)}
	}
	var findings []Finding
	if expired {
		findings = append(findings, Finding{"expired", fmt.Sprintf("the stamp was good until %s", c.ExpiresAt.UTC().Format(time.RFC3339))})
	}
	if c.Version != Version {
		return nil, append(findings, Finding{"version", fmt.Sprintf("the stamp has version %d, this program knows %d", c.Version, Version)})
	}
	findings = append(findings, c.compareRun(run)...)
	return &c, append(findings, c.compareShown(run, plain)...)
}

// readContext splits the run's context into what is only said and what is
// signed.
func readContext(context map[string]any) (plain map[string]any, compact string, finding *Finding) {
	value, ok := context[ContextKey]
	if !ok {
		return nil, "", &Finding{"absent", "the run has no stamp: it wasn't started through the gateway"}
	}
	stamped, ok := value.(map[string]any)
	if !ok {
		return nil, "", &Finding{"malformed", "what stands in the stamp's place is none"}
	}
	compact, ok = stamped["stamp"].(string)
	if !ok || compact == "" {
		return nil, "", &Finding{"absent", "the run's context names a caller, but nothing of it is signed"}
	}
	plain = maps.Clone(stamped)
	delete(plain, "stamp")
	return plain, compact, nil
}

func signatureFinding(err error) Finding {
	switch {
	case errors.Is(err, signing.ErrUnknownKey):
		return Finding{"key_unknown", "the stamp is signed with a key that isn't the gateway's"}
	case errors.Is(err, signing.ErrSignature):
		return Finding{"forged", "the stamp's signature is wrong"}
	case errors.Is(err, signing.ErrType), errors.Is(err, signing.ErrMalformed):
		return Finding{"malformed", "what stands in the stamp's place is none"}
	default:
		return Finding{"issuer", "the stamp isn't one of a gateway: " + err.Error()}
	}
}

// compareRun finds a stamp that was made for another run.
func (c *Claims) compareRun(run Stored) (findings []Finding) {
	differs := func(code, what string, signed, stored any) {
		if signed != stored {
			findings = append(findings, Finding{code, fmt.Sprintf("the stamp is for %s %v, the run has %v", what, signed, stored)})
		}
	}
	differs("flow", "flow", c.FlowID, run.FlowID)
	differs("deployment", "deployment", c.DeploymentID, run.DeploymentID)
	differs("idempotency_key", "the run with the idempotency key", c.IdempotencyKey, run.IdempotencyKey)
	hash, err := ParametersHash(run.Parameters, c.ServerParameters)
	if err != nil || hash != c.ParametersSHA256 {
		findings = append(findings, Finding{"parameters", "the run's parameters aren't those that the caller was allowed"})
	}
	return findings
}

// compareShown finds what was rewritten of the things that people and machines
// read.
func (c *Claims) compareShown(run Stored, plain map[string]any) (findings []Finding) {
	add := func(code, detail string) { findings = append(findings, Finding{code, detail}) }
	if !sameJSON(c.Context, plain) {
		add("context", "the run's context says something else than the stamp in it")
	}
	if c.CreatedBy != nil && (run.CreatedBy == nil || *run.CreatedBy != *c.CreatedBy) {
		add("created_by", fmt.Sprintf("the run was created by %q, and doesn't show it", c.CreatedBy.DisplayValue))
	}
	if c.Tags != nil {
		for _, t := range c.Tags {
			if !slices.Contains(run.Tags, t) {
				add("tags", fmt.Sprintf("the tag %q is gone", t))
			}
		}
		// Teams and functions may come from the deployment's own tags.
		for _, t := range run.Tags {
			if hasPrefix(t, []string{TagCaller, TagActor}) && !slices.Contains(c.Tags, t) {
				add("tags", fmt.Sprintf("the tag %q was added", t))
			}
		}
	}
	if c.Labels != nil {
		ours := maps.Clone(run.Labels)
		maps.DeleteFunc(ours, func(name string, _ any) bool { return !strings.HasPrefix(name, LabelPrefix) })
		if !sameJSON(c.Labels, ours) {
			add("labels", "the labels "+LabelPrefix+"* were rewritten")
		}
	}
	return findings
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	if errX != nil || errY != nil {
		return false
	}
	x, errX = canonicalJSON(x)
	y, errY = canonicalJSON(y)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
