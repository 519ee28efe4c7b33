package pluginserver

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The hot messages of the protocol are written and read field by field: going
// through the generated types costs a map and three allocations a header.
// wire_test.go holds every function here against go-pdk's generated types.
//
// Strings are taken and given as raw bytes. Kong passes on what a client sent,
// valid UTF-8 or not, and a strict decoder would let one byte of one header
// fail the whole request.

var errWire = errors.New("malformed protobuf message")

// Field numbers of google.protobuf.Value, those of the kinds we take.
const (
	valueString = 3
	valueList   = 6
)

func appendTag(b []byte, field protowire.Number, t protowire.Type) []byte {
	return protowire.AppendTag(b, field, t)
}

func appendStringField(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(appendTag(b, field, protowire.BytesType), s)
}

func appendIntField(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(appendTag(b, field, protowire.VarintType), uint64(v))
}

// appendMessage appends a nested message whose size is known only afterwards.
func appendMessage(b []byte, field protowire.Number, fill func([]byte) []byte) []byte {
	b = appendTag(b, field, protowire.BytesType)
	start := len(b)
	b = fill(b)
	size := len(b) - start
	prefix := protowire.SizeVarint(uint64(size))
	for range prefix {
		b = append(b, 0)
	}
	copy(b[start+prefix:], b[start:start+size])
	protowire.AppendVarint(b[:start], uint64(size))
	return b
}

func appendStringValue(b []byte, s string) []byte {
	// A Value is a oneof: an empty string is written, not left out.
	return protowire.AppendString(appendTag(b, valueString, protowire.BytesType), s)
}

func appendListValue(b []byte, list []string) []byte {
	return appendMessage(b, valueList, func(b []byte) []byte {
		for _, s := range list {
			b = appendMessage(b, 1, func(b []byte) []byte { return appendStringValue(b, s) })
		}
		return b
	})
}

// appendKV appends kong_plugin_protocol.KV with a string.
func appendKV(b []byte, k, v string) []byte {
	b = appendStringField(b, 1, k)
	return appendMessage(b, 2, func(b []byte) []byte { return appendStringValue(b, v) })
}

// appendKVList appends kong_plugin_protocol.KV with a list of strings.
func appendKVList(b []byte, k string, v []string) []byte {
	b = appendStringField(b, 1, k)
	return appendMessage(b, 2, func(b []byte) []byte { return appendListValue(b, v) })
}

// appendHeaders appends the fields of a google.protobuf.Struct: one value as
// a string, several as a list. Kong's set_headers takes both.
func appendHeaders(b []byte, headers []Header) []byte {
	for _, h := range headers {
		b = appendMessage(b, 1, func(b []byte) []byte {
			b = protowire.AppendString(appendTag(b, 1, protowire.BytesType), h.Name)
			return appendMessage(b, 2, func(b []byte) []byte {
				if len(h.Values) == 1 {
					return appendStringValue(b, h.Values[0])
				}
				return appendListValue(b, h.Values)
			})
		})
	}
	return b
}

// appendExitArgs appends kong_plugin_protocol.ExitArgs.
func appendExitArgs(b []byte, status int, body []byte, headers []Header) []byte {
	b = appendIntField(b, 1, int64(status))
	if len(body) > 0 {
		b = protowire.AppendBytes(appendTag(b, 2, protowire.BytesType), body)
	}
	return appendMessage(b, 3, func(b []byte) []byte { return appendHeaders(b, headers) })
}

// eachField calls visit for each field of a message. Length-delimited values
// arrive as bytes, the other kinds as a number.
func eachField(b []byte, visit func(field protowire.Number, bytes []byte, number uint64) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var bytes []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			number, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			number = uint64(v)
		default:
			return errWire
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := visit(field, bytes, number); err != nil {
			return err
		}
	}
	return nil
}

// decodeString reads a message whose field 1 is a string or bytes
// (kong_plugin_protocol.String). Kong sends nothing for an absent value.
func decodeString(b []byte) (string, error) {
	var s string
	err := eachField(b, func(field protowire.Number, bytes []byte, _ uint64) error {
		if field == 1 {
			s = string(bytes)
		}
		return nil
	})
	return s, err
}

// decodeStringValue reads a google.protobuf.Value that should be a string;
// ok is false for any other kind, Kong's "no such key" among them.
func decodeStringValue(b []byte) (s string, ok bool, err error) {
	err = eachField(b, func(field protowire.Number, bytes []byte, _ uint64) error {
		s, ok = "", false
		if field == valueString {
			s, ok = string(bytes), true
		}
		return nil
	})
	return s, ok, err
}

// decodeHeaders reads the google.protobuf.Struct that get_headers answers.
func decodeHeaders(b []byte) ([]Header, error) {
	headers := make([]Header, 0, 16)
	err := eachField(b, func(field protowire.Number, entry []byte, _ uint64) error {
		if field != 1 {
			return nil
		}
		var h Header
		err := eachField(entry, func(field protowire.Number, bytes []byte, _ uint64) (err error) {
			switch field {
			case 1:
				h.Name = string(bytes)
			case 2:
				h.Values, err = decodeStrings(h.Values, bytes)
			}
			return err
		})
		headers = append(headers, h)
		return err
	})
	return headers, err
}

// decodeStrings appends the strings of a Value that is a string or a list of
// strings. get_headers knows no other kind, a list in a list neither. A Value
// of no bytes is an empty string whose writer left out what is the default.
func decodeStrings(to []string, value []byte) ([]string, error) {
	if len(value) == 0 {
		return append(to, ""), nil
	}
	err := eachField(value, func(kind protowire.Number, bytes []byte, _ uint64) error {
		switch kind {
		case valueString:
			to = append(to, string(bytes))
			return nil
		case valueList:
			return eachField(bytes, func(_ protowire.Number, item []byte, _ uint64) error {
				s, ok, err := decodeStringValue(item)
				if err == nil && !ok && len(item) > 0 {
					err = fmt.Errorf("%w: a header's list holds something else than strings", errWire)
				}
				to = append(to, s)
				return err
			})
		default:
			return fmt.Errorf("%w: a header's value of kind %d", errWire, kind)
		}
	})
	return to, err
}

// Field numbers of kong_plugin_protocol.RawBodyResult.
const (
	bodyContent  = 1
	bodyFilepath = 2
	bodyError    = 3
)

func decodeRawBody(b []byte) (body RawBody, err error) {
	err = eachField(b, func(field protowire.Number, bytes []byte, _ uint64) error {
		switch field {
		case bodyContent:
			body.Content = bytes
		case bodyFilepath:
			body.FilePath = string(bytes)
		case bodyError:
			return fmt.Errorf("kong can't read the request's body: %s", bytes)
		}
		return nil
	})
	return body, err
}
