package devgateway

import (
	"slices"
	"strconv"
	"strings"
)

var serviceMethods = map[string]pdkMethod{
	"kong.service.set_upstream": {inAccess, func(x *exchange, a message, _ []byte) ([]byte, error) {
		name := a.str(1)
		if x.conf.upstreamByName(name) == nil {
			return nil, nil // nil and an error that the protocol loses
		}
		x.balancer.host = name
		return wrapBool(true), nil
	}},
	"kong.service.set_target": {inRewrite | inAccess, void(func(x *exchange, a message) error {
		port := int(int32(a.int(2)))
		if port < 0 || port > 65535 {
			return raise("port must be an integer between 0 and 65535: given %d", port)
		}
		if x.service == nil && x.phase == phaseAccess && x.balancer.host == "" && x.route == nil {
			return raise("attempt to index field 'balancer_data' (a nil value)")
		}
		x.upstream.host = a.str(1)
		x.balancer.host, x.balancer.port = a.str(1), port
		return nil
	})},
}

var acceptedMethods = []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE", "PROPFIND",
	"PROPPATCH", "LOCK", "UNLOCK", "PATCH", "TRACE"}

const inEdit = inRewrite | inAccess

var serviceRequestMethods = map[string]pdkMethod{
	"kong.service.request.set_scheme": {inEdit, void(func(x *exchange, a message) error {
		s := a.str(1)
		if s != "http" && s != "https" {
			return raise("invalid scheme: %s", s)
		}
		x.upstream.scheme = s
		return nil
	})},
	"kong.service.request.set_path": {inEdit, void(func(x *exchange, a message) error {
		if !strings.HasPrefix(a.str(1), "/") {
			return raise("path must start with /")
		}
		x.upstream.uri = escapePath(a.str(1))
		return nil
	})},
	"kong.service.request.set_raw_query": {inEdit, void(func(x *exchange, a message) error {
		x.args = strings.ReplaceAll(a.str(1), " ", "%20")
		return nil
	})},
	"kong.service.request.set_query": {inEdit, func(x *exchange, _ message, raw []byte) ([]byte, error) {
		d, err := decodeStruct(raw)
		if err != nil {
			return nil, raise("malformed arguments")
		}
		if x.args, err = encodeQuery(d); err != nil {
			return nil, raise("%s", err)
		}
		return nil, nil
	}},
	"kong.service.request.set_method": {inEdit, void(func(x *exchange, a message) error {
		if !slices.Contains(acceptedMethods, a.str(1)) {
			return raise("invalid method: %s", a.str(1))
		}
		x.method = a.str(1)
		return nil
	})},
	"kong.service.request.set_header": {inEdit, void(func(x *exchange, a message) error {
		k, v, err := kv(a)
		if err != nil {
			return err
		}
		return x.setRequestHeader(k, v)
	})},
	"kong.service.request.set_headers": {inEdit, setRequestHeaders},
	"kong.service.request.add_header":  {inEdit, void(addRequestHeader)},
	"kong.service.request.clear_header": {inEdit, void(func(x *exchange, a message) error {
		x.headers.del(a.str(1))
		return nil
	})},
	"kong.service.request.set_raw_body": {inEdit, void(func(x *exchange, a message) error {
		if err := x.body.load(); err != nil {
			return raise("%s", err)
		}
		x.setBody([]byte(a.str(1)))
		return nil
	})},
}

func (x *exchange) setBody(b []byte) {
	x.body.replace(b)
	x.upstream.length = int64(len(b))
	x.headers.del("Transfer-Encoding")
	x.headers.set("Content-Length", strconv.Itoa(len(b)))
}

func (x *exchange) setRequestHeader(name string, v any) error {
	values, err := headerValues(name, v)
	if err != nil {
		return err
	}
	if strings.EqualFold(name, "host") {
		if len(values) > 0 {
			x.upstream.host = escapeHeaderValue(values[0])
		}
	}
	x.putHeader(name, values)
	return nil
}

// putHeader is ngx.req.set_header. A Content-Length set so is believed: the
// body is cut to it, or the service waits for more.
func (x *exchange) putHeader(name string, values []string) {
	for i := range values {
		values[i] = escapeHeaderValue(values[i])
	}
	x.headers.set(escapeHeaderName(name), values...)
	if strings.EqualFold(name, "content-length") && len(values) > 0 {
		if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && n >= 0 {
			x.upstream.length = n
			x.body.limit(n)
		}
	}
}

// setRequestHeaders checks all before it sets any.
func setRequestHeaders(x *exchange, _ message, raw []byte) ([]byte, error) {
	d, err := decodeStruct(raw)
	if err != nil {
		return nil, raise("malformed arguments")
	}
	for k, v := range d {
		if _, err := headerValues(k, v); err != nil {
			return nil, err
		}
	}
	for _, k := range sortedKeys(d) {
		if err := x.setRequestHeader(k, d[k]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// addRequestHeader: a list ends up as one value, the text of a Lua table.
func addRequestHeader(x *exchange, a message) error {
	k, v, err := kv(a)
	if err != nil {
		return err
	}
	values, err := headerValues(k, v)
	if err != nil {
		return err
	}
	switch v.(type) {
	case list, dict:
		values = []string{"table: 0x" + x.requestID[:12]}
	}
	if strings.EqualFold(k, "host") && len(values) > 0 {
		x.upstream.host = escapeHeaderValue(values[0])
		x.headers.set(k, escapeHeaderValue(values[0]))
		return nil
	}
	x.putHeader(k, append(x.headers.values(k), values...))
	return nil
}

var serviceResponseMethods = map[string]pdkMethod{
	"kong.service.response.get_status": {inResponse, number(func(x *exchange) int { return x.upStatus })},
	// Kong's table of buffered headers has nothing to iterate over.
	"kong.service.response.get_headers": {inResponse, func(_ *exchange, a message, _ []byte) ([]byte, error) {
		return nil, checkMax(int32Arg(a))
	}},
	"kong.service.response.get_header": {inResponse, func(x *exchange, a message, _ []byte) ([]byte, error) {
		for _, l := range x.buffered.headers {
			if headerVar(l.name) == headerVar(a.str(1)) {
				return wrapString(l.value), nil
			}
		}
		return nil, nil
	}},
	"kong.service.response.get_raw_body": {inResponse, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		return wrapString(string(x.buffered.body)), nil
	}},
}
