package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// defaultHeaders are what the upstream gets where no configuration says
// otherwise. A value that isn't there leaves no header, and none that the
// client sent.
var defaultHeaders = []HeaderConfig{
	{"X-Caller-Subject", "subject"},
	{"X-Caller-Issuer", "issuer"},
	{"X-Caller-Kind", "kind"},
	{"X-Caller-Name", "name"},
	{"X-Caller-Email", "email"},
	{"X-Caller-Client", "client"},
	{"X-Caller-Groups", "groups"},
	{"X-Caller-Scopes", "scopes"},
	{"X-Caller-Roles", "roles"},
	{"X-Caller-Actors", "actors"},
}

// reserved are the headers, by their beginning, that no client may send to an
// upstream: ours, those in which Kong's own plugins name a consumer, and those
// that Prefect believes.
var reserved = []string{
	"x-caller-",
	"x-consumer-",
	"x-credential-",
	"x-anonymous-consumer",
	"x-authenticated-",
	"prefect-automation-",
}

// ungiven are headers that Kong or HTTP itself set, so that a value of ours
// would be lost or break the request.
var ungiven = []string{
	"authorization", "connection", "content-length", "content-type", "cookie", "expect", "host", "keep-alive", "proxy-authorization",
	"te", "trailer", "transfer-encoding", "upgrade", "via", "x-real-ip",
}

// callerHeaders are the headers of one configuration.
type callerHeaders struct {
	headers []HeaderConfig
	own     []string // names beyond the reserved ones, folded
}

// newCallerHeaders checks the names; more are headers that are set elsewhere.
func newCallerHeaders(configured []HeaderConfig, more ...string) (callerHeaders, error) {
	h := callerHeaders{headers: configured}
	if len(configured) == 0 {
		h.headers = defaultHeaders
	}
	var problems []error
	var seen []string
	check := func(field, name string) {
		folded := fold(name)
		switch {
		case slices.Contains(seen, folded):
			problems = append(problems, fmt.Errorf("%s: %q is set twice", field, name))
		case slices.Contains(ungiven, folded) || strings.HasPrefix(folded, "x-forwarded-"):
			problems = append(problems, fmt.Errorf("%s: %q is set by Kong itself", field, name))
		case strings.HasPrefix(folded, "x-consumer-"), strings.HasPrefix(folded, "x-anonymous-"), strings.HasPrefix(folded, "prefect-automation-"):
			problems = append(problems, fmt.Errorf("%s: %q means something else to others", field, name))
		}
		seen = append(seen, folded)
		if !isReserved(folded) {
			h.own = append(h.own, folded)
		}
	}
	for i, hd := range h.headers {
		at := fmt.Sprintf("headers[%d]", i+1)
		check(at+".name", hd.Name)
		if err := checkCallerValue(hd.From); err != nil {
			problems = append(problems, fmt.Errorf("%s.from: %w", at, err))
		}
	}
	for _, name := range more {
		if name != "" {
			check("assertion.header", name)
		}
	}
	return h, errors.Join(problems...)
}

// fold writes a header's name in the one way in which names are compared: many
// servers read underscores as dashes.
func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }

// isReserved tells whether no client may send a header, by its folded name.
func isReserved(folded string) bool {
	return slices.ContainsFunc(reserved, func(prefix string) bool { return strings.HasPrefix(folded, prefix) })
}

// spoofable tells whether a client's header must not pass.
func (h callerHeaders) spoofable(name string) bool {
	folded := fold(name)
	return isReserved(folded) || slices.Contains(h.own, folded)
}

// cutShort tells whether there are as many lines as Kong tells of: it may have
// cut the list, and what was cut may be one of ours.
func cutShort(headers []pluginserver.Header) bool {
	lines := 0
	for _, hd := range headers {
		lines += len(hd.Values)
	}
	return lines >= pluginserver.MaxHeaders
}

// takenByConnection tells whether a client's Connection header (all its
// lines) names a header that this gateway sets for the upstream. Connection
// names the headers of one hop alone (RFC 9110, section 7.6.1), and Kong drops
// them after the plugins ran, so a client could take away what they set: the
// caller's name, or the credential in Authorization.
func (h callerHeaders) takenByConnection(lines []string) bool {
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			name := strings.TrimSpace(option)
			if h.spoofable(name) || fold(name) == "authorization" {
				return true
			}
		}
	}
	return false
}

// of are the headers that tell the upstream who calls. Lists are joined by
// commas, of which none stands in a value.
func (h callerHeaders) of(c Caller) []pluginserver.Header {
	headers := make([]pluginserver.Header, 0, len(h.headers))
	texts := make([]string, 0, len(h.headers)) // of the headers, one each: every request has them
	var values []string
	for _, hd := range h.headers {
		values = callerValue(values[:0], c, hd.From)
		if len(values) == 0 {
			continue
		}
		for i, v := range values {
			values[i] = encodeValue(v)
		}
		at := len(texts)
		texts = append(texts, strings.Join(values, ","))
		headers = append(headers, pluginserver.Header{Name: hd.Name, Values: texts[at : at+1 : at+1]})
	}
	return headers
}

// encodeValue percent-encodes what could break a header or a list in it:
// bytes that are no visible ASCII character, the percent sign and the comma.
// A space stays inside a value. Any URL decoder gives the exact value back.
func encodeValue(s string) string {
	const hex = "0123456789ABCDEF"
	at := 0
	for at < len(s) && staysInValue(s, at) {
		at++
	}
	if at == len(s) {
		return s // as nearly all are
	}
	var b strings.Builder
	b.WriteString(s[:at])
	for ; at < len(s); at++ {
		if staysInValue(s, at) {
			b.WriteByte(s[at])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[s[at]>>4])
		b.WriteByte(hex[s[at]&0xf])
	}
	return b.String()
}

func staysInValue(s string, at int) bool {
	edge := at == 0 || at == len(s)-1
	return s[at] > 0x20 && s[at] < 0x7f && s[at] != '%' && s[at] != ',' || s[at] == ' ' && !edge
}
