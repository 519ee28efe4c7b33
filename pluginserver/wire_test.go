package pluginserver

import (
	"testing"

	"github.com/Kong/go-pdk/bridge"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// The bytes written here are what go-pdk's generated types read, and the other
// way round.
func TestWireAgreesWithTheGeneratedTypes(t *testing.T) {
	t.Parallel()
	headers := []Header{{"a", []string{"1"}}, {"b", []string{"2", "", "ä,%"}}, {"empty", []string{""}}}

	var table structpb.Struct
	require.NoError(t, proto.Unmarshal(appendHeaders(nil, headers), &table))
	require.Equal(t, map[string]any{"a": "1", "b": []any{"2", "", "ä,%"}, "empty": ""}, table.AsMap())

	back, err := proto.MarshalOptions{Deterministic: true}.Marshal(&table)
	require.NoError(t, err)
	decoded, err := decodeHeaders(back)
	require.NoError(t, err)
	require.ElementsMatch(t, headers, decoded)

	var kv kong_plugin_protocol.KV
	require.NoError(t, proto.Unmarshal(appendKV(nil, "k", ""), &kv))
	require.Equal(t, "k", kv.K)
	require.Equal(t, "", kv.V.AsInterface())
	require.NoError(t, proto.Unmarshal(appendKVList(nil, "k", []string{"x", "y"}), &kv))
	require.Equal(t, []any{"x", "y"}, kv.V.AsInterface())

	var exit kong_plugin_protocol.ExitArgs
	require.NoError(t, proto.Unmarshal(appendExitArgs(nil, 403, []byte("body"), headers[:1]), &exit))
	require.Equal(t, int32(403), exit.Status)
	require.Equal(t, "body", string(exit.Body))
	require.Equal(t, map[string][]string{"a": {"1"}}, bridge.UnwrapHeaders(exit.Headers))

	value, err := proto.Marshal(structpb.NewStringValue("v"))
	require.NoError(t, err)
	s, ok, err := decodeStringValue(value)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "v", s)
	_, ok, err = decodeStringValue([]byte{0x08, 0x01}) // Kong's "no such key"
	require.NoError(t, err)
	require.False(t, ok)

	path, err := proto.Marshal(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_BodyFilepath{BodyFilepath: "/tmp/x"}})
	require.NoError(t, err)
	body, err := decodeRawBody(path)
	require.NoError(t, err)
	require.Equal(t, RawBody{FilePath: "/tmp/x"}, body)
}

// One byte of one header must not fail the request.
func TestInvalidUTF8HeadersAreRead(t *testing.T) {
	t.Parallel()
	headers := []Header{{"x-latin1", []string{"caf\xe9"}}, {"x-ok", []string{"1"}}}
	decoded, err := decodeHeaders(appendHeaders(nil, headers))
	require.NoError(t, err)
	require.Equal(t, headers, decoded)
}

func TestLongValuesKeepTheirLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 126, 127, 128, 16383, 16384, 1 << 20} {
		headers := []Header{{"h", []string{string(make([]byte, n))}}}
		decoded, err := decodeHeaders(appendHeaders(nil, headers))
		require.NoError(t, err)
		require.Equal(t, headers, decoded)
	}
}

// A list in a list in a list ... would be walked until the stack is gone.
func TestOnlyFlatListsAreHeaders(t *testing.T) {
	t.Parallel()
	nested := appendStringValue(nil, "deep")
	for range 100_000 {
		inner := nested
		nested = appendTag(make([]byte, 0, len(inner)+12), valueList, protowire.BytesType)
		nested = protowire.AppendBytes(nested, protowire.AppendBytes(appendTag(nil, 1, protowire.BytesType), inner))
		if len(nested) > 64<<10 {
			break
		}
	}
	for name, value := range map[string][]byte{
		"list in a list": nested,
		"number":         protowire.AppendFixed64(appendTag(nil, 2, protowire.Fixed64Type), 1),
		"bool in a list": appendMessage(nil, valueList, func(b []byte) []byte {
			return protowire.AppendBytes(appendTag(b, 1, protowire.BytesType), []byte{0x20, 1})
		}),
		"struct":            appendMessage(nil, 5, func(b []byte) []byte { return b }),
		"cut in the middle": {0x1a, 0x7f, 'x'},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeStrings(nil, string(value))
			require.ErrorIs(t, err, errWire)
		})
	}
	for name, value := range map[string][]byte{"left out": nil, "written": appendStringValue(nil, "")} {
		t.Run("empty string "+name, func(t *testing.T) {
			values, err := decodeStrings(nil, string(value))
			require.NoError(t, err)
			require.Equal(t, []string{""}, values)
		})
	}
}

// FuzzDecode: whatever arrives, nothing panics, and what is read as headers is
// written and read again as the same.
func FuzzDecode(f *testing.F) {
	f.Add(appendHeaders(nil, []Header{{"a", []string{"1"}}, {"b", []string{"2", "3"}}}))
	f.Add([]byte{0x08, 0x01})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeString(data)
		_, _, _ = decodeStringValue(data)
		_, _ = decodeRawBody(data)
		headers, err := decodeHeaders(data)
		if err != nil {
			return
		}
		again, err := decodeHeaders(appendHeaders(nil, headers))
		require.NoError(t, err)
		require.Len(t, again, len(headers))
	})
}
