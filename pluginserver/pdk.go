package pluginserver

import (
	"context"
	"errors"
	"strings"
)

// Header is a header's name and its values in their order.
type Header struct {
	Name   string
	Values []string
}

// RawBody is a request's body: its bytes, or the path of nginx's temporary
// file when it was longer than nginx keeps in memory. Both empty: no body.
type RawBody struct {
	Content  []byte
	FilePath string
}

// MaxHeaders is the most header lines Kong tells of; it cuts the rest
// silently. A request with as many is refused by who must see them all.
const MaxHeaders = 1000

// ReadHeaders asks for the request's headers: names in lower case, with
// underscores as the client sent them.
// Source: kong.request.get_headers.
func ReadHeaders() Read {
	return newRead("kong.request.get_headers", "", appendIntField(nil, 1, MaxHeaders))
}

// ReadMethod asks for the request's method.
func ReadMethod() Read { return newRead("kong.request.get_method", "", nil) }

// ReadPath asks for the request's path: percent-decoded, dots resolved.
func ReadPath() Read { return newRead("kong.request.get_path", "", nil) }

// ReadRawBody asks for the request's body.
func ReadRawBody() Read { return newRead("kong.request.get_raw_body", "", nil) }

// ReadRawQuery asks for the request's query as the client sent it.
func ReadRawQuery() Read { return newRead("kong.request.get_raw_query", "", nil) }

// ReadVar asks for an nginx variable, for instance kong_request_id.
func ReadVar(name string) Read { return newNamedRead(methodVar, name) }

// ReadShared asks for a string in kong.ctx.shared, where plugins of one
// request leave things for each other and no client can write.
func ReadShared(key string) Read { return newNamedRead(methodShared, key) }

const (
	methodVar    = "kong.nginx.get_var"
	methodShared = "kong.ctx.shared.get"
)

// The reads without an argument are encoded once for the process.
var (
	readHeaders = ReadHeaders()
	readMethod  = ReadMethod()
	readPath    = ReadPath()
	readRawBody = ReadRawBody()
	readQuery   = ReadRawQuery()
)

// Headers gives the request's headers. Values are as the client sent them,
// which may be invalid UTF-8.
func (e *Event) Headers(ctx context.Context) ([]Header, error) {
	data, err := e.answer(ctx, readHeaders)
	if err != nil {
		return nil, err
	}
	return decodeHeaders(data)
}

// Method gives the request's method.
func (e *Event) Method(ctx context.Context) (string, error) { return e.text(ctx, readMethod) }

// Path gives the request's path, percent-decoded.
func (e *Event) Path(ctx context.Context) (string, error) { return e.text(ctx, readPath) }

// RawQuery gives the request's query as the client sent it, without the
// question mark.
func (e *Event) RawQuery(ctx context.Context) (string, error) { return e.text(ctx, readQuery) }

// Var gives an nginx variable, empty when there is none.
func (e *Event) Var(ctx context.Context, name string) (string, error) {
	data, err := e.answerNamed(ctx, methodVar, name)
	if err != nil {
		return "", err
	}
	return decodeString(data)
}

func (e *Event) text(ctx context.Context, r Read) (string, error) {
	data, err := e.answer(ctx, r)
	if err != nil {
		return "", err
	}
	return decodeString(data)
}

// Shared gives a string in kong.ctx.shared; ok is false when there is none.
func (e *Event) Shared(ctx context.Context, key string) (s string, ok bool, err error) {
	data, err := e.answerNamed(ctx, methodShared, key)
	if err != nil {
		return "", false, err
	}
	return decodeStringValue(data)
}

// RawBody gives the request's body. Content is valid during the event.
func (e *Event) RawBody(ctx context.Context) (RawBody, error) {
	data, err := e.answer(ctx, readRawBody)
	if err != nil {
		return RawBody{}, err
	}
	return decodeRawBody(data)
}

// Consumer is one of Kong's consumers.
type Consumer struct{ ID, Username, CustomID string }

// LoadConsumer finds a consumer of Kong's, by its id, which must be a UUID (Kong
// fails the request otherwise), or by its user name; ok is false when there is
// none. Kong never looks at custom_id.
// Source: kong.client.load_consumer.
func (e *Event) LoadConsumer(ctx context.Context, key string, byUsername bool) (c Consumer, ok bool, err error) {
	if err := checkText("a consumer's key", key); err != nil {
		return Consumer{}, false, err
	}
	data, err := e.answer(ctx, newRead("kong.client.load_consumer", key, appendConsumerSpec(nil, key, byUsername)))
	if err != nil {
		return Consumer{}, false, err
	}
	c, err = decodeConsumer(data)
	return c, c.ID != "", err
}

// Authenticate makes a consumer the request's, as Kong's own authentication
// plugins do, so that acl and rate-limiting work by it. Kong doesn't ask
// whether it exists, and sets no headers. Without a credential's id the acl
// plugin looks at authenticated_groups, with one at the consumer's own groups.
// Source: kong.client.authenticate.
func (e *Event) Authenticate(c Consumer, credentialID string) {
	e.queue("kong.client.authenticate", checkText("a consumer", c.ID, c.Username, c.CustomID, credentialID), func(b []byte) []byte { return appendAuthenticate(b, c, credentialID) })
}

// SetHeaders sets headers of the request to the upstream, in place of those
// of the same spelling that the client sent. A header without a value is
// removed.
func (e *Event) SetHeaders(headers []Header) {
	if len(headers) == 0 {
		return
	}
	e.queue("kong.service.request.set_headers", checkHeaders(headers), func(b []byte) []byte { return appendHeaders(b, headers) })
}

// ClearHeader removes a header of the request in this one spelling: Kong keeps
// x_name when x-name is removed.
func (e *Event) ClearHeader(name string) {
	e.queue("kong.service.request.clear_header", checkText("a header's name", name), func(b []byte) []byte { return appendStringField(b, 1, name) })
}

// SetRawBody replaces the body of the request to the upstream; Kong sets its
// length. The Content-Type stays the client's.
func (e *Event) SetRawBody(body []byte) {
	e.queue("kong.service.request.set_raw_body", checkText("a body", string(body)), func(b []byte) []byte { return appendStringField(b, 1, string(body)) })
}

// SetShared leaves a string in kong.ctx.shared for the plugins that follow.
func (e *Event) SetShared(key, value string) {
	e.queue("kong.ctx.shared.set", checkText("a shared value", key, value), func(b []byte) []byte { return appendKV(b, key, value) })
}

// SetSharedList leaves a list of strings in kong.ctx.shared, as Kong's acl
// plugin wants authenticated_groups.
func (e *Event) SetSharedList(key string, values []string) {
	e.queue("kong.ctx.shared.set", errors.Join(checkText("a shared key", key), checkText("a shared value", values...)), func(b []byte) []byte { return appendKVList(b, key, values) })
}

// Levels of Kong's log, by nginx's names.
const (
	LevelErr    = "err"
	LevelWarn   = "warn"
	LevelNotice = "notice"
	LevelInfo   = "info"
)

// Log writes a line into Kong's log at one of the levels above. Kong's default
// level shows notice and what is graver. Bytes that are not UTF-8 are
// replaced: a line in a log is no reason to refuse a request.
func (e *Event) Log(level, line string) {
	line = strings.ToValidUTF8(line, "\uFFFD")
	e.queue("kong.log."+level, nil, func(b []byte) []byte {
		return appendMessage(b, 1, func(b []byte) []byte { return appendStringValue(b, line) })
	})
}

// Exit answers the request in place of the upstream. Calls after it do
// nothing. WWW-Authenticate takes one value: Kong sends only the last of a
// list.
func (e *Event) Exit(status int, body []byte, headers []Header) {
	e.exit(Answer{Status: status, Body: body, Headers: headers})
}
