package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/token"
)

// identity is prefect-identity with one configuration.
type identity struct {
	config    IdentityConfig
	arrivals  *arrivals
	verifier  *token.Verifier
	issuers   map[string]issuer // by URL
	grants    policy.Grants
	headers   callerHeaders
	asserter  *asserter // nil: none
	wellKnown wellKnown
	consumers *consumers
	dpopAlone bool // no issuer takes another kind of token
}

// issuer is what is known of one issuer's callers.
type issuer struct {
	mapper   *claims.Mapper
	consumer consumerOf
}

func compileIdentity(p *Process, data []byte) (*identity, error) {
	h := &identity{issuers: map[string]issuer{}, consumers: p.consumers}
	if err := decodeConfig(data, &h.config); err != nil {
		return nil, err
	}
	var problems []error
	note := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	urls, err := h.compileIssuers()
	note(err)
	h.grants, err = policy.NewGrants(grantsOf(h.config.Roles), urls)
	note(err)
	h.verifier, err = newVerifier(p, h.config)
	note(err)
	h.arrivals, err = newArrivals(h.config)
	note(err)
	note(h.compileGifts(p, urls))
	h.dpopAlone = !slices.ContainsFunc(h.config.Issuers, func(i IssuerConfig) bool { return i.RequireBinding != string(token.BindingDPoP) })
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, advice := range h.grants.Advice() {
		p.log.Warn("a configuration works, and is better done in another way", "plugin", IdentityName, "advice", advice)
	}
	return h, nil
}

func (h *identity) compileIssuers() (urls []string, err error) {
	var problems []error
	for i, is := range h.config.Issuers {
		mapper, err := is.mapper()
		if err != nil {
			problems = append(problems, fmt.Errorf("issuers[%d].preset: %w", i+1, err))
		}
		var config ConsumerConfig
		if is.Consumer != nil {
			config = *is.Consumer
		}
		consumer, err := newConsumerOf(config, h.config.ConsumersAdminURL)
		if err != nil {
			problems = append(problems, fmt.Errorf("issuers[%d].consumer.%w", i+1, err))
		}
		h.issuers[is.Issuer] = issuer{mapper, consumer}
		urls = append(urls, is.Issuer)
	}
	return urls, errors.Join(problems...)
}

// compileGifts prepares what others get: headers, assertion, documents.
func (h *identity) compileGifts(p *Process, urls []string) error {
	var problems []error
	var err error
	assertionHeader := ""
	if h.config.Assertion != nil {
		assertionHeader = h.config.Assertion.Header
	}
	if h.headers, err = newCallerHeaders(h.config.Headers, assertionHeader); err != nil {
		problems = append(problems, err)
	}
	if h.asserter, err = newAsserter(h.config.Assertion, p.Signing); err != nil {
		problems = append(problems, err)
	}
	if h.config.Resource != nil {
		if h.wellKnown, err = newWellKnown(*h.config.Resource, urls, h.asserter != nil); err != nil {
			problems = append(problems, fmt.Errorf("resource.url: %w", err))
		}
	}
	if p.Signing != nil {
		h.wellKnown.keySet = func() pluginserver.Answer { return keySet(p.Signing) }
	}
	return errors.Join(problems...)
}

// identityReads is what prefect-identity always needs of a request. The
// request's id is not among them: only a refusal names it, and a call costs
// Kong's worker a tenth of the whole event.
var identityReads = []pluginserver.Read{pluginserver.ReadHeaders()}

// Access reads the request once, decides, and writes once.
func (h *identity) Access(ctx context.Context, e *pluginserver.Event) {
	headers, err := e.Headers(ctx)
	if err != nil {
		h.refuse(ctx, e, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err})
		return
	}
	trail := trailOf(ctx)
	trail.arrived(headers)
	r, problem := h.recognize(ctx, e, headers)
	trail.known(r.caller)
	if problem != nil && problem.Code == token.ReasonMissing {
		if h.wellKnown.answers(ctx, e) {
			return
		}
		if h.config.Anonymous != "" {
			r.caller.Anonymous = true
			r.standing, problem = h.consumers.anonymous(ctx, e, h.config.Anonymous)
		}
	}
	if problem == nil {
		problem = h.admit(e, headers, r, trail.handOn())
	}
	if problem != nil {
		h.refuse(ctx, e, problem)
	}
}

func (h *identity) refuse(ctx context.Context, e *pluginserver.Event, p *Problem) {
	p.ResourceMetadata = h.wellKnown.metadataURL
	if h.dpopAlone { // RFC 9449, section 7.1
		p.DPoP = true
		if p.Code == token.ReasonMissing {
			p.Detail = "It must be bound by DPoP: 'Authorization: DPoP TOKEN', with a proof in the header DPoP."
		}
	}
	refuse(ctx, e, h.config.Realm, p)
}

// recognized is all that a request's token leads to.
type recognized struct {
	caller   Caller
	standing standing
	source   string // where the token was, as token.Located says it
}

// recognize is the plugin's whole way: token, identity, roles, consumer.
func (h *identity) recognize(ctx context.Context, e *pluginserver.Event, headers []pluginserver.Header) (r recognized, problem *Problem) {
	if problem := h.checkHeaders(headers); problem != nil {
		return r, problem
	}
	a, problem := h.arrivals.find(ctx, e, headers)
	if problem != nil {
		return r, problem
	}
	r.source = a.Source
	trail, began := trailOf(ctx), time.Now()
	trail.way.located(a.Source)
	verified, err := h.verifier.VerifyPresented(ctx, a.Token, a.presentation)
	trail.step(StageToken, began)
	if err != nil {
		return r, tokenProblem(err, a.DPoP)
	}
	defer trail.step(StageCaller, time.Now())
	is := h.issuers[verified.Issuer()] // the verifier takes no other
	id, err := is.mapper.Identity(verified)
	if err != nil {
		return r, claimsProblem(err)
	}
	if err := h.verifier.CheckNames(verified, id.Subject, id.Client); err != nil {
		return r, tokenProblem(err, a.DPoP)
	}
	r.caller = Caller{Identity: id, Roles: h.grants.Roles(id, verified.Claims())}
	trailOf(ctx).way.recognized(h, verified, r.caller)
	r.standing, problem = is.consumer.find(ctx, e, h.consumers, r.caller)
	trailOf(ctx).way.stands(r.standing)
	return r, problem
}

func (h *identity) checkHeaders(headers []pluginserver.Header) *Problem {
	for _, hd := range headers {
		if hd.Name == "connection" && h.headers.takenByConnection(hd.Values) {
			return &Problem{Code: CodeConnectionForbidden}
		}
	}
	if cutShort(headers) {
		return &Problem{Code: CodeHeadersTooMany}
	}
	return nil
}

// admit lets the request pass and tells everybody who calls. It either does
// all of it, or nothing and gives a problem. set are headers for what follows.
func (h *identity) admit(e *pluginserver.Event, headers []pluginserver.Header, r recognized, set []pluginserver.Header) *Problem {
	set = append(set, r.standing.headers...)
	if !r.caller.Anonymous {
		set = append(set, h.headers.of(r.caller)...)
		if h.asserter != nil {
			assertion, err := h.asserter.header(r.caller)
			if err != nil {
				return &Problem{Code: CodeAssertionFailed, Cause: err}
			}
			set = append(set, assertion)
		}
	}
	if err := r.caller.leave(e); err != nil {
		return &Problem{Code: CodeClaimsInvalid, Cause: err}
	}
	for _, hd := range headers {
		if h.headers.spoofable(hd.Name) || h.arrivals.resembles(hd.Name) {
			e.ClearHeader(hd.Name)
		}
	}
	if h.config.HideCredentials {
		h.arrivals.hide(e, headers, r.source)
	}
	e.SetHeaders(set)
	r.standing.tell(e)
	h.leaveGroups(e, r.caller)
	return nil
}

// leaveGroups gives acl its groups. A caller without any has an empty list:
// without a list acl would take them for nobody, and answer 401.
func (h *identity) leaveGroups(e *pluginserver.Event, c Caller) {
	switch {
	case c.Anonymous: // stands with the groups of the configured consumer
	case h.config.AuthenticatedGroups == "roles":
		e.SetSharedList(sharedGroups, c.Roles)
	case h.config.AuthenticatedGroups == "groups":
		e.SetSharedList(sharedGroups, c.Identity.Groups)
	}
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

// keysRetryAfter is what a caller waits when what is needed to tell who they
// are can't be had.
const keysRetryAfter = 5 * time.Second
