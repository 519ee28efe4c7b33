package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of what is decoded. A depth of 16 holds the deepest claims seen in the
// field (resource_access, nested act) four times over.
const (
	maxJSONDepth  = 16
	maxJSONValues = 10_000
)

var (
	errNotObject  = errors.New("not a JSON object")
	errTooDeep    = fmt.Errorf("nested deeper than %d", maxJSONDepth)
	errTooMany    = fmt.Errorf("more than %d values", maxJSONValues)
	errAfterValue = errors.New("bytes after the JSON object")
	errNotJSON    = errors.New("not valid JSON")
)

// DecodeClaims decodes one JSON object as strictly as a security decision needs:
// names are compared exactly, a name given twice at any depth is an error (RFC
// 7519 section 4 allows refusing; encoding/json keeps the last and folds case),
// so are invalid UTF-8, trailing bytes, excessive depth and excessive count.
//
// The values are string, bool, nil, [json.Number] (so that large identifiers
// keep every digit), []any and map[string]any.
func DecodeClaims(data []byte) (map[string]any, error) {
	d := decoders.Get().(*strictDecoder)
	defer d.release()
	return d.object(data)
}

var decoders = sync.Pool{New: func() any {
	d := new(strictDecoder)
	d.dec = jsontext.NewDecoder(&d.buf)
	return d
}}

// strictDecoder is kept in a pool: a decoder's buffers cost more than the
// decoding of a usual token.
type strictDecoder struct {
	buf    bytes.Buffer // the decoder reads straight out of a bytes.Buffer
	dec    *jsontext.Decoder
	text   string // what is decoded; strings without escapes are parts of it
	values int
}

func (d *strictDecoder) release() {
	d.buf, d.text = bytes.Buffer{}, "" // keep no token's bytes alive
	decoders.Put(d)
}

func (d *strictDecoder) object(data []byte) (map[string]any, error) {
	d.buf = *bytes.NewBuffer(data)
	d.dec.Reset(&d.buf)
	d.text, d.values = string(data), 0
	if d.dec.PeekKind() != '{' {
		return nil, errNotObject
	}
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errAfterValue
	}
	return v.(map[string]any), nil
}

func (d *strictDecoder) value(depth int) (any, error) {
	if d.values++; d.values > maxJSONValues {
		return nil, errTooMany
	}
	if d.dec.PeekKind() == '"' {
		return d.string()
	}
	tok, err := d.dec.ReadToken()
	if err != nil {
		return nil, jsonProblem(err)
	}
	switch tok.Kind() {
	case '{':
		return d.members(depth + 1)
	case '[':
		return d.elements(depth + 1)
	case '0':
		return json.Number(tok.String()), nil
	case 't', 'f':
		return tok.Bool(), nil
	default:
		return nil, nil
	}
}

// string reads a string or a name. Most have no escapes and need no copy.
func (d *strictDecoder) string() (string, error) {
	raw, err := d.dec.ReadValue()
	if err != nil {
		return "", jsonProblem(err)
	}
	end := int(d.dec.InputOffset())
	if bytes.IndexByte(raw, '\\') < 0 {
		return d.text[end-len(raw)+1 : end-1], nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, raw)
	return string(unquoted), jsonProblem(err)
}

func (d *strictDecoder) members(depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, errTooDeep
	}
	m := make(map[string]any, 8)
	for d.dec.PeekKind() != '}' {
		if d.dec.PeekKind() != '"' {
			return nil, errNotJSON // a name must be a string, or the input has ended
		}
		name, err := d.string()
		if err != nil {
			return nil, err
		}
		if m[name], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := d.dec.ReadToken()
	return m, jsonProblem(err)
}

func (d *strictDecoder) elements(depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, errTooDeep
	}
	list := []any{}
	for d.dec.PeekKind() != ']' {
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.dec.ReadToken()
	return list, jsonProblem(err)
}

// jsonProblem keeps the kind of a syntax error and drops its text, which quotes
// the input.
func jsonProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("a name appears twice in one JSON object")
	default:
		return errNotJSON
	}
}
