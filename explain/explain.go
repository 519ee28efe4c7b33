// Package explain tells the way of one request through the gateway, stage by
// stage: which route, which key, which claims, which identity, which roles,
// which rule, which deployment, and what would be sent. It runs the plugins
// themselves, over their own protocol, and says what they noted: nothing here
// decides anything.
//
// It refuses to have an effect: what would change something at Prefect is kept
// back and shown. It never shows a token, a signature or a credential.
//
// Read [Explain] first. decision.go tells a past decision in the same shape.
package explain

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/signing"
)

// Options say which request is explained, under which configuration.
type Options struct {
	File *kongyml.File
	// Route names the request's route; empty: Kong's rules choose it.
	Route string
	// Method and Target as they are sent; Target is the path with its query.
	Method, Target string
	// Scheme by which the request reaches Kong. Default: https.
	Scheme string
	// Headers by name; with Host among them where routes look at it.
	Headers map[string][]string
	Body    []byte
	// Address is the client's. Default: 127.0.0.1.
	Address string

	// Offline asks nobody: neither Prefect nor an issuer.
	Offline bool
	// JWKSFile holds the issuer's keys in place of where the configuration
	// has them.
	JWKSFile string
	// Signing are keys for the stamp that is shown and those of the gateway
	// that a parent's stamp is checked with.
	Signing *signing.Keys
	// Env gives the environment's variables, for Kong's env vault.
	Env func(string) (string, bool)
	// Log hears what the plugins tell their operator. Default: nobody.
	Log *slog.Logger
}

// Explanation is the whole way.
type Explanation struct {
	Stages  []Stage `json:"stages"`
	Verdict Verdict `json:"verdict"`
	// Notes are what the explanation leaves out.
	Notes []string `json:"notes,omitempty"`
}

// Stage is one part of the way.
type Stage struct {
	Name  string `json:"stage"`
	Facts []Fact `json:"facts"`
}

// Fact is one thing that a stage found.
type Fact struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// Outcome says how the way ends.
type Outcome string

// The outcomes.
const (
	Refused Outcome = "refused" // with Code and Status, as the plugin answers
	Starts  Outcome = "starts"  // Prefect would be asked for a new run
	Repeats Outcome = "repeats" // the run of its Idempotency-Key is there already
	Passes  Outcome = "passes"  // the request goes to the service
	Answers Outcome = "answers" // a plugin answers itself, with Status
	Changes Outcome = "changes" // Prefect would be asked to change something else
	Unknown Outcome = "unknown" // what decides isn't known here
)

// Verdict is the end of the way.
type Verdict struct {
	Outcome Outcome `json:"outcome"`
	Plugin  string  `json:"plugin,omitempty"` // that decided
	Status  int     `json:"status,omitempty"` // HTTP
	Code    string  `json:"code,omitempty"`   // of a refusal
	Says    string  `json:"says,omitempty"`   // to the caller
	Cause   string  `json:"cause,omitempty"`  // for the operator alone
	// Violations are what is wrong in the body.
	Violations []plugin.Violation `json:"violations,omitempty"`
	// Run is the run that is there already.
	Run string `json:"run,omitempty"`
	// Request is what would go to Prefect.
	Request *Request `json:"request,omitempty"`
}

// Request is a request to Prefect, without its credential.
type Request struct {
	Method string              `json:"method"`
	URL    string              `json:"url"`
	Header map[string][]string `json:"header,omitempty"`
	Body   json.RawMessage     `json:"body,omitempty"`
}

// ErrOptions is in the errors of requests that can't be explained.
var ErrOptions = errors.New("can't be explained")

// order is the plugins' own, by their priorities.
var order = []string{plugin.IdentityName, plugin.TriggerName, plugin.GuardName}

// explaining is one explanation at work.
type explaining struct {
	Options
	way   plugin.Way
	match kongyml.Match
	kong  *pluginserver.Rehearsal
	kept  []prefectclient.Request // back from Prefect
	// durable: the route accepts requests while Prefect is away.
	durable bool
	done    Explanation
}

// Explain tells the way of a request. Errors are about the question, never
// about the request: one that is refused is explained.
func Explain(ctx context.Context, o Options) (Explanation, error) {
	x := explaining{Options: o}
	if x.Log == nil {
		x.Log = slog.New(slog.DiscardHandler)
	}
	if err := x.arrive(); err != nil {
		return Explanation{}, err
	}
	if x.match.Route == nil {
		x.done.Verdict = Verdict{Outcome: Refused, Status: 404, Says: "no Route matched with those values", Cause: "no route of this kong.yml takes the request; Kong itself answers"}
		return x.done, nil
	}
	ran, err := x.run(ctx)
	if err != nil {
		return Explanation{}, err
	}
	x.tell(ran)
	return x.done, nil
}

// arrive finds the route, as Kong does before any plugin runs.
func (x *explaining) arrive() error {
	path, query, _ := strings.Cut(x.Target, "?")
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "#\x00 ") {
		return fmt.Errorf("%w: the path must begin with a slash, and be encoded as it is sent", ErrOptions)
	}
	q := kongyml.Request{Method: x.Method, Path: path, Headers: map[string][]string{}}
	var headers []pluginserver.Header
	for name, values := range x.Headers {
		name = strings.ToLower(name)
		q.Headers[name] = append(q.Headers[name], values...)
	}
	for name, values := range q.Headers {
		headers = append(headers, pluginserver.Header{Name: name, Values: values})
	}
	slices.SortFunc(headers, func(a, b pluginserver.Header) int { return strings.Compare(a.Name, b.Name) })
	if hosts := q.Headers["host"]; len(hosts) == 1 {
		q.Host = (&url.URL{Host: hosts[0]}).Hostname()
	}
	if err := x.route(q); err != nil {
		return err
	}
	if x.Scheme == "" {
		x.Scheme = "https"
	}
	if x.Address == "" {
		x.Address = "127.0.0.1"
	}
	var id [16]byte
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	x.kong = &pluginserver.Rehearsal{
		Method: x.Method, Path: x.match.Path, RawQuery: query, Headers: headers, Body: x.Body,
		Vars: map[string]string{
			"kong_request_id": hex.EncodeToString(id[:]), "args": query, "upstream_uri": x.match.UpstreamURI,
			"request_method": x.Method, "request_uri": x.Target, "scheme": x.Scheme,
			"remote_addr": x.Address, "realip_remote_addr": x.Address,
		},
	}
	for i, c := range x.File.Consumers {
		if c.ID == "" {
			c.ID = fmt.Sprintf("00000000-0000-0000-0000-%012d", i+1) // Kong gives it one
		}
		x.kong.Consumers = append(x.kong.Consumers, pluginserver.Consumer(c))
	}
	return nil
}

func (x *explaining) route(q kongyml.Request) error {
	if x.Route != "" {
		r := x.File.RouteNamed(x.Route)
		if r == nil {
			return fmt.Errorf("%w: there is no route %q in this file", ErrOptions, x.Route)
		}
		x.match = r.Named(q)
	} else {
		var err error
		if x.match, err = x.File.Find(q); err != nil {
			return fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	for _, r := range x.File.Routes {
		if len(r.Unknown) > 0 && r != x.match.Route {
			x.note("route %q has rules that aren't known here (%s), and was passed over", r.Name, strings.Join(r.Unknown, ", "))
		}
	}
	return nil
}

func (x *explaining) note(format string, args ...any) {
	x.done.Notes = append(x.done.Notes, fmt.Sprintf(format, args...))
}

// run runs the plugins of the route until one answers, and gives its name;
// empty: the request passes.
func (x *explaining) run(ctx context.Context) (answered string, err error) {
	process := plugin.NewProcess(x.Log)
	defer process.Close()
	process.Signing = x.Signing
	process.Withhold = x.withhold
	applies := map[string]*kongyml.Plugin{}
	var others []string
	for _, p := range x.File.PluginsOf(x.match.Route) {
		if applies[p.Name] = p; !slices.Contains(order, p.Name) {
			others = append(others, p.Name)
		}
	}
	x.tellRoute(applies)
	if len(others) > 0 {
		x.note("Kong's other plugins here have their say too, and aren't run: %s", strings.Join(others, ", "))
	}
	for _, p := range x.File.NarrowedOf(x.match.Route) {
		x.note("a %s for some consumers alone is configured as well, and isn't looked at", p.Name)
	}
	ctx = plugin.WithWay(ctx, &x.way)
	for _, name := range order {
		p := applies[name]
		if p == nil {
			continue
		}
		config, err := x.configOf(p)
		if err != nil {
			return "", err
		}
		options := pluginserver.Options{Plugins: process.Plugins(), Refusal: plugin.Refusal, Log: x.Log}
		if err := pluginserver.Rehearse(ctx, options, name, config, x.kong); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if x.kong.Answer != nil {
			return name, nil
		}
	}
	return "", nil
}

func (x *explaining) withhold(r prefectclient.Request) bool {
	if !r.Changes && !x.Offline {
		return false
	}
	x.kept = append(x.kept, r)
	return true
}
