package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/token"
)

// SharedIdentity is the key in kong.ctx.shared under which prefect-identity
// leaves the caller for the plugins after it. Clients can't write there, so
// it is believed, and no header ever is.
const SharedIdentity = "kong_prefect_identity"

// Caller is what prefect-identity hands on: who calls, and their roles.
type Caller struct {
	Identity claims.Identity `json:"identity"`
	Roles    []string        `json:"roles,omitempty"`
}

// identity is prefect-identity with one configuration.
type identity struct {
	arrivals *arrivals
	verifier *token.Verifier
	mappers  map[string]*claims.Mapper // by issuer
	grants   policy.Grants
	realm    string
}

func compileIdentity(p *Process, data []byte) (*identity, error) {
	var c IdentityConfig
	if err := decodeConfig(data, &c); err != nil {
		return nil, err
	}
	h := &identity{mappers: map[string]*claims.Mapper{}, realm: c.Realm}
	var problems []error
	var urls []string
	for i, is := range c.Issuers {
		mapper, err := is.mapper()
		if err != nil {
			problems = append(problems, fmt.Errorf("issuers[%d].preset: %w", i+1, err))
		}
		h.mappers[is.Issuer] = mapper
		urls = append(urls, is.Issuer)
	}
	grants := make([]policy.Grant, len(c.Roles))
	for i, g := range c.Roles {
		grants[i] = policy.Grant(g)
	}
	var err error
	if h.grants, err = policy.NewGrants(grants, urls); err != nil {
		problems = append(problems, err)
	}
	if h.verifier, err = newVerifier(p, c); err != nil {
		problems = append(problems, err)
	}
	if h.arrivals, err = newArrivals(c); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return h, nil
}

// identityReads is what prefect-identity always needs of a request.
var identityReads = []pluginserver.Read{pluginserver.ReadHeaders(), pluginserver.ReadVar(varRequestID)}

// Access reads the request once, decides, and writes once.
func (h *identity) Access(ctx context.Context, e *pluginserver.Event) {
	headers, err := e.Headers(ctx)
	if err != nil {
		refuse(ctx, e, h.realm, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err})
		return
	}
	caller, problem := h.identify(ctx, e, headers)
	if problem != nil {
		refuse(ctx, e, h.realm, problem)
		return
	}
	shared, err := json.Marshal(caller)
	if err != nil {
		refuse(ctx, e, h.realm, &Problem{Code: CodeClaimsInvalid, Cause: err})
		return
	}
	for _, hd := range headers {
		if isReserved(hd.Name) {
			e.ClearHeader(hd.Name)
		}
	}
	e.SetHeaders(callerHeaders(caller.Identity, caller.Roles))
	e.SetShared(SharedIdentity, string(shared))
}

// identify is the plugin's whole way: token, identity, roles.
func (h *identity) identify(ctx context.Context, e *pluginserver.Event, headers []pluginserver.Header) (Caller, *Problem) {
	var connection []string
	lines := 0
	for _, hd := range headers {
		lines += len(hd.Values)
		if hd.Name == "connection" {
			connection = hd.Values
		}
	}
	if lines >= pluginserver.MaxHeaders {
		// Kong has cut the list, and what was cut may be one of ours.
		return Caller{}, &Problem{Code: CodeHeadersTooMany}
	}
	if connectionTakesOurs(connection) {
		return Caller{}, &Problem{Code: CodeConnectionForbidden}
	}
	a, problem := h.arrivals.find(ctx, e, headers)
	if problem != nil {
		return Caller{}, problem
	}
	verified, err := h.verifier.VerifyPresented(ctx, a.Token, a.presentation)
	if err != nil {
		return Caller{}, tokenProblem(err, a.DPoP)
	}
	// One mapper for each issuer that the verifier takes.
	id, err := h.mappers[verified.Issuer()].Identity(verified)
	if err != nil {
		return Caller{}, claimsProblem(err)
	}
	return Caller{Identity: id, Roles: h.grants.Roles(id)}, nil
}

// claimsProblem tells the caller the claim's name at most through its code.
func claimsProblem(err error) *Problem {
	if errors.Is(err, claims.ErrGroupsOverage) {
		return &Problem{Code: CodeGroupsOverage, Cause: err}
	}
	return &Problem{Code: CodeClaimsInvalid, Cause: err}
}

// tokenProblem keeps the verifier's sentence: it names what is wrong with the
// caller's own token and holds nothing of it. Why keys can't be had is for
// the operator.
func tokenProblem(err error, dpop bool) *Problem {
	var refused *token.Error
	if !errors.As(err, &refused) {
		return &Problem{Code: token.ReasonMalformed, Cause: err, DPoP: dpop}
	}
	if refused.Temporary() {
		return &Problem{Code: refused.Reason, Cause: err, RetryAfter: keysRetryAfter}
	}
	return &Problem{Code: refused.Reason, Cause: err, DPoP: dpop}
}

// keysRetryAfter is what a caller waits when an issuer's keys can't be had.
const keysRetryAfter = 5 * time.Second
