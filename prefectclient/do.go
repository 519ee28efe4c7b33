package prefectclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// maxRefusalBytes limits what is read of an answer that refuses. A 422 echoes
// the request; its first part is enough.
const maxRefusalBytes = 64 << 10

// operation is one method's request, which may be sent several times.
type operation struct {
	name   string // for errors and logs, such as "create flow run"
	method string
	path   string // below the API's address, escaped
	header http.Header
	body   []byte
	// notFound is the reason of a 404 that Prefect itself gave.
	notFound string
	// decode reads a success's body; its error makes the answer invalid.
	decode func(body []byte) error
	// effect: the request changes something, so that a lost answer matters.
	effect bool

	switched bool // the credential was switched in this operation
}

// answer is a success.
type answer struct {
	status int
	// afterLoss: an earlier attempt of the same call may have had the effect.
	afterLoss bool
}

// attempt sends the operation once, and once more where the server refused
// the credential and there is another one.
func (c *Client) attempt(ctx context.Context, op *operation) (_ answer, failed *failure) {
	if c.withholds(op) {
		return answer{}, &failure{notSent: true, Error: &Error{Op: op.name, Reason: ReasonWithheld}}
	}
	defer func() { c.standing.judge(ctx, failed) }()
	for {
		authorization, f := c.authorization(ctx, op)
		if f != nil {
			return answer{}, f
		}
		got, f := c.send(ctx, op, authorization)
		if f == nil || f.Status != http.StatusUnauthorized || authorization == "" || op.switched ||
			!c.options.Credentials.Rejected(ctx, authorization) {
			return got, f
		}
		op.switched = true
		c.switched(op.name, authorization)
	}
}

// switched says that the server refused a credential, and that there is
// another one: once, however many requests had the refused one with them.
func (c *Client) switched(name, refused string) {
	if !c.refused.isNew(refused) {
		return
	}
	c.log.Warn("prefect refused the credential, trying the other one", "op", name)
	c.emit(Event{Kind: EventCredentialSwitched})
}

func (c *Client) authorization(ctx context.Context, op *operation) (string, *failure) {
	if c.options.Credentials == nil {
		return "", nil
	}
	value, err := c.options.Credentials.Authorization(ctx)
	if err != nil {
		return "", &failure{notSent: true, Error: &Error{Op: op.name, Reason: ReasonCredentialUnavailable, cause: err}}
	}
	return value, nil
}

// send is one request and its whole answer.
func (c *Client) send(ctx context.Context, op *operation, authorization string) (answer, *failure) {
	attemptCtx, cancel := context.WithTimeout(ctx, c.options.AttemptTimeout)
	defer cancel()
	var seen connection
	request, err := c.newRequest(httptrace.WithClientTrace(attemptCtx, seen.trace()), op, authorization)
	if err != nil {
		return answer{}, &failure{notSent: true, Error: &Error{Op: op.name, Reason: ReasonRequestInvalid, cause: err}}
	}
	began, status := time.Now(), 0
	defer func() { c.sent(ctx, op.name, status, began) }()
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, c.lost(ctx, op, &seen, time.Since(began), withoutURL(err))
	}
	defer func() { _ = response.Body.Close() }()
	status = response.StatusCode

	success := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusCreated
	limit := c.readLimit(response, success)
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case !success:
		f := refusal(op, response.StatusCode, response.Header, body)
		f.maybeDone, f.inFlight = f.maybeDone && op.effect, f.inFlight && op.effect
		return answer{}, f
	case err != nil:
		f := c.lost(ctx, op, &seen, time.Since(began), err)
		f.Status = response.StatusCode
		return answer{}, f
	case int64(len(body)) > limit:
		return answer{}, invalid(op, response.StatusCode, fmt.Errorf("larger than %d bytes", limit))
	}
	if err := op.decode(body); err != nil {
		return answer{}, invalid(op, response.StatusCode, err)
	}
	return answer{status: response.StatusCode}, nil
}

// readLimit bounds what is read of an answer. Of a server error the last byte
// is left unread, so that net/http gives the connection up: Prefect closes it
// after a 503 without saying so, and the next request on it would be reset,
// with nobody knowing whether it was carried out.
func (c *Client) readLimit(response *http.Response, success bool) int64 {
	switch {
	case success:
		return c.options.MaxResponseBytes
	case response.StatusCode >= 500 && response.ContentLength > 1:
		return min(response.ContentLength-2, maxRefusalBytes) // send reads one more
	}
	return maxRefusalBytes
}

func (c *Client) newRequest(ctx context.Context, op *operation, authorization string) (*http.Request, error) {
	address := strings.TrimRight(c.base.String(), "/") + op.path
	var body io.Reader
	if op.body != nil {
		body = bytes.NewReader(op.body)
	}
	request, err := http.NewRequestWithContext(ctx, op.method, address, body)
	if err != nil {
		return nil, err
	}
	for name, values := range op.header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.options.UserAgent)
	if op.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	return request, nil
}

// connection is what became of an attempt's connection. The transport's own
// goroutine notes it, also when the attempt has been given up.
type connection struct {
	got, reused, answered atomic.Bool
}

func (s *connection) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { s.reused.Store(info.Reused); s.got.Store(true) },
		GotFirstResponseByte: func() { s.answered.Store(true) },
	}
}

// lost is a request that got no answer, or half of one. Before there was a
// connection nothing can have happened; after it everything can.
func (c *Client) lost(ctx context.Context, op *operation, seen *connection, took time.Duration, cause error) *failure {
	f := &failure{
		Error:     &Error{Op: op.name, Reason: ReasonUnavailable, cause: cause},
		retry:     true,
		maybeDone: op.effect && seen.got.Load(),
		inFlight:  op.effect && seen.got.Load(),
		away:      true,
	}
	var timeout interface{ Timeout() bool }
	timedOut := errors.As(cause, &timeout) && timeout.Timeout()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		f.Reason, f.retry, f.away = ReasonCanceled, false, false
		f.cause = context.Cause(ctx)
	case ctx.Err() != nil:
		// The call's time ran out, which may be less than a server needs. A
		// read has no more than one attempt may take (ReadDeadline): it counts
		// where the attempt had nearly all of that.
		f.away, f.retry = took >= c.options.AttemptTimeout*9/10, false
	case seen.reused.Load() && !seen.answered.Load() && !timedOut:
		// A Prefect server closes the connection after a 503 without saying
		// so, and idle ones after five seconds.
		f.stale, f.away = true, false
	}
	return f
}

// invalid is a success whose body can't be read: the effect is there.
func invalid(op *operation, status int, cause error) *failure {
	return &failure{
		Error: &Error{Op: op.name, Reason: ReasonResponseInvalid, Status: status, cause: cause},
		retry: op.effect, maybeDone: op.effect, inFlight: op.effect,
	}
}

// withoutURL drops the address, which holds the flow's and deployment's name
// and would double what the error says.
func withoutURL(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		return inURL.Err
	}
	return err
}

// pause waits, and returns false if the context ends first or would.
func pause(ctx context.Context, wait time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
