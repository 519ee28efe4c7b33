package pluginserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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
// arrive as a part of the message, the other kinds as a number. Out of a
// string the parts are strings without another copy.
func eachField[T string | []byte](b T, visit func(field int, part T, number uint64) error) error {
	for len(b) > 0 {
		tag, n := uvarint(b)
		field := tag >> 3
		if n == 0 || field == 0 || field > math.MaxInt32 {
			return errWire
		}
		b = b[n:]
		var part T
		var number uint64
		switch protowire.Type(tag & 7) {
		case protowire.VarintType:
			number, n = uvarint(b)
			if n == 0 {
				return errWire
			}
		case protowire.BytesType:
			size, m := uvarint(b)
			if m == 0 || size > uint64(len(b)-m) {
				return errWire
			}
			n = m + int(size)
			part = b[m:n]
		case protowire.Fixed64Type: // a Value's number, which nothing here takes
			n = 8
		case protowire.Fixed32Type:
			n = 4
		default:
			return errWire
		}
		if n > len(b) {
			return errWire
		}
		b = b[n:]
		if err := visit(int(field), part, number); err != nil {
			return err
		}
	}
	return nil
}

// uvarint reads a varint and its length, which is 0 when there is none.
func uvarint[T string | []byte](b T) (v uint64, n int) {
	for i := range min(len(b), binary.MaxVarintLen64) {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// Field numbers of kong_plugin_protocol.RpcCall and of its CmdHandleEvent.
const (
	callSequence    = 1
	callHandleEvent = 36
	eventInstanceID = 1
	eventName       = 2

	returnSequence = 1 // of RpcReturn
)

// decodeEvent reads an RpcCall that is a CmdHandleEvent; ok is false for any
// other command.
func decodeEvent(b []byte) (sequence int64, instance int32, phase string, ok bool, err error) {
	err = eachField(b, func(field int, part []byte, number uint64) error {
		switch field {
		case callSequence:
			sequence = int64(number)
		case callHandleEvent:
			ok = true
			return eachField(part, func(field int, part []byte, number uint64) error {
				switch field {
				case eventInstanceID:
					instance = int32(number)
				case eventName:
					phase = phaseName(part)
				}
				return nil
			})
		}
		return nil
	})
	return sequence, instance, phase, ok, err
}

// phaseName spares a copy of the one name that every request has.
func phaseName(b []byte) string {
	if string(b) == phaseAccess {
		return phaseAccess
	}
	return string(b)
}

// decodeString reads a message whose field 1 is a string or bytes
// (kong_plugin_protocol.String). Kong sends nothing for an absent value.
func decodeString(b []byte) (string, error) {
	var s string
	err := eachField(b, func(field int, part []byte, _ uint64) error {
		if field == 1 {
			s = string(part)
		}
		return nil
	})
	return s, err
}

// decodeStringValue reads a google.protobuf.Value that should be a string;
// ok is false for any other kind, Kong's "no such key" among them.
func decodeStringValue[T string | []byte](b T) (s string, ok bool, err error) {
	err = eachField(b, func(field int, part T, _ uint64) error {
		s, ok = "", false
		if field == valueString {
			s, ok = string(part), true
		}
		return nil
	})
	return s, ok, err
}

// decodeHeaders reads the google.protobuf.Struct that get_headers answers. All
// the strings are parts of one copy of it.
func decodeHeaders(b []byte) ([]Header, error) {
	names := 0
	err := eachField(b, func(int, []byte, uint64) error { names++; return nil })
	if err != nil {
		return nil, err
	}
	names = min(names, MaxHeaders)
	headers := make([]Header, 0, names)
	values := make([]string, 0, names) // seldom more: most headers have one
	err = eachField(string(b), func(field int, entry string, _ uint64) error {
		if field != 1 {
			return nil
		}
		var h Header
		from := len(values)
		err := eachField(entry, func(field int, part string, _ uint64) (err error) {
			switch field {
			case 1:
				h.Name = part
			case 2:
				values, err = decodeStrings(values, part)
			}
			return err
		})
		h.Values = values[from:len(values):len(values)]
		headers = append(headers, h)
		return err
	})
	return headers, err
}

// decodeStrings appends the strings of a Value that is a string or a list of
// strings. get_headers knows no other kind, a list in a list neither. A Value
// of no bytes is an empty string whose writer left out what is the default.
func decodeStrings(to []string, value string) ([]string, error) {
	if value == "" {
		return append(to, ""), nil
	}
	err := eachField(value, func(kind int, part string, _ uint64) error {
		switch kind {
		case valueString:
			to = append(to, part)
			return nil
		case valueList:
			return eachField(part, func(_ int, item string, _ uint64) error {
				s, ok, err := decodeStringValue(item)
				if err == nil && !ok && item != "" {
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
	err = eachField(b, func(field int, part []byte, _ uint64) error {
		switch field {
		case bodyContent:
			body.Content = part
		case bodyFilepath:
			body.FilePath = string(part)
		case bodyError:
			return fmt.Errorf("kong can't read the request's body: %s", part)
		}
		return nil
	})
	return body, err
}
