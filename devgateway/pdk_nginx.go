package devgateway

import (
	"os"
	"strconv"
	"strings"
	"time"
)

var pid = os.Getpid()

var nginxMethods = map[string]pdkMethod{
	"kong.nginx.get_var": {inRequest, func(x *exchange, a message, _ []byte) ([]byte, error) {
		return wrapString(x.nginxVar(strings.ToLower(a.str(1)))), nil
	}},
	"kong.nginx.get_tls1_version_str": {inRequest, text(func(*exchange) string { return "" })},
	"kong.nginx.get_subsystem":        {everywhere, text(func(*exchange) string { return "http" })},
	"kong.nginx.req_start_time": {everywhere, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		return wrapNumber(floatSeconds(x.start.UnixMilli())), nil
	}},
	"kong.nginx.set_ctx": {everywhere, func(x *exchange, a message, _ []byte) ([]byte, error) {
		k, v, err := kv(a)
		if err != nil {
			return nil, err
		}
		if v == nil {
			delete(x.ngxCtx, k)
		} else {
			x.ngxCtx[k] = v
		}
		return nil, nil
	}},
	"kong.nginx.get_ctx": {everywhere, func(x *exchange, a message, _ []byte) ([]byte, error) {
		return encodeValue(x.ctxValue(a.str(1))), nil
	}},
}

// ctxValue is ngx.ctx[k], as far as Kong's own entries are known here.
func (x *exchange) ctxValue(k string) any {
	switch {
	case k == "authenticated_consumer" && x.consumer != nil:
		return x.consumer
	case k == "authenticated_credential" && x.credential != nil:
		return x.credential
	}
	return x.ngxCtx[k]
}

// nginxVar is ngx.var[name]; an unknown one is nil, so empty.
func (x *exchange) nginxVar(name string) string {
	switch {
	case strings.HasPrefix(name, "http_"):
		v, _ := x.headerVar(name[len("http_"):])
		return v
	case strings.HasPrefix(name, "arg_"):
		for part := range strings.SplitSeq(x.args, "&") {
			if k, v, _ := strings.Cut(part, "="); strings.EqualFold(k, name[4:]) {
				return v
			}
		}
		return ""
	case strings.HasPrefix(name, "upstream_"):
		return x.upstreamVar(name)
	}
	if f := nginxVars[name]; f != nil {
		return f(x)
	}
	return ""
}

func (x *exchange) upstreamVar(name string) string {
	u := &x.upstream
	return map[string]string{
		"upstream_uri": u.uri, "upstream_scheme": u.scheme, "upstream_host": u.host, "upstream_via": u.via,
		"upstream_connection": u.connection, "upstream_upgrade": u.upgrade, "upstream_te": u.te,
		"upstream_x_forwarded_for": u.forwardedFor, "upstream_x_forwarded_proto": u.forwardedProto,
		"upstream_x_forwarded_host": u.forwardedHost, "upstream_x_forwarded_port": u.forwardedPort,
		"upstream_x_forwarded_path": u.forwardedPath, "upstream_x_forwarded_prefix": u.forwardedPref,
	}[name]
}

var nginxVars = map[string]func(*exchange) string{
	"kong_request_id":     func(x *exchange) string { return x.requestID },
	"request_id":          func(x *exchange) string { return x.nginxID },
	"remote_addr":         func(x *exchange) string { return x.remote.String() },
	"remote_port":         func(x *exchange) string { return intOrEmpty(x.realPort) },
	"realip_remote_addr":  func(x *exchange) string { return x.peer.Addr().String() },
	"realip_remote_port":  func(x *exchange) string { return strconv.Itoa(int(x.peer.Port())) },
	"request_uri":         func(x *exchange) string { return x.head.target },
	"uri":                 func(x *exchange) string { return x.uri },
	"document_uri":        func(x *exchange) string { return x.uri },
	"args":                func(x *exchange) string { return x.args },
	"query_string":        func(x *exchange) string { return x.args },
	"is_args":             func(x *exchange) string { return map[bool]string{true: "?"}[x.args != ""] },
	"host":                func(x *exchange) string { return x.host },
	"scheme":              func(*exchange) string { return "http" },
	"server_port":         func(x *exchange) string { return strconv.Itoa(x.gw.proxyPort()) },
	"server_name":         func(*exchange) string { return "kong" },
	"server_protocol":     func(x *exchange) string { return "HTTP/" + x.head.version },
	"request_method":      func(x *exchange) string { return x.method },
	"request":             func(x *exchange) string { return x.head.line },
	"request_length":      func(x *exchange) string { return strconv.Itoa(x.head.bytes) },
	"content_type":        func(x *exchange) string { return firstOf(x.headers.first("Content-Type")) },
	"content_length":      func(x *exchange) string { return firstOf(x.headers.first("Content-Length")) },
	"connection":          func(x *exchange) string { return strconv.FormatInt(x.conn.id, 10) },
	"connection_requests": func(x *exchange) string { return strconv.Itoa(x.conn.requests) },
	"msec":                func(*exchange) string { return seconds(time.Now().UnixMilli()) },
	"request_time":        func(x *exchange) string { return seconds(time.Since(x.start).Milliseconds()) },
	"time_iso8601":        func(*exchange) string { return time.Now().Format(time.RFC3339) },
	"kong_proxy_mode":     func(*exchange) string { return "http" },
	"pid":                 func(*exchange) string { return strconv.Itoa(pid) },
}

func intOrEmpty(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func seconds(ms int64) string { return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64) }
