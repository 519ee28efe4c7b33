package devgateway

import (
	"encoding/binary"
	"errors"
	"math"
	"sort"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The values that pass between Kong and a plugin are Lua's: nil, bool,
// float64, string (any bytes) and table. They are encoded here by hand and not
// with the generated messages, because Kong puts raw bytes into fields that
// protobuf declares as strings, which Go's protobuf refuses to write.

// list is a Lua table with an array part. A nil element is a hole.
type list []any

// dict is a Lua table with string keys.
type dict map[string]any

var errWire = errors.New("malformed protobuf message")

// message is a decoded protobuf message: every field's raw occurrences.
type message map[protowire.Number][]wireField

type wireField struct {
	kind  protowire.Type
	num   uint64
	bytes []byte
}

func parseMessage(b []byte) (message, error) {
	m := message{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return m, nil // Kong's decoder stops at a tag it can't read
		}
		b = b[n:]
		f := wireField{kind: typ}
		switch typ {
		case protowire.VarintType:
			f.num, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.num, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, errWire
		}
		b = b[n:]
		m[num] = append(m[num], f)
	}
	return m, nil
}

func (m message) last(n protowire.Number) (wireField, bool) {
	fs := m[n]
	if len(fs) == 0 {
		return wireField{}, false
	}
	return fs[len(fs)-1], true
}

func (m message) str(n protowire.Number) string {
	f, _ := m.last(n)
	return string(f.bytes)
}

func (m message) int(n protowire.Number) int64 {
	f, _ := m.last(n)
	return int64(f.num)
}

// decodeValue reads a google.protobuf.Value the way Kong unwraps it: a null
// becomes the enum's name, and false is lost (it reads back as nil).
func decodeValue(b []byte) (any, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	if f, ok := m.last(6); ok {
		return decodeList(f.bytes)
	}
	if f, ok := m.last(5); ok {
		return decodeStruct(f.bytes)
	}
	if f, ok := m.last(4); ok && f.num != 0 {
		return true, nil
	}
	if f, ok := m.last(3); ok {
		return string(f.bytes), nil
	}
	if f, ok := m.last(2); ok {
		return math.Float64frombits(f.num), nil
	}
	if f, ok := m.last(1); ok {
		if f.num == 0 {
			return "NULL_VALUE", nil
		}
		return float64(int64(f.num)), nil
	}
	return nil, nil
}

func decodeList(b []byte) (list, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	out := make(list, 0, len(m[1]))
	for _, f := range m[1] {
		v, err := decodeValue(f.bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func decodeStruct(b []byte) (dict, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nil, err
	}
	out := dict{}
	for _, f := range m[1] {
		entry, err := parseMessage(f.bytes)
		if err != nil {
			return nil, err
		}
		vf, ok := entry.last(2)
		if !ok {
			continue
		}
		v, err := decodeValue(vf.bytes)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[entry.str(1)] = v
		}
	}
	return out, nil
}

// encodeValue writes what Kong writes: nil as null_value 1 (outside the enum),
// a table as a list if it has a first element and as a struct otherwise.
func encodeValue(v any) []byte {
	var b []byte
	switch x := v.(type) {
	case nil:
		b = protowire.AppendTag(b, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	case bool:
		b = protowire.AppendTag(b, 4, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeBool(x))
	case float64:
		b = protowire.AppendTag(b, 2, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, math.Float64bits(x))
	case int:
		return encodeValue(float64(x))
	case int64:
		return encodeValue(float64(x))
	case string:
		b = appendBytes(b, 3, x)
	case list:
		if len(x) > 0 && x[0] != nil {
			return appendMessage(b, 6, encodeList(x))
		}
		return appendMessage(b, 5, encodeStruct(holesAsKeys(x)))
	case dict:
		b = appendMessage(b, 5, encodeStruct(x))
	}
	return b
}

// holesAsKeys is what a Lua table with nil at index 1 looks like to pairs().
func holesAsKeys(l list) dict {
	d := dict{}
	for i, v := range l {
		if v != nil {
			d[strconv.Itoa(i+1)] = v
		}
	}
	return d
}

func encodeList(l list) []byte {
	var b []byte
	for _, v := range l {
		if v == nil { // ipairs stops at the first hole
			break
		}
		b = appendMessage(b, 1, encodeValue(v))
	}
	return b
}

func encodeStruct(d dict) []byte {
	keys := make([]string, 0, len(d))
	for k := range d {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b []byte
	for _, k := range keys {
		var e []byte
		e = appendBytes(e, 1, k)
		e = appendMessage(e, 2, encodeValue(d[k]))
		b = appendMessage(b, 1, e)
	}
	return b
}

func appendBytes(b []byte, n protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendMessage(b []byte, n protowire.Number, m []byte) []byte {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendBytes(b, m)
}

func appendInt(b []byte, n protowire.Number, v int64) []byte {
	b = protowire.AppendTag(b, n, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

// wrapString is the message String (or ByteString) holding s; nil is the
// empty message, so a plugin can't tell nil from "".
func wrapString(s string) []byte {
	if s == "" {
		return nil
	}
	return appendBytes(nil, 1, s)
}

func wrapBool(v bool) []byte {
	return appendInt(nil, 1, int64(protowire.EncodeBool(v)))
}

func wrapInt(v int64) []byte { return appendInt(nil, 1, v) }

func wrapNumber(v float64) []byte {
	b := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}
