package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kong-prefect/kong-prefect/stamp"
)

// maxDepth bounds how deep a body may nest, in objects and lists.
const maxDepth = 64

// check is one request's body on its way through its rule.
type check struct {
	ctx context.Context
	*Passage

	value     any // decoded; numbers are json.Number
	createdBy *stamp.CreatedBy
	runs      []stamp.Run // to be created
}

// parse reads the body strictly: names twice in one object and invalid UTF-8
// mean different things to different readers. No body is an empty object,
// which is what Prefect takes it for where all fields are optional.
func (c *check) parse(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		c.value = map[string]any{}
		return nil
	}
	if !jsontext.Value(body).IsValid() {
		return unreadable("", "it isn't valid JSON, or names a field twice")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&c.value); err != nil {
		return unreadable("", "it isn't valid JSON")
	}
	if tooDeep(c.value, 0) {
		return unreadable("", fmt.Sprintf("it nests deeper than %d levels", maxDepth))
	}
	return nil
}

func tooDeep(v any, depth int) bool {
	if depth > maxDepth {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		for _, below := range v {
			if tooDeep(below, depth+1) {
				return true
			}
		}
	case []any:
		for _, below := range v {
			if tooDeep(below, depth+1) {
				return true
			}
		}
	}
	return false
}

func (c *check) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(c.value); err != nil {
		return nil, unreadable("", "it can't be written again")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// object is the whole body where it must be one.
func (c *check) object() (map[string]any, error) { return objectAt(c.value, "") }

func objectAt(v any, at string) (map[string]any, error) {
	o, ok := v.(map[string]any)
	if !ok {
		return nil, unreadable(at, "must be an object")
	}
	return o, nil
}

func listAt(v any, at string) ([]any, error) {
	l, ok := v.([]any)
	if !ok {
		return nil, unreadable(at, "must be a list")
	}
	return l, nil
}

// empty tells whether a field says nothing: absent, null, or holding nothing.
// Prefect's own clients send many such.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// text is a field that must be a string; absent or null is "".
func text(o map[string]any, name, at string) (string, error) {
	switch v := o[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return "", unreadable(at+"/"+name, "must be a string")
}

// texts is a field that must be a list of strings; absent or null is nil.
func texts(v any, at string) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	list, err := listAt(v, at)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, item := range list {
		s, ok := item.(string)
		if !ok {
			return nil, unreadable(fmt.Sprintf("%s/%d", at, i), "must be a string")
		}
		out[i] = s
	}
	return out, nil
}

// unescape decodes a raw query as far as it can be.
func unescape(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			c, err := url.PathUnescape(s[i : i+3])
			if err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
