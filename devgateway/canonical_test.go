package devgateway

import (
	"encoding/hex"
	"fmt"
	"math"
	"sort"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// canonical writes a message so that two encodings of the same content are
// equal: fields by number, map entries by key. It takes bytes protobuf itself
// would refuse, and it leaves out the zeros of Route and Service, which Kong
// writes or not as it pleases.
func canonical(d protoreflect.MessageDescriptor, b []byte) string {
	m, err := parseMessage(b)
	if err != nil {
		return "malformed:" + hex.EncodeToString(b)
	}
	var out []string
	for num, occurrences := range m {
		f := d.Fields().ByNumber(num)
		if f == nil {
			out = append(out, fmt.Sprintf("%d=?", num))
			continue
		}
		var vals []string
		for _, w := range occurrences {
			v := canonicalField(f, w)
			if (v == "0" || v == "false") && f.ContainingOneof() == nil && !f.IsList() && d.Name() != "Int" {
				continue
			}
			vals = append(vals, v)
		}
		if f.IsMap() {
			sort.Strings(vals)
		}
		if vals != nil {
			out = append(out, fmt.Sprintf("%s=%s", f.Name(), strings.Join(vals, ",")))
		}
	}
	sort.Strings(out)
	return "{" + strings.Join(out, " ") + "}"
}

func canonicalField(f protoreflect.FieldDescriptor, w wireField) string {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return canonical(f.Message(), w.bytes)
	case protoreflect.StringKind, protoreflect.BytesKind:
		return printable(w.bytes)
	case protoreflect.BoolKind:
		return fmt.Sprint(w.num != 0)
	case protoreflect.DoubleKind:
		return fmt.Sprint(math.Float64frombits(w.num))
	}
	if w.kind == protowire.BytesType {
		return printable(w.bytes)
	}
	return fmt.Sprint(int64(w.num))
}

// printable shows bytes that are not UTF-8 as the recordings do.
func printable(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&s, "\\x%02x", b[0])
		} else {
			s.WriteRune(r)
		}
		b = b[n:]
	}
	return s.String()
}
