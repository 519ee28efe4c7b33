package devgateway

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// FuzzReadHead: whatever a client sends, what is taken for a request has no
// line break or NUL in any part, and no name a header can't have.
func FuzzReadHead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST http://h/p?q HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc"))
	f.Add([]byte("GET /\x00 HTTP/1.1\r\nHost: x\r\nA\r\n b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := readHead(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			return
		}
		for _, l := range h.headers {
			if !validName.MatchString(l.name) || strings.ContainsAny(l.value, "\n\x00") {
				t.Fatalf("header %q: %q", l.name, l.value)
			}
		}
		if strings.ContainsAny(h.target, "\r\n\x00 ") || !strings.HasPrefix(h.target, "/") {
			t.Fatalf("target %q", h.target)
		}
	})
}

// FuzzValues: what is decoded can be encoded, and reading it again changes
// nothing more.
func FuzzValues(f *testing.F) {
	f.Add(encodeValue(dict{"a": list{"x", 1.5, true}, "b": ""}))
	f.Add([]byte{0x08, 0x00})
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := decodeValue(in)
		if err != nil {
			return
		}
		again, err := decodeValue(encodeValue(v))
		if err != nil {
			t.Fatalf("%v can't be read again: %v", v, err)
		}
		if twice := encodeValue(again); v != nil && !bytes.Equal(twice, encodeValue(again)) {
			t.Fatalf("%v is not stable", again)
		}
	})
}

// FuzzDeclarative: no document makes the reader panic.
func FuzzDeclarative(f *testing.F) {
	f.Add([]byte("_format_version: \"3.0\"\nservices:\n- {name: a, url: http://x, routes: [{paths: [/]}]}\n"))
	f.Add([]byte("{\"_format_version\": \"3.0\", \"plugins\": [{\"name\": \"acl\", \"config\": {\"allow\": [\"a\"]}}]}"))
	c, err := newCatalog(Settings{Plugins: []string{"bundled"}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, in []byte) {
		if d, err := parseDeclarative(in, c); err == nil {
			newGeneration(d, c, newRateCounters())
		}
	})
}
