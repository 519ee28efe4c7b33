package devgateway

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// pdkCall answers one call; an error is a Lua error: Kong closes the socket
// and answers 500.
type pdkCall func(x *exchange, args []byte) ([]byte, error)

// pdkCalls are the calls that are done here. A method that isn't among them
// fails like one that Kong doesn't have, with its name in the log.
var pdkCalls = map[string]pdkCall{
	"kong.request.get_headers":         getHeaders,
	"kong.request.get_header":          getHeader,
	"kong.request.get_method":          text(func(x *exchange) string { return x.method }),
	"kong.request.get_path":            text(func(x *exchange) string { return unescapeURI(x.path, false) }),
	"kong.request.get_path_with_query": text(func(x *exchange) string { return x.request.RequestURI }),
	"kong.request.get_raw_query":       text(func(x *exchange) string { return x.query }),
	"kong.request.get_query":           getQuery,
	"kong.request.get_host":            text(func(x *exchange) string { h, _ := splitHostPort(x.request.Host); return h }),
	"kong.request.get_scheme":          text(func(*exchange) string { return "http" }),
	"kong.request.get_raw_body":        getRawBody,
	"kong.request.get_uri_captures":    getURICaptures,
	"kong.client.get_ip":               text(func(x *exchange) string { return x.peer.Addr().String() }),
	"kong.client.get_forwarded_ip":     text(func(x *exchange) string { return x.peer.Addr().String() }),
	"kong.client.load_consumer":        loadConsumer,
	"kong.client.get_consumer":         func(x *exchange, _ []byte) ([]byte, error) { return encodeConsumer(x.consumer), nil },
	"kong.client.authenticate":         authenticate,
	"kong.ctx.shared.get":              getShared,
	"kong.ctx.shared.set":              setShared,
	"kong.nginx.get_var":               getVar,
	"kong.service.request.set_header":  named(func(x *exchange, name string, values []string) { x.headers.set(name, values...) }),
	"kong.service.request.set_headers": func(x *exchange, args []byte) ([]byte, error) { return nil, setTable(&x.headers, args) },
	"kong.service.request.add_header": named(func(x *exchange, name string, values []string) {
		for _, v := range values {
			x.headers.add(name, v)
		}
	}),
	"kong.service.request.clear_header": func(x *exchange, args []byte) ([]byte, error) {
		return nil, withString(args, func(name string) { x.headers.del(name) })
	},
	"kong.response.set_header": named(func(x *exchange, name string, values []string) { x.response.set(name, values...) }),
	"kong.response.exit":       exit,
	"kong.log.alert":           logAt("alert"),
	"kong.log.crit":            logAt("crit"),
	"kong.log.err":             logAt("error"),
	"kong.log.warn":            logAt("warn"),
	"kong.log.notice":          logAt("notice"),
	"kong.log.info":            logAt("info"),
	"kong.log.debug":           logAt("debug"),
}

// pdk answers a plugin's call.
func (x *exchange) pdk(method string, args []byte) ([]byte, error) {
	call := pdkCalls[method]
	if call == nil {
		return nil, fmt.Errorf("PDK method %q is not done here", method)
	}
	reply, err := call(x, args)
	if err != nil && x.answer == nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return reply, err
}

// text answers a String; an empty one is an empty frame, as an absent one is.
func text(get func(*exchange) string) pdkCall {
	return func(x *exchange, _ []byte) ([]byte, error) {
		if s := get(x); s != "" {
			return wrapString(s), nil
		}
		return nil, nil
	}
}

func withString(args []byte, do func(string)) error {
	m, err := parseMessage(args)
	if err == nil {
		do(m.str(1))
	}
	return err
}

func getHeaders(x *exchange, args []byte) ([]byte, error) {
	m, err := parseMessage(args)
	if err != nil {
		return nil, err
	}
	limit := 100
	if m.has(1) {
		limit = int(m.int(1))
	}
	if limit < 1 || limit > 1000 {
		return nil, fmt.Errorf("max_headers must be between 1 and 1000, is %d", limit)
	}
	return encodeStruct(x.headers.table(limit)), nil
}

// getHeader goes through nginx's variables, for which dash and underscore are
// the same; the first value counts.
func getHeader(x *exchange, args []byte) (reply []byte, err error) {
	err = withString(args, func(name string) {
		for _, h := range x.headers {
			if headerVar(h.name) == headerVar(name) {
				reply = wrapString(h.value)
				return
			}
		}
	})
	return reply, err
}

func getQuery(x *exchange, args []byte) ([]byte, error) {
	m, err := parseMessage(args)
	if err != nil {
		return nil, err
	}
	limit := int(m.int(1))
	if limit < 1 || limit > 1000 {
		return nil, fmt.Errorf("max_args must be between 1 and 1000, is %d", limit)
	}
	return encodeStruct(queryTable(x.query, limit)), nil
}

func getRawBody(x *exchange, _ []byte) ([]byte, error) {
	if err := x.readBody(); err != nil {
		return nil, err
	}
	if x.bodyFile != "" {
		return appendBytes(nil, 2, x.bodyFile), nil
	}
	return appendBytes(nil, 1, string(x.body)), nil
}

func getURICaptures(x *exchange, _ []byte) ([]byte, error) {
	var out []byte
	for _, c := range x.match.captures {
		out = appendBytes(out, 1, c)
	}
	for _, name := range sortedKeys(x.match.named) {
		entry := appendBytes(nil, 1, name)
		out = appendMessage(out, 2, appendBytes(entry, 2, x.match.named[name]))
	}
	return out, nil
}

func getVar(x *exchange, args []byte) (reply []byte, err error) {
	err = withString(args, func(name string) {
		value := ""
		switch name {
		case "kong_request_id", "request_id":
			value = x.requestID
		case "remote_addr":
			value = x.peer.Addr().String()
		case "remote_port":
			value = strconv.Itoa(int(x.peer.Port()))
		case "request_uri":
			value = x.request.RequestURI
		case "request_method":
			value = x.request.Method
		case "scheme":
			value = "http"
		case "host":
			value, _ = splitHostPort(x.request.Host)
		case "args":
			value = x.query
		}
		if value != "" {
			reply = wrapString(value)
		}
	})
	return reply, err
}

func getShared(x *exchange, args []byte) (reply []byte, err error) {
	err = withString(args, func(key string) { reply = encodeValue(x.shared[key]) })
	return reply, err
}

func setShared(x *exchange, args []byte) ([]byte, error) {
	key, value, err := keyValue(args)
	if value == false {
		value = nil // Kong loses it: "bool or string or ..." of its decoder
	}
	x.shared[key] = value
	return nil, err
}

// keyValue reads a KV.
func keyValue(args []byte) (key string, value any, err error) {
	m, err := parseMessage(args)
	if err != nil {
		return "", nil, err
	}
	if v, ok := m.last(2); ok {
		value, err = decodeValue(v.bytes)
	}
	return m.str(1), value, err
}

// headerValues is what a value becomes on the wire. nil and false are Lua
// errors; an empty list removes the header.
func headerValues(name string, value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		if v == "" {
			v = " "
		}
		return []string{escapeHeaderValue(v)}, nil
	case float64, bool:
		if v == false {
			break
		}
		return []string{luaText(v)}, nil
	case list:
		var values []string
		for _, item := range v {
			one, err := headerValues(name, item)
			if err != nil {
				return nil, err
			}
			values = append(values, one...)
		}
		return values, nil
	case dict:
		return nil, nil
	}
	return nil, fmt.Errorf("invalid value for %q: got %T", name, value)
}

// named reads a KV of a header's name and value and hands both on.
func named(change func(x *exchange, name string, values []string)) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, value, err := keyValue(args)
		if err != nil {
			return nil, err
		}
		values, err := headerValues(name, value)
		if err != nil {
			return nil, err
		}
		change(x, escapeHeaderName(name), values)
		return nil, nil
	}
}

// setTable sets the headers of a Struct.
func setTable(to *headers, args []byte) error {
	table, err := decodeStruct(args)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(table) {
		values, err := headerValues(name, table[name])
		if err != nil {
			return err
		}
		to.set(escapeHeaderName(name), values...)
	}
	return nil
}

// exit answers the request. Kong never replies to it: the connection closes.
func exit(x *exchange, args []byte) ([]byte, error) {
	m, err := parseMessage(args)
	if err != nil {
		return nil, err
	}
	a := &answer{status: int(m.int(1)), body: []byte(m.str(2))}
	if a.status < 100 || a.status > 599 {
		return nil, fmt.Errorf("code must be a number between 100 and 599, is %d", a.status)
	}
	if v, ok := m.last(3); ok {
		if err := setTable(&a.headers, v.bytes); err != nil {
			return nil, err
		}
	}
	a.headers.keepLast("WWW-Authenticate")
	x.answer = a
	return nil, errExited
}

func logAt(level string) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		values, err := decodeList(args)
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		for _, v := range values {
			b.WriteString(luaText(v))
		}
		x.gw.log.line(level, x.plugin, b.String()+", request_id: "+x.requestID)
		return nil, nil
	}
}

// Field numbers of kong_plugin_protocol.Consumer.
const (
	consumerID       protowire.Number = 1
	consumerUsername protowire.Number = 3
	consumerCustomID protowire.Number = 4
)

func encodeConsumer(c *Consumer) []byte {
	if c == nil {
		return nil
	}
	b := appendBytes(nil, consumerID, c.ID)
	b = appendBytes(b, consumerUsername, c.Username)
	if c.CustomID != "" {
		b = appendBytes(b, consumerCustomID, c.CustomID)
	}
	return b
}

func loadConsumer(x *exchange, args []byte) ([]byte, error) {
	m, err := parseMessage(args)
	if err != nil {
		return nil, err
	}
	for _, c := range x.conf.consumers {
		if c.ID == m.str(1) || m.int(2) != 0 && c.Username == m.str(1) {
			return encodeConsumer(c), nil
		}
	}
	return nil, nil
}

// authenticate believes what it is told, as Kong does; it sets no headers.
func authenticate(x *exchange, args []byte) ([]byte, error) {
	m, err := parseMessage(args)
	if err != nil {
		return nil, err
	}
	if !m.has(1) && !m.has(2) {
		return nil, fmt.Errorf("either credential or consumer must be provided")
	}
	if v, ok := m.last(1); ok {
		c, err := parseMessage(v.bytes)
		if err != nil {
			return nil, err
		}
		x.consumer = &Consumer{ID: c.str(consumerID), Username: c.str(consumerUsername), CustomID: c.str(consumerCustomID)}
	}
	return nil, nil
}
