package kongyml

import (
	"slices"
	"strings"
)

// encodedStays are the characters that Kong leaves percent-encoded.
// Source: kong/tools/uri.lua.
const encodedStays = "!*'();:@&=+$,/?%#[]"

// NormalPath is Kong's normal form of a path: what needs no encoding is
// decoded, dot segments and double slashes go.
func NormalPath(path string) string {
	path = decoded(path)
	if !strings.Contains(path, ".") && !strings.Contains(path, "//") {
		return path
	}
	rest, absolute := strings.CutPrefix(path, "/")
	if !absolute {
		return path
	}
	parts := strings.Split(rest, "/")
	var kept []string
	for _, part := range parts {
		switch part {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, part)
		}
	}
	normal := "/" + strings.Join(kept, "/")
	if last := parts[len(parts)-1]; len(kept) > 0 && slices.Contains([]string{"", ".", ".."}, last) {
		normal += "/"
	}
	return normal
}

func decoded(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
			b.WriteByte(s[i])
			continue
		}
		c := byte(unhex(s[i+1])<<4 | unhex(s[i+2]))
		if strings.IndexByte(encodedStays, c) >= 0 {
			b.WriteString(strings.ToUpper(s[i : i+3]))
		} else {
			b.WriteByte(c)
		}
		i += 2
	}
	return b.String()
}

func unhex(c byte) int { return strings.Index("0123456789abcdef", strings.ToLower(string(rune(c)))) }
