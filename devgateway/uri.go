package devgateway

import (
	"fmt"
	"strings"
)

const uriReserved = "!*'();:@&=+$,/?%#[]"

// normalizePath is Kong's normal form of a path: what need not be encoded is
// decoded (also bytes above 0x7f), dot segments and double slashes go.
func normalizePath(uri string) string {
	if uri == "" || uri == "/" {
		return uri
	}
	uri = decodeUnreserved(uri)
	if !strings.Contains(uri, ".") && !strings.Contains(uri, "//") {
		return uri
	}
	var out []string
	pop := func() {
		if len(out) > 0 {
			out = out[:len(out)-1]
		}
	}
	for uri != "" {
		switch {
		case uri == "/.":
			uri = "/"
		case uri == "/..":
			uri = "/"
			pop()
		case uri == ".", uri == "..":
			uri = ""
		case strings.HasPrefix(uri, "../"):
			uri = uri[3:]
		case strings.HasPrefix(uri, "./"):
			uri = uri[2:]
		case strings.HasPrefix(uri, "/./"):
			uri = uri[2:]
		case strings.HasPrefix(uri, "/../"):
			uri = uri[3:]
			pop()
		case strings.HasPrefix(uri, "//"):
			uri = uri[1:]
		default:
			end := strings.IndexByte(uri[1:], '/') + 1
			if end == 0 {
				end = len(uri)
			}
			out = append(out, uri[:end])
			uri = uri[end:]
		}
	}
	return strings.Join(out, "")
}

func decodeUnreserved(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c, ok := hexByte(s, i)
		if !ok {
			b.WriteByte(s[i])
			continue
		}
		if strings.IndexByte(uriReserved, c) >= 0 {
			b.WriteString(strings.ToUpper(s[i : i+3]))
		} else {
			b.WriteByte(c)
		}
		i += 2
	}
	return b.String()
}

// hexByte reads a %XX at i.
func hexByte(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	hi, lo := unhex(s[i+1]), unhex(s[i+2])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

const pathSafe = "!#$&'()*+,/:;=?@[]-_.~%"

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// escapePath makes a path fit for a request line; it leaves "%" and "?" alone.
func escapePath(s string) string {
	return escapeBytes(s, func(c byte) bool { return !alnum(c) && strings.IndexByte(pathSafe, c) < 0 })
}

// unescapeURI is ngx.unescape_uri with "+" kept or turned into a space.
func unescapeURI(s string, plus bool) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c, ok := hexByte(s, i); ok {
			b.WriteByte(c)
			i += 2
		} else if plus && s[i] == '+' {
			b.WriteByte(' ')
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// escapeArg is ngx.escape_uri for a query argument.
func escapeArg(s string) string {
	return escapeBytes(s, func(c byte) bool { return !alnum(c) && strings.IndexByte("-._~!'()*", c) < 0 })
}

// nginxURI is nginx's $uri: fully decoded, slashes merged, dots resolved. It
// is false for what nginx refuses with 400.
func nginxURI(path string) (string, bool) {
	for i := 0; i < len(path); i++ {
		if path[i] == '%' {
			c, ok := hexByte(path, i)
			if !ok || c == 0 {
				return "", false
			}
			i += 2
		}
	}
	var out []string
	for seg := range strings.SplitSeq(strings.TrimPrefix(unescapeURI(path, false), "/"), "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:len(out)-1]
		default:
			out = append(out, seg)
		}
	}
	u := "/" + strings.Join(out, "/")
	if len(out) > 0 && strings.HasSuffix(path, "/") {
		u += "/"
	}
	return u, true
}

// queryTable is ngx.req.get_uri_args: a bare flag is true, at most limit
// arguments are read.
func queryTable(raw string, limit int) dict {
	d := dict{}
	n := 0
	for part := range strings.SplitSeq(raw, "&") {
		k, v, hasValue := strings.Cut(part, "=")
		if k == "" {
			continue
		}
		if n++; n > limit {
			break
		}
		k = unescapeURI(k, true)
		var value any = true
		if hasValue {
			value = unescapeURI(v, true)
		}
		switch old := d[k].(type) {
		case nil:
			d[k] = value
		case list:
			d[k] = append(old, value)
		default:
			d[k] = list{old, value}
		}
	}
	return d
}

// encodeQuery is Kong's set_query: names in order, true as a bare flag.
func encodeQuery(args dict) (string, error) {
	var parts []string
	for _, k := range sortedKeys(args) {
		s, err := encodeArg(k, args[k])
		if err != nil {
			return "", err
		}
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "&"), nil
}

func encodeArg(k string, v any) (string, error) {
	switch x := v.(type) {
	case bool:
		if x {
			return escapeArg(k), nil
		}
		return "", nil
	case string, float64:
		return escapeArg(k) + "=" + escapeArg(luaText(x)), nil
	case list:
		var parts []string
		for _, e := range x {
			if e == nil {
				break
			}
			if _, nested := e.(list); nested {
				return "", fmt.Errorf("attempt to use table as query arg value")
			}
			s, err := encodeArg(k, e)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, "&"), nil
	}
	return "", nil
}
