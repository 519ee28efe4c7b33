package devgateway

import (
	"strconv"
	"strings"
)

// defaultHeaderLimit is how many headers ngx.req.get_headers reads unless told.
const defaultHeaderLimit = 100

var requestMethods = map[string]pdkMethod{
	"kong.request.get_scheme":           {inRequest, text(func(*exchange) string { return "http" })},
	"kong.request.get_host":             {inRequest, text(func(x *exchange) string { return x.host })},
	"kong.request.get_port":             {inRequest, number(func(x *exchange) int { return x.gw.proxyPort() })},
	"kong.request.get_forwarded_scheme": {inRequest, text((*exchange).forwardedScheme)},
	"kong.request.get_forwarded_host":   {inRequest, text((*exchange).forwardedHost)},
	"kong.request.get_forwarded_port":   {inRequest, number((*exchange).forwardedPort)},
	"kong.request.get_http_version": {inRequest, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		v, err := strconv.ParseFloat(x.head.version, 64)
		return wrapNumber(v), err
	}},
	"kong.request.get_method":          {inRequest, text(func(x *exchange) string { return x.method })},
	"kong.request.get_path":            {inRequest, text(func(x *exchange) string { return normalizePath(x.rawPath) })},
	"kong.request.get_path_with_query": {inRequest, text(func(x *exchange) string { return x.head.target })},
	"kong.request.get_raw_query":       {inRequest, text(func(x *exchange) string { return x.args })},
	"kong.request.get_query_arg":       {inRequest, getQueryArg},
	"kong.request.get_query": {inRequest, func(x *exchange, a message, _ []byte) ([]byte, error) {
		n := int32Arg(a)
		if err := checkMax(n); err != nil {
			return nil, err
		}
		return encodeStruct(queryTable(x.args, n)), nil
	}},
	"kong.request.get_header": {everywhere, func(x *exchange, a message, _ []byte) ([]byte, error) {
		if x.phase == phaseLog {
			return wrapString(tableLookup(x.headers.table(100), a.str(1))), nil
		}
		return wrapString(x.getHeader(a.str(1))), nil
	}},
	"kong.request.get_headers": {everywhere, func(x *exchange, a message, _ []byte) ([]byte, error) {
		n := int32Arg(a)
		if x.phase == phaseLog {
			return encodeStruct(x.headers.table(100)), nil
		}
		if err := checkMax(n); err != nil {
			return nil, err
		}
		return encodeStruct(x.headers.table(n)), nil
	}},
	"kong.request.get_raw_body":     {inRequest, getRawBody},
	"kong.request.get_uri_captures": {everywhere, getURICaptures},
}

// getHeader is Kong's get_header: through nginx's variable, so that dashes and
// underscores are the same; of several values, the first.
func (x *exchange) getHeader(name string) string {
	v, ok := x.headerVar(name)
	if !ok || !strings.Contains(v, ", ") {
		return v
	}
	return tableLookup(x.headers.table(100), name)
}

// tableLookup is a read from the table of ngx.req.get_headers: the name as it
// is, then in lower case with dashes.
func tableLookup(d dict, name string) string {
	v, ok := d[name]
	if !ok {
		v = d[strings.ReplaceAll(strings.ToLower(name), "_", "-")]
	}
	if l, isList := v.(list); isList {
		v = l[0]
	}
	s, _ := v.(string)
	return s
}

// getQueryArg fails for a bare flag: Kong can't encode its true as a string.
func getQueryArg(x *exchange, a message, _ []byte) ([]byte, error) {
	v := queryTable(x.args, 100)[a.str(1)]
	if l, ok := v.(list); ok {
		v = l[0]
	}
	switch s := v.(type) {
	case string:
		return wrapString(s), nil
	case nil:
		return nil, nil
	}
	return nil, raise("bad argument to encode: string expected for field 'v', got boolean")
}

func getRawBody(x *exchange, _ message, _ []byte) ([]byte, error) {
	if err := x.body.load(); err != nil {
		return nil, raise("%s", err)
	}
	if x.body.file != "" {
		return appendBytes(nil, 2, x.body.file), nil
	}
	return appendMessage(nil, 1, x.body.data), nil
}

func getURICaptures(x *exchange, _ message, _ []byte) ([]byte, error) {
	if x.match == nil {
		return nil, nil
	}
	var b []byte
	for _, c := range x.match.captures {
		b = appendBytes(b, 1, c)
	}
	for _, k := range sortedKeys(x.match.named) {
		b = appendMessage(b, 2, appendBytes(appendBytes(nil, 1, k), 2, x.match.named[k]))
	}
	return b, nil
}

func (x *exchange) trustedPeer() bool { return x.trusted(x.peer.Addr()) }

func (x *exchange) forwardedScheme() string {
	if x.trustedPeer() {
		if v := x.getHeader("X-Forwarded-Proto"); v != "" {
			return strings.ToLower(v)
		}
	}
	return "http"
}

func (x *exchange) forwardedHost() string {
	if x.trustedPeer() {
		if v := x.getHeader("X-Forwarded-Host"); v != "" {
			if _, after, ok := strings.Cut(v, "@"); ok {
				v = after
			}
			v, _, _ = strings.Cut(v, ":")
			return strings.ToLower(v)
		}
	}
	return x.host
}

func (x *exchange) forwardedPort() int {
	valid := func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= 1 && n <= 65535
	}
	if x.trustedPeer() {
		if n, ok := valid(x.getHeader("X-Forwarded-Port")); ok {
			return n
		}
		host := x.getHeader("X-Forwarded-Host")
		if _, after, ok := strings.Cut(host, "@"); ok {
			host = after
		}
		if _, port, ok := strings.Cut(host, ":"); ok {
			if n, ok := valid(port); ok {
				return n
			}
		}
	}
	return x.gw.proxyPort()
}
