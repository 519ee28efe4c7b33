package plugin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// varUpstreamURI is the path that Kong sends upstream, encoded, without the
// query. What the client sent may be another: Kong normalizes it, and a route
// may strip a part.
const varUpstreamURI = "upstream_uri"

// guarded is prefect-guard with one configuration.
type guarded struct {
	process      *Process
	guard        *guard.Guard
	client       *prefectclient.Client
	apiURL       string
	apiPath      string
	maxBodyBytes int
	audit        GuardAuditConfig
}

func compileGuard(p *Process, data []byte) (*guarded, error) {
	var c GuardConfig
	if err := decodeConfig(data, &c); err != nil {
		return nil, err
	}
	var problems []error
	client, err := p.prefect(c.Prefect)
	if err != nil {
		problems = append(problems, fmt.Errorf("prefect: %w", err))
	} else {
		client = client.Route("guard")
	}
	stamping, err := p.stampOptions(c.Stamp)
	if err != nil {
		problems = append(problems, err)
	}
	decides, err := guard.New(guard.Options{Grants: guardGrantsOf(c), Prefect: client, Stamp: stamping})
	if err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &guarded{process: p, guard: decides, client: client, apiURL: c.Prefect.APIURL, apiPath: strings.TrimSuffix(c.APIPath, "/"), maxBodyBytes: c.MaxBodyBytes, audit: c.Audit}, nil
}

func guardGrantsOf(c GuardConfig) []guard.Grant {
	grants := make([]guard.Grant, len(c.Grants))
	for i, g := range c.Grants {
		grants[i] = guard.Grant{Role: g.Role, Permissions: g.Permissions, Limit: guard.Limit{
			Deployments: g.Deployments, Flows: g.Flows, Tags: g.Tags, WorkPools: g.WorkPools,
		}}
	}
	return grants
}

// guardReads is what prefect-guard always needs of a request. The body isn't
// among them: most operations are decided without it.
var guardReads = []pluginserver.Read{
	pluginserver.ReadShared(SharedIdentity), pluginserver.ReadVar(varRequestID), pluginserver.ReadMethod(),
	pluginserver.ReadVar(varUpstreamURI), pluginserver.ReadRawQuery(), pluginserver.ReadHeaders(),
	pluginserver.ReadVar(varAddress),
}

// Access reads the request once, and its body once more where the decision
// depends on it; decides; and writes once.
func (h *guarded) Access(ctx context.Context, e *pluginserver.Event) {
	problem := h.pass(ctx, e)
	if problem != nil {
		refuse(ctx, e, DefaultRealm, problem)
	}
}

// pass is the plugin's whole way.
func (h *guarded) pass(ctx context.Context, e *pluginserver.Event) *Problem {
	request, headers, problem := h.read(ctx, e)
	if problem != nil {
		return problem
	}
	trail := trailOf(ctx)
	trail.passing(ctx, e, request, h.apiURL, h.audit)
	passage, err := h.guard.Open(request)
	if err != nil {
		return guardProblem(err, request)
	}
	trail.way.passing(passage)
	trail.opened(passage)
	body, problem := h.body(ctx, e, passage)
	if problem != nil {
		return problem
	}
	began := time.Now()
	outcome, err := passage.Check(ctx, body)
	trail.step(StagePolicy, began)
	if err != nil {
		return guardProblem(err, request)
	}
	credential, err := h.client.Authorization(ctx)
	if err != nil {
		return &Problem{Code: CodePrefectUnauthorized, Cause: err}
	}
	trail.way.passed(passage, outcome, credential)
	if problem := trail.passed(ctx, passage, outcome.Runs, h.audit.Reads); problem != nil {
		return problem
	}
	h.write(e, headers, outcome, credential)
	return nil
}

func (h *guarded) read(ctx context.Context, e *pluginserver.Event) (r guard.Request, headers []pluginserver.Header, problem *Problem) {
	caller, problem := callerOf(ctx, e)
	if problem != nil {
		return r, nil, problem
	}
	r.Caller, r.Roles = caller.Identity, caller.Roles
	var errs [5]error
	var uri string
	r.RequestID, errs[0] = e.Var(ctx, varRequestID)
	r.Method, errs[1] = e.Method(ctx)
	uri, errs[2] = e.Var(ctx, varUpstreamURI)
	r.Query, errs[3] = e.RawQuery(ctx)
	headers, errs[4] = e.Headers(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		return r, nil, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	if cutShort(headers) {
		return r, nil, &Problem{Code: CodeHeadersTooMany}
	}
	named := map[string][]string{}
	for _, hd := range headers {
		named[hd.Name] = hd.Values
	}
	r.Traceparent = trailOf(ctx).traced(named[traceHeader])
	if r.Parent, problem = h.process.parentOf(named[parentStampHeader]); problem != nil {
		return r, nil, problem
	}
	r.Roles = stamp.Roles(r.Roles, r.Parent)
	if upgrades(named["upgrade"]) {
		if r.Method != http.MethodGet {
			return r, nil, guardProblem(&guard.Refusal{Reason: guard.ReasonRouteUnknown}, r)
		}
		r.Method = guard.Websocket
	}
	below, ok := belowAPI(uri, h.apiPath)
	if !ok {
		return r, nil, guardProblem(&guard.Refusal{Reason: guard.ReasonRouteUnknown}, r)
	}
	r.Path = below
	return r, headers, nil
}

// upgrades tells whether Kong will offer the upstream a websocket: it looks at
// Upgrade alone, whatever Connection says.
func upgrades(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(strings.ToLower(v), "websocket") })
}

// belowAPI is the path as Prefect's router sees it: uvicorn decodes what
// reaches it once.
func belowAPI(uri, apiPath string) (string, bool) {
	if strings.ContainsAny(uri, "?#") {
		return "", false
	}
	path, err := url.PathUnescape(uri)
	if err != nil {
		return "", false
	}
	below, ok := strings.CutPrefix(path, apiPath)
	return below, ok && strings.HasPrefix(below, "/")
}

// body is read only where the decision depends on it.
func (h *guarded) body(ctx context.Context, e *pluginserver.Event, passage *guard.Passage) ([]byte, *Problem) {
	if !passage.NeedsBody() {
		return nil, nil
	}
	raw, err := e.RawBody(ctx)
	if errors.Is(err, pluginserver.ErrFrameTooLarge) {
		return nil, &Problem{Code: CodeBodyTooLarge, Cause: err}
	}
	if err != nil {
		return nil, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	return readBody(raw, h.maxBodyBytes)
}

// write makes the request the server's own: the caller's credential goes in no
// header, and what only the gateway may say is taken away.
func (h *guarded) write(e *pluginserver.Event, headers []pluginserver.Header, outcome guard.Outcome, credential string) {
	for _, hd := range headers {
		if folded := fold(hd.Name); isReserved(folded) || staysHere(folded) {
			e.ClearHeader(hd.Name)
		}
	}
	var set []pluginserver.Header
	if credential != "" {
		set = append(set, header("Authorization", credential))
	}
	if by := outcome.CreatedBy; by != nil {
		set = append(set, header("Prefect-Automation-Id", by.ID.String()),
			header("Prefect-Automation-Name", base64.StdEncoding.EncodeToString([]byte(by.DisplayValue))))
	}
	if outcome.Body != nil {
		e.SetRawBody(outcome.Body)
		set = append(set, header("Content-Type", "application/json"))
	}
	e.SetHeaders(set)
}

// staysHere are headers, by their folded names, that are nobody's business
// behind the gateway: those that may hold the caller's token, and what the
// gateway itself reads. Prefect's API reads no cookie.
func staysHere(folded string) bool {
	switch folded {
	case "authorization", "cookie", "dpop", "proxy-authorization":
		return true
	}
	return strings.HasPrefix(folded, "kong-prefect-")
}

// guardProblem makes a refusal of the guard an answer.
func guardProblem(err error, r guard.Request) *Problem {
	refusal, ok := guard.RefusalOf(err)
	if !ok {
		return &Problem{Code: CodePrefectUnavailable, Cause: err}
	}
	p := &Problem{Code: refusal.Reason, Permission: refusal.Permission, Cause: fmt.Errorf(
		"caller %q of %s with roles %q: %s %q: %w", r.Caller.Subject, r.Caller.Issuer, r.Roles, r.Method, r.Path, err)}
	if refusal.Permission != "" {
		p.Detail = fmt.Sprintf("Missing permission: %s.", refusal.Permission)
	}
	if refusal.Pointer != "" || refusal.Detail != "" {
		p.Violations = []Violation{{Pointer: refusal.Pointer, Detail: refusal.Detail}}
	}
	return p
}
