package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// Modes and keys of ConsumerConfig.
const (
	consumerOfCaller = "caller"
	consumerOfKong   = "kong"
	byUsername       = "username"
	byCustomID       = "custom_id"
	byID             = "id"
)

// How long what Kong said of a consumer is believed, and for how many. A name
// that Kong doesn't know is asked for again sooner: somebody is about to add it.
const (
	consumerKept        = 30 * time.Second
	unknownConsumerKept = 3 * time.Second
	consumersKept       = 10_000
)

// consumerKey is how a consumer is looked for.
type consumerKey struct{ by, key, adminURL string }

// knownConsumer is what was found; its zero value says that there is none.
type knownConsumer struct {
	pluginserver.Consumer
	until time.Time
}

// consumers remembers, for the whole process, which consumers Kong has: a
// request of a known caller asks nobody.
type consumers struct {
	cache *otter.Cache[consumerKey, knownConsumer]
	now   func() time.Time
}

func newConsumers() *consumers {
	return &consumers{
		now: time.Now,
		cache: otter.Must(&otter.Options[consumerKey, knownConsumer]{
			MaximumSize:      consumersKept,
			ExpiryCalculator: otter.ExpiryWriting[consumerKey, knownConsumer](consumerKept),
		}),
	}
}

// find gives a consumer of Kong's; ok is false when there is none.
func (c *consumers) find(ctx context.Context, e *pluginserver.Event, key consumerKey) (pluginserver.Consumer, bool, error) {
	if known, ok := c.cache.GetIfPresent(key); ok && c.now().Before(known.until) {
		return known.Consumer, known.ID != "", nil
	}
	consumer, found, err := c.ask(ctx, e, key)
	if err != nil {
		return consumer, false, err
	}
	kept := consumerKept
	if !found {
		kept = unknownConsumerKept
	}
	c.cache.Set(key, knownConsumer{consumer, c.now().Add(kept)})
	return consumer, found, nil
}

func (c *consumers) ask(ctx context.Context, e *pluginserver.Event, key consumerKey) (consumer pluginserver.Consumer, found bool, err error) {
	switch key.by {
	case byCustomID:
		return consumerByCustomID(ctx, key.adminURL, key.key)
	case byID:
		if uuid.Validate(key.key) != nil || len(key.key) != 36 { // Kong fails a request that asks for any other
			return consumer, false, nil
		}
		return e.LoadConsumer(ctx, key.key, false)
	default:
		consumer, found, err = e.LoadConsumer(ctx, key.key, true)
		// Kong takes an id for a name as well; a claim may not reach so far.
		return consumer, found && consumer.Username == key.key, err
	}
}

// consumerOf says which consumer the callers of one issuer are.
type consumerOf struct {
	config   ConsumerConfig
	adminURL string
}

func newConsumerOf(c ConsumerConfig, adminURL string) (consumerOf, error) {
	if c.Mode == "" { // the record isn't there
		c.Mode, c.By = consumerOfCaller, byUsername
	}
	if len(c.From) == 0 {
		c.From = []string{"account"}
	}
	var problems []error
	for _, from := range c.From {
		if err := checkCallerValue(from); err != nil {
			problems = append(problems, fmt.Errorf("from: %w", err))
		}
	}
	if c.Mode == consumerOfKong && c.By == byCustomID && adminURL == "" {
		problems = append(problems, errors.New("by: custom_id needs consumers_admin_url, since Kong's plugins can't look for it"))
	}
	return consumerOf{c, adminURL}, errors.Join(problems...)
}

// standing is what Kong is told of a caller.
type standing struct {
	consumer   pluginserver.Consumer // none: its id is empty
	credential string
	headers    []pluginserver.Header
}

// find says as what a caller stands before Kong's own plugins.
func (o consumerOf) find(ctx context.Context, e *pluginserver.Event, known *consumers, c Caller) (standing, *Problem) {
	switch o.config.Mode {
	case consumerOfCaller:
		// A name that no consumer of Kong's can have by accident, and no
		// header: an upstream that trusts X-Consumer-Username means Kong's.
		return standing{consumer: pluginserver.Consumer{
			ID: stamp.CallerID(c.Identity).String(), Username: c.Identity.Issuer + "#" + c.Identity.Subject,
		}}, nil
	case consumerOfKong:
		return o.ofKong(ctx, e, known, c)
	default:
		return standing{}, nil
	}
}

func (o consumerOf) ofKong(ctx context.Context, e *pluginserver.Event, known *consumers, c Caller) (standing, *Problem) {
	var key string
	for _, from := range o.config.From {
		if values := callerValue(nil, c, from); len(values) == 1 {
			key = values[0]
			break
		}
	}
	var consumer pluginserver.Consumer
	var found bool
	if key != "" {
		var err error
		if consumer, found, err = known.find(ctx, e, consumerKey{o.config.By, key, o.adminURL}); err != nil {
			return standing{}, &Problem{Code: CodeConsumersUnavailable, Cause: err, RetryAfter: keysRetryAfter}
		}
	}
	switch {
	case found:
	case o.config.Optional:
		return standing{}, nil
	default:
		return standing{}, &Problem{Code: CodeConsumerUnknown, Cause: fmt.Errorf("no consumer with %s %q, for caller %q of %s",
			o.config.By, key, c.Identity.Subject, c.Identity.Issuer)}
	}
	s := standing{consumer: consumer, headers: consumerHeaders(consumer)}
	if !o.config.WithoutCredential {
		s.credential = stamp.CallerID(c.Identity).String()
		s.headers = append(s.headers, header("X-Credential-Identifier", encodeValue(c.Identity.Subject)))
	}
	return s, nil
}

// consumerHeaders are those of Kong's own authentication plugins.
func consumerHeaders(c pluginserver.Consumer) []pluginserver.Header {
	headers := []pluginserver.Header{header("X-Consumer-ID", c.ID)}
	if c.CustomID != "" {
		headers = append(headers, header("X-Consumer-Custom-ID", c.CustomID))
	}
	if c.Username != "" {
		headers = append(headers, header("X-Consumer-Username", c.Username))
	}
	return headers
}

// anonymous finds the consumer of requests without any token.
func (c *consumers) anonymous(ctx context.Context, e *pluginserver.Event, name string) (standing, *Problem) {
	key := consumerKey{by: byUsername, key: name}
	if uuid.Validate(name) == nil {
		key.by = byID
	}
	consumer, found, err := c.find(ctx, e, key)
	if err != nil {
		return standing{}, &Problem{Code: CodeConsumersUnavailable, Cause: err, RetryAfter: keysRetryAfter}
	}
	if !found {
		return standing{}, &Problem{Code: CodeConfigInvalid, Cause: fmt.Errorf("anonymous: Kong has no consumer %q", name)}
	}
	return standing{consumer: consumer, headers: append(consumerHeaders(consumer), header("X-Anonymous-Consumer", "true"))}, nil
}

// tell tells Kong.
func (s standing) tell(e *pluginserver.Event) {
	if s.consumer.ID != "" {
		e.Authenticate(s.consumer, s.credential)
	}
}
