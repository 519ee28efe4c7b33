// Package prefectclient speaks Prefect's REST API: it finds deployments,
// creates flow runs exactly once, and reads runs back. It works with the
// open-source server (http://host:4200/api) and with Prefect Cloud
// (https://api.prefect.cloud/api/accounts/A/workspaces/W).
//
// What it takes care of: a create is retried under one idempotency key, and a
// create whose answer was lost is looked up by that key before it is called
// failed; every wait and every answer has a limit; a server that is away is
// left alone for a moment (breaker), and a slow one cannot hold every caller
// (bulkhead); credentials may change while the client is in use.
//
// What it refuses to do: it never creates a run without an idempotency key,
// never follows a redirect (the credential would travel with it), and never
// puts a credential or an answer's text that may echo a request into an error
// or a log. It does not judge parameters: Prefect evaluates a value that holds
// "__prefect_kind" on the server, so callers that take parameters from
// strangers must refuse that key first.
//
// Read [Client.CreateFlowRun] first; do.go is one request, retry.go is the one
// loop that repeats it.
package prefectclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Options configures a [Client]. Only APIURL is required.
type Options struct {
	// APIURL is the address of the API, without a trailing slash, such as
	// http://prefect:4200/api. Credentials in it are refused.
	APIURL string
	// Credentials gives the Authorization header. Default: none is sent.
	Credentials Credentials
	// Transport carries the requests. Default: a transport of the client's
	// own, made for Prefect's five seconds of keep-alive.
	Transport http.RoundTripper
	// TLS is used by the default transport. Default: the system's roots,
	// TLS 1.2 and newer. It can't be combined with Transport.
	TLS *tls.Config
	// UserAgent is sent with every request. Default: "prefectclient-go".
	UserAgent string

	// Deadline limits one call of a method, with all of its waits and
	// retries. Default: 30 s, well under the 60 s that Kong waits for an
	// answer. A shorter deadline of the caller's context wins.
	Deadline time.Duration
	// ReadDeadline limits one call of a method that only reads, in the same
	// way. Default: 10 s, or Deadline where that is shorter.
	ReadDeadline time.Duration
	// AttemptTimeout limits one request. Default: 10 s (a busy PostgreSQL
	// server was seen to answer after 6 s).
	AttemptTimeout time.Duration
	// ConfirmTimeout is the part of Deadline that is kept for asking whether
	// a create whose answer was lost has made a run. Default: 5 s.
	ConfirmTimeout time.Duration
	// MaxAttempts limits the requests of one call. Default: 20.
	MaxAttempts int
	// MinBackoff and MaxBackoff bound the pause between two attempts, which
	// grows and is jittered. Default: 100 ms and 3 s.
	MinBackoff, MaxBackoff time.Duration
	// MaxResponseBytes limits what is read of one answer. Default: 4 MiB.
	MaxResponseBytes int64

	// Beside is a client of the same server, whose breaker and slots this one
	// shares: it is the server that is away or slow, whoever asks. Connections,
	// credential, time limits and the routes' slots stay each client's own.
	// BreakerFailures, BreakerOpenFor and who is told of the breaker are those
	// of the first client. Default: a breaker and slots of its own.
	Beside *Client

	// MaxConcurrent limits the calls under way at this server, and
	// MaxConcurrentPerRoute those of one [Client.Route]. Default: 64 and 32.
	//
	// Clients beside each other share the slots of an equal MaxConcurrent; one
	// with another number has slots of its own. So every number that somebody
	// set holds as it stands, at once, and a client with few slots can't be
	// kept out by one with many, as it would be if they counted together.
	MaxConcurrent, MaxConcurrentPerRoute int
	// MaxWaiting limits how many calls of one route wait for a slot, and
	// MaxWait how long each does. Default: 128 and 5 s.
	MaxWaiting int
	MaxWait    time.Duration
	// BreakerFailures is the number of failed requests in a row after which
	// the server is left alone. Default: 5.
	BreakerFailures int
	// BreakerOpenFor is how long it is left alone before one request probes
	// it. Default: 2 s.
	BreakerOpenFor time.Duration

	// Logger receives retries at debug level and what an operator should know
	// at warn level. Default: nothing is logged.
	Logger *slog.Logger
	// OnEvent is called for metrics and audit, in the goroutine of a call; it
	// must return quickly and not call the client. Default: nothing is called.
	OnEvent func(Event)
	// Withhold is asked about each request before it is sent. One for which it
	// says yes is not sent, and its call ends with [ReasonWithheld]. Default:
	// everything is sent.
	Withhold func(Request) bool
	// OnSent is told of every request that was sent, in the same way and
	// with the context of its call. Default: nothing is called.
	OnSent func(context.Context, Sent)
}

// Sent is one request to the server, repeated ones each for itself.
type Sent struct {
	// Server is the host and port of the API.
	Server string
	// Operation is what was asked for, one of [Operations].
	Operation string
	// Status is the HTTP status of the answer; 0: there was none.
	Status int
	Began  time.Time
	Took   time.Duration
}

// Operations are all there are.
var Operations = []string{
	createName, confirmName, "find deployment", "read deployment", "read flow run", "read flow runs", "read run states",
	"find flow run by idempotency key", "find flow run of deployment", "query", cancelName, askWhichName,
}

// EventKind says what an [Event] tells of.
type EventKind string

const (
	// EventRetry: a request failed and will be repeated.
	EventRetry EventKind = "retry"
	// EventCredentialSwitched: the server refused a credential and the other
	// valid one is used from now on.
	EventCredentialSwitched EventKind = "credential_switched"
	// EventBreaker: the breaker changed its state.
	EventBreaker EventKind = "breaker"
)

// Event is something that happened inside the client. It holds no secret and
// nothing a caller sent.
type Event struct {
	Kind EventKind
	// Server is the host and port of the API.
	Server string
	// Reason is the failed attempt's reason, for EventRetry.
	Reason string
	// State is "open", "half-open" or "closed", for EventBreaker.
	State string
}

// Client calls one Prefect server. It is safe for concurrent use, and should
// be shared: connections, the breaker and the slots belong to it. Clients of
// one server that differ in something share the latter two by Options.Beside.
type Client struct {
	options  Options
	base     *url.URL
	http     *http.Client
	shared   *shared
	slots    *bulkhead
	refused  *lastRefused
	standing *standing
	route    string
	log      *slog.Logger
}

// New builds a client without touching the network. All problems of the
// options are reported at once.
func New(o Options) (*Client, error) {
	base, err := parseAPIURL(o.APIURL)
	problems := []error{err, o.checkLimits()}
	if o.TLS != nil && o.Transport != nil {
		problems = append(problems, errors.New("TLS: can't be combined with Transport"))
	}
	if o.Beside != nil && err == nil && o.Beside.base.String() != base.String() {
		problems = append(problems, errors.New("the client in Beside is of another server"))
	}
	if checked, ok := o.Credentials.(interface{ check() error }); ok {
		if err := checked.check(); err != nil {
			problems = append(problems, fmt.Errorf("Credentials: %w", err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("prefectclient: %w", err)
	}
	o.setDefaults()
	c := &Client{options: o, base: base, refused: &lastRefused{}, standing: &standing{}, log: o.Logger.With("prefect", base.Host)}
	c.http = &http.Client{
		Transport:     o.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if logs, ok := o.Credentials.(interface{ logTo(*slog.Logger) }); ok {
		logs.logTo(c.log)
	}
	if o.Beside != nil {
		c.shared = o.Beside.shared
	} else {
		c.shared = newShared(newBreaker(o.BreakerFailures, o.BreakerOpenFor, c.breakerChanged))
	}
	c.options.Beside = nil // a chain of clients would never be let go
	c.slots = newBulkhead(o, c.shared)
	return c, nil
}

// Route returns a view of the client whose calls take their slots from those
// of the named route, so that one busy route leaves room for the others. The
// zero name, which New's client has, is a route like any other.
func (c *Client) Route(name string) *Client {
	view := *c
	view.route = name
	return &view
}

// Server is the host and port of the API.
func (c *Client) Server() string { return c.base.Host }

// APIURL is the address of the API, in its normal form.
func (c *Client) APIURL() string { return c.base.String() }

// Format prints the server and nothing else: a client is in use while it is
// printed, and holds secrets.
func (c *Client) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "prefectclient.Client("+c.base.Host+")")
}

// Close closes idle connections. Calls under way are not disturbed.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) emit(e Event) {
	if c.options.OnEvent != nil {
		e.Server = c.base.Host
		c.options.OnEvent(e)
	}
}

func (c *Client) sent(ctx context.Context, operation string, status int, began time.Time) {
	if c.options.OnSent != nil {
		c.options.OnSent(ctx, Sent{Server: c.base.Host, Operation: operation, Status: status, Began: began, Took: time.Since(began)})
	}
}

func (c *Client) breakerChanged(state string) {
	c.log.Warn("prefect breaker changed", "state", state)
	c.emit(Event{Kind: EventBreaker, State: state})
}

func (o *Options) checkLimits() error {
	var problems []error
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"Deadline", int64(o.Deadline)}, {"ReadDeadline", int64(o.ReadDeadline)}, {"AttemptTimeout", int64(o.AttemptTimeout)}, {"ConfirmTimeout", int64(o.ConfirmTimeout)},
		{"MaxAttempts", int64(o.MaxAttempts)}, {"MinBackoff", int64(o.MinBackoff)}, {"MaxBackoff", int64(o.MaxBackoff)},
		{"MaxResponseBytes", o.MaxResponseBytes}, {"MaxConcurrent", int64(o.MaxConcurrent)},
		{"MaxConcurrentPerRoute", int64(o.MaxConcurrentPerRoute)}, {"MaxWaiting", int64(o.MaxWaiting)}, {"MaxWait", int64(o.MaxWait)},
		{"BreakerFailures", int64(o.BreakerFailures)}, {"BreakerOpenFor", int64(o.BreakerOpenFor)},
	} {
		if limit.value < 0 {
			problems = append(problems, fmt.Errorf("%s: must not be negative", limit.name))
		}
	}
	return errors.Join(problems...)
}

func (o *Options) setDefaults() {
	orElse(&o.UserAgent, "prefectclient-go")
	orElse(&o.Deadline, 30*time.Second)
	orElse(&o.ReadDeadline, min(10*time.Second, o.Deadline))
	orElse(&o.AttemptTimeout, 10*time.Second)
	orElse(&o.ConfirmTimeout, 5*time.Second)
	orElse(&o.MaxAttempts, 20)
	orElse(&o.MinBackoff, 100*time.Millisecond)
	orElse(&o.MaxBackoff, 3*time.Second)
	orElse(&o.MaxResponseBytes, 4<<20)
	orElse(&o.MaxConcurrent, 64)
	orElse(&o.MaxConcurrentPerRoute, 32)
	orElse(&o.MaxWaiting, 128)
	orElse(&o.MaxWait, 5*time.Second)
	orElse(&o.BreakerFailures, 5)
	orElse(&o.BreakerOpenFor, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Transport == nil {
		o.Transport = newTransport(o.TLS, o.MaxConcurrent)
	}
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// newTransport keeps idle connections for less than the five seconds after
// which a Prefect server closes them (PREFECT_SERVER_API_KEEPALIVE_TIMEOUT):
// otherwise the next POST races with that close and gets a reset.
func newTransport(tlsConfig *tls.Config, connections int) *http.Transport {
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   5 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       4 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Prefect's own answers are small; 64 KiB of header is ample.
		MaxResponseHeaderBytes: 64 << 10,
	}
}
