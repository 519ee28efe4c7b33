package stamp

import (
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Header carries the signed stamp of the run that asks for another one,
// beside the asking account's own token. It is no credential: it adds no
// right, and takes those away that the first caller doesn't have.
const Header = "Kong-Prefect-Stamp"

// maxLinks bounds a chain of runs: one that starts itself must end.
const maxLinks = 8

// ErrParent says that the stamp in [Header] isn't one to go on from.
var ErrParent = errors.New("the stamp of the asking run is not good")

// KeySet verifies what the gateway signed.
// [github.com/kong-prefect/kong-prefect/signing.Keys] is one.
type KeySet interface {
	Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error
}

// Parent reads the values of [Header]: nil where there is none. Nothing of it
// is believed but what the gateway's own key signed and what hasn't expired.
func Parent(keys KeySet, values []string) (*Claims, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 || keys == nil {
		return nil, ErrParent
	}
	var c Claims
	if err := keys.Verify(values[0], Type, &c, jwt.WithIssuer(Issuer)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrParent, err)
	}
	if c.Version != Version || c.Caller.Subject == "" {
		return nil, fmt.Errorf("%w: version %d", ErrParent, c.Version)
	}
	if len(c.Via) >= maxLinks {
		return nil, fmt.Errorf("%w: a chain may have %d runs", ErrParent, maxLinks+1)
	}
	return &c, nil
}

// Roles are those by which a request is decided: the asking account's own, and
// where a run asks for another, of these only what that run itself has. So no
// chain of runs ever has more rights than the weakest link of it.
func Roles(own []string, parent *Claims) []string {
	if parent == nil {
		return own
	}
	both := []string{}
	for _, r := range own {
		if slices.Contains(parent.Roles, r) {
			both = append(both, r)
		}
	}
	return both
}

func newContext(c Cause) Context {
	id := c.Caller
	context := Context{
		Version: Version, Roles: slices.Clone(Roles(c.Roles, c.Parent)), Rule: c.Rule, RequestID: c.RequestID,
		Team: c.Team, BusinessFunction: c.BusinessFunction,
		Caller: Caller{Subject: id.Subject, Issuer: id.Issuer, Kind: id.Kind, Name: id.Display(), Email: id.Email, Client: id.Client},
	}
	if context.Roles == nil {
		context.Roles = []string{}
	}
	for _, a := range id.Actors {
		context.Actors = append(context.Actors, Actor{Subject: a.Subject, Issuer: a.Issuer, Kind: a.Kind, Client: a.Client})
	}
	if p := c.Parent; p != nil {
		context.Actors = append(append(context.Actors, actor(id)), p.Actors...)
		context.Caller = p.Caller
		context.Via = append([]Link{{DeploymentID: p.DeploymentID, IdempotencyKey: p.IdempotencyKey, RequestID: p.RequestID}}, p.Via...)
	}
	return context
}

func actor(id claims.Identity) Actor {
	return Actor{Subject: id.Subject, Issuer: id.Issuer, Kind: id.Kind, Name: id.Display(), Client: id.Client}
}
