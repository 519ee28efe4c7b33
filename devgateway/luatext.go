package devgateway

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// luaText is what Lua's tostring makes of a value.
func luaText(v any) string {
	switch x := v.(type) {
	case nil:
		return "nil"
	case null:
		return "null"
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case int:
		return strconv.Itoa(x)
	case float64:
		return formatLuaNumber(x)
	case list, dict:
		return fmt.Sprintf("table: %p", x)
	}
	return fmt.Sprint(v)
}

// formatLuaNumber is C's %.14g.
func formatLuaNumber(f float64) string {
	s := strconv.FormatFloat(f, 'g', 14, 64)
	mantissa, exp, ok := strings.Cut(s, "e")
	if !ok {
		return s
	}
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	n, err := strconv.Atoi(exp)
	if err != nil || (n >= -4 && n < 14) {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return mantissa + "e" + exp
}

var luaClasses = map[byte]string{
	'a': "A-Za-z", 'd': "0-9", 'l': "a-z", 's': `\s`, 'u': "A-Z", 'w': "A-Za-z0-9",
	'x': "0-9A-Fa-f", 'p': `!-/:-@\[-` + "`" + `{-~`, 'c': `\x00-\x1f\x7f`,
}

// luaMatch runs a Lua pattern, as a schema's match does, by writing it as a
// regular expression. %b and %f have no such form and never match.
func luaMatch(s, pattern string) bool {
	re, err := regexp.Compile(luaToRegexp(pattern))
	return err == nil && re.MatchString(s)
}

func luaToRegexp(p string) string {
	var b strings.Builder
	b.WriteString("(?s)")
	inSet := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '%' && i+1 < len(p):
			i++
			b.WriteString(luaEscape(p[i], inSet))
		case inSet && c == ']':
			inSet = false
			b.WriteByte(']')
		case inSet && (c == '[' || c == '\\'):
			b.WriteString(`\` + string(c))
		case inSet:
			b.WriteByte(c)
		case c == '[':
			inSet = true
			b.WriteByte('[')
			if strings.HasPrefix(p[i+1:], "^") {
				b.WriteByte('^')
				i++
			}
			if strings.HasPrefix(p[i+1:], "]") {
				b.WriteString(`\]`)
				i++
			}
		case c == '-':
			b.WriteString("*?")
		case c == '^' && i > 0, c == '$' && i < len(p)-1, strings.IndexByte(`{}|\`, c) >= 0:
			b.WriteString(`\` + string(c))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func luaEscape(c byte, inSet bool) string {
	if class, ok := luaClasses[c]; ok {
		if inSet {
			return class
		}
		return "[" + class + "]"
	}
	if class, ok := luaClasses[c|0x20]; ok && c >= 'A' && c <= 'Z' {
		if inSet {
			return `\x{10FFFF}` // a complement inside a set has no form here
		}
		return "[^" + class + "]"
	}
	return regexp.QuoteMeta(string(c))
}
