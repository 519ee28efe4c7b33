package devgateway

import (
	"fmt"
	"strings"
)

// header is one header line, byte for byte as it is on the wire.
type header struct {
	name  string
	value string
}

// headers is an ordered list of header lines. net/http's map is of no use
// here: it rewrites names, loses their order and refuses some of them, and
// what a plugin or an upstream sees must be what the client sent.
type headers []header

func (h headers) first(name string) (string, bool) {
	for _, l := range h {
		if strings.EqualFold(l.name, name) {
			return l.value, true
		}
	}
	return "", false
}

func (h headers) values(name string) []string {
	var out []string
	for _, l := range h {
		if strings.EqualFold(l.name, name) {
			out = append(out, l.value)
		}
	}
	return out
}

func (h headers) has(name string) bool {
	_, ok := h.first(name)
	return ok
}

func (h *headers) add(name, value string) { *h = append(*h, header{name, value}) }

func (h *headers) del(name string) {
	out := (*h)[:0:0]
	for _, l := range *h {
		if !strings.EqualFold(l.name, name) {
			out = append(out, l)
		}
	}
	*h = out
}

// set replaces the first line of that name in place and drops the others, as
// nginx's list does; further values are appended at the end.
func (h *headers) set(name string, values ...string) {
	if len(values) == 0 {
		h.del(name)
		return
	}
	out := (*h)[:0:0]
	done := false
	for _, l := range *h {
		if !strings.EqualFold(l.name, name) {
			out = append(out, l)
			continue
		}
		if !done {
			done = true
			out = append(out, header{l.name, values[0]})
		}
	}
	if !done {
		out = append(out, header{name, values[0]})
	}
	for _, v := range values[1:] {
		out = append(out, header{name, v})
	}
	*h = out
}

// table is the Lua table Kong makes of header lines: lower-case names, a
// string for one value and a list for several, at most limit lines.
func (h headers) table(limit int) dict {
	d := dict{}
	for i, l := range h {
		if i >= limit {
			break
		}
		k := strings.ToLower(l.name)
		switch old := d[k].(type) {
		case nil:
			d[k] = l.value
		case string:
			d[k] = list{old, l.value}
		case list:
			d[k] = append(old, l.value)
		}
	}
	return d
}

// escapeHeaderValue percent-escapes the control bytes that would end or split
// a header line, as OpenResty does for every value set from Lua.
func escapeHeaderValue(s string) string {
	return escapeBytes(s, func(c byte) bool { return (c < 0x20 && c != '\t') || c == 0x7f })
}

// escapeHeaderName percent-escapes all that can't stand in a header's name.
func escapeHeaderName(s string) string {
	return escapeBytes(s, func(c byte) bool {
		return c <= 0x20 || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0
	})
}

func escapeBytes(s string, bad func(byte) bool) string {
	n := 0
	for i := range len(s) {
		if bad(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if bad(s[i]) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
