package devgateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const kongVersion = "kong/3.9.3"

// responseState is nginx's headers_out as plugins see it through ngx.header.
type responseState struct {
	status  int
	headers headers
}

// singleHeaders are the response headers nginx keeps once: of a list only the
// last value is sent.
var singleHeaders = []string{"Content-Type", "Content-Length", "WWW-Authenticate", "Server", "Date", "Location",
	"Refresh", "Last-Modified", "Content-Range", "Content-Encoding", "Accept-Ranges", "Expires", "ETag", "E-Tag"}

// setHeader is ngx.header[name] = values: underscores become dashes.
func (r *responseState) setHeader(name string, values ...string) {
	name = strings.ReplaceAll(name, "_", "-")
	if len(values) > 1 && slices.ContainsFunc(singleHeaders, func(s string) bool { return strings.EqualFold(s, name) }) {
		values = values[len(values)-1:]
	}
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = escapeHeaderValue(v)
	}
	if len(values) > 1 {
		r.headers.del(name)
	}
	r.headers.set(escapeHeaderName(name), escaped...)
}

func (r *responseState) addHeader(name, value string) {
	name = strings.ReplaceAll(name, "_", "-")
	r.headers.add(escapeHeaderName(name), escapeHeaderValue(value))
}

func (r *responseState) clearHeader(name string) {
	r.headers.del(strings.ReplaceAll(name, "_", "-"))
}

// errorAnswer is kong.response.error: Kong's template in the type the client
// accepts.
func (x *exchange) errorAnswer(status int, message string, hs headers) {
	if message == "" {
		message = errorMessage(status)
	}
	mime := responseType(x.headers.values("Accept"))
	x.exitWith(&answer{
		status:  status,
		body:    []byte(errorBody(mime, message, x.requestID)),
		headers: append(slices.Clone(hs), header{"Content-Type", mime}),
	})
}

// exitWith takes an answer. The first one counts, as with Kong's delayed
// responses.
func (x *exchange) exitWith(a *answer) {
	x.exited = true
	if x.answer == nil {
		x.answer = a
	}
}

// crash is a Lua error in a plugin: 500.
func (x *exchange) crash() {
	if x.phase == phaseLog {
		return
	}
	x.unexpected = true
	if x.answer == nil || x.phase == phaseResponse {
		x.answer = nil
		x.errorAnswer(500, "An unexpected error occurred", nil)
		x.exited = false
	}
}

// nginxError is Kong's handler for errors nginx itself found: the type is the
// Accept header's, or the request's own, or plain text.
func (x *exchange) nginxError(status int) *answer {
	accept := x.headers.values("Accept")
	if accept == nil {
		accept = x.headers.values("Content-Type")
	}
	if accept == nil {
		accept = []string{"text/plain"}
	}
	mime := responseType(accept)
	message := errorMessage(status)
	if status == 494 {
		status = 400
	}
	x.unexpected = true
	return &answer{status: status, body: []byte(errorBody(mime, message, x.requestID)),
		headers: headers{{"Content-Type", mime}}}
}

// jsonAnswer is kong.response.exit with a table as body.
func (x *exchange) jsonAnswer(status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		x.crash()
		return
	}
	x.exitWith(&answer{status: status, body: raw, headers: headers{{"Content-Type", mimeJSON}}})
}

// applyAnswer puts an answer's headers and length over what plugins set.
func (x *exchange) applyAnswer(a *answer) {
	x.resp.status = a.status
	hasLength := false
	for i := 0; i < len(a.headers); {
		name := a.headers[i].name
		var values []string
		for ; i < len(a.headers) && a.headers[i].name == name; i++ {
			values = append(values, a.headers[i].value)
		}
		switch strings.ReplaceAll(strings.ToLower(name), "_", "-") {
		case "transfer-encoding":
			x.gw.log.kong("warn", "manually setting Transfer-Encoding. Ignored.")
			continue
		case "content-length":
			hasLength = true
		}
		x.resp.setHeader(name, values...)
	}
	if !hasLength {
		x.resp.setHeader("Content-Length", strconv.Itoa(len(a.body)))
	}
}

// kongHeaders is Kong's header_filter: latencies, Via, Server, request id.
func (x *exchange) kongHeaders() {
	x.phase = phaseHeader
	if c := x.correlation; c != nil {
		x.resp.setHeader(c.name, c.value)
	}
	if x.proxied {
		x.resp.setHeader("X-Kong-Upstream-Latency", millis(x.waiting))
		x.resp.setHeader("X-Kong-Proxy-Latency", millis(x.proxyTime))
		via := "1.1 " + kongVersion
		if old, ok := x.resp.headers.first("Via"); ok {
			via = old + ", " + via
		}
		x.resp.setHeader("Via", via)
		if !x.resp.headers.has("Server") {
			x.resp.setHeader("Server", kongVersion)
		}
	} else {
		x.latency = time.Since(x.start)
		x.resp.setHeader("X-Kong-Response-Latency", millis(x.latency))
		x.resp.setHeader("Server", kongVersion)
	}
	x.resp.setHeader("X-Kong-Request-Id", x.requestID)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

var charsetTypes = []string{"text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript",
	"application/rss+xml"}

// withCharset is nginx's charset filter.
func withCharset(contentType string) string {
	base, _, hasParams := strings.Cut(contentType, ";")
	if hasParams || !slices.Contains(charsetTypes, strings.ToLower(strings.TrimSpace(base))) {
		return contentType
	}
	return contentType + "; charset=UTF-8"
}

// reasonPhrase: nginx has one for the codes it knows; others are empty.
func reasonPhrase(status int) string {
	switch status {
	case 203, 205, 208, 226, 305, 306, 417, 418, 423, 424, 425, 426, 428, 431, 451, 506, 508, 510, 511:
		return ""
	case 302:
		return "Moved Temporarily"
	case 408:
		return "Request Time-out"
	case 413:
		return "Request Entity Too Large"
	case 414:
		return "Request-URI Too Large"
	case 416:
		return "Requested Range Not Satisfiable"
	case 503:
		return "Service Temporarily Unavailable"
	case 504:
		return "Gateway Time-out"
	}
	if status == 102 || status == 103 || status == 207 {
		return ""
	}
	return http.StatusText(status)
}

// firstLines are the headers nginx writes before its list, in this order.
var firstLines = []string{"Date", "Content-Type"}

// bodyMode says how the body follows.
type bodyMode int

const (
	bodyNone bodyMode = iota
	bodyLength
	bodyChunked
	bodyUntilClose
)

// writeHead writes the response head as nginx orders it.
func (x *exchange) writeHead(status int, reason string, mode bodyMode, keepAlive bool) error {
	hs := x.resp.headers
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, reason)
	if !x.proxied || x.answer != nil || x.buffered != nil {
		if !hs.has("Date") {
			b.WriteString("Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
		}
	}
	out := headers{}
	for _, name := range firstLines {
		for _, v := range hs.values(name) {
			if name == "Content-Type" {
				v = withCharset(v)
				if status == 204 {
					continue
				}
			}
			out.add(name, v)
		}
	}
	if mode == bodyChunked {
		out.add("Transfer-Encoding", "chunked")
	}
	connection := "keep-alive"
	if !keepAlive {
		connection = "close"
	}
	if status == http.StatusSwitchingProtocols {
		connection = "upgrade"
	}
	out.add("Connection", connection)
	for _, l := range hs {
		if slices.ContainsFunc(firstLines, func(s string) bool { return strings.EqualFold(s, l.name) }) {
			continue
		}
		out = append(out, l)
	}
	for _, l := range out {
		b.WriteString(l.name + ": " + l.value + "\r\n")
	}
	b.WriteString("\r\n")
	x.sent.status, x.sent.bytes = status, int64(b.Len())
	x.sent.headers = sentHeaders(out)
	_, err := x.conn.w.WriteString(b.String())
	return err
}

// sentHeaders is what the log phase reads back: Kong says "close" there
// whatever was sent.
func sentHeaders(hs headers) headers {
	out := slices.Clone(hs)
	out.set("Connection", "close")
	return out
}
