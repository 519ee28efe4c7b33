package plugin

import (
	"strings"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

// Headers that the upstream gets. A value that isn't there leaves no header,
// and none that the client sent.
const (
	HeaderSubject = "X-Caller-Subject"
	HeaderIssuer  = "X-Caller-Issuer"
	HeaderKind    = "X-Caller-Kind"
	HeaderName    = "X-Caller-Name"
	HeaderEmail   = "X-Caller-Email"
	HeaderClient  = "X-Caller-Client"
	HeaderGroups  = "X-Caller-Groups"
	HeaderScopes  = "X-Caller-Scopes"
	HeaderRoles   = "X-Caller-Roles"
	HeaderActors  = "X-Caller-Actors"
)

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

// isReserved takes a name as Kong gives it, in lower case. Many servers read
// underscores as dashes, so they count as such.
func isReserved(name string) bool {
	name = strings.ReplaceAll(name, "_", "-")
	for _, prefix := range reserved {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// connectionTakesOurs tells whether a client's Connection header (all its
// lines) names a header that this gateway sets for the upstream. Connection
// names the headers of one hop alone (RFC 9110, section 7.6.1), and Kong drops
// them after the plugins ran, so a client could take away what they set: the
// caller's name, or the credential in Authorization.
func connectionTakesOurs(lines []string) bool {
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			name := strings.ToLower(strings.TrimSpace(option))
			if isReserved(name) || name == "authorization" {
				return true
			}
		}
	}
	return false
}

// callerHeaders are the normalized claims for the upstream.
func callerHeaders(id claims.Identity, roles []string) []pluginserver.Header {
	var headers []pluginserver.Header
	add := func(name string, values ...string) {
		var encoded []string
		for _, v := range values {
			if v != "" {
				encoded = append(encoded, encodeValue(v))
			}
		}
		if len(encoded) > 0 {
			headers = append(headers, header(name, strings.Join(encoded, ",")))
		}
	}
	add(HeaderSubject, id.Subject)
	add(HeaderIssuer, id.Issuer)
	add(HeaderKind, string(id.Kind))
	add(HeaderName, id.Name)
	add(HeaderEmail, id.Email)
	add(HeaderClient, id.Client)
	add(HeaderGroups, id.Groups...)
	add(HeaderScopes, id.Scopes...)
	add(HeaderRoles, roles...)
	actors := make([]string, len(id.Actors))
	for i, a := range id.Actors {
		if actors[i] = a.Subject; a.Subject == "" {
			actors[i] = a.Client
		}
	}
	add(HeaderActors, actors...)
	return headers
}

// encodeValue percent-encodes what could break a header or a list in it:
// bytes that are no visible ASCII character, the percent sign and the comma.
// A space stays inside a value. Any URL decoder gives the exact value back.
func encodeValue(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		edge := i == 0 || i == len(s)-1
		if c > 0x20 && c < 0x7f && c != '%' && c != ',' || c == ' ' && !edge {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&0xf])
	}
	return b.String()
}
