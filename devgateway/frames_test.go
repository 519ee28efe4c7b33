package devgateway

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

func appendTestFrame(b *bytes.Buffer, msg []byte) {
	_ = binary.Write(b, binary.LittleEndian, uint32(len(msg)))
	b.Write(msg)
}

func writeTestFrames(c net.Conn, msgs ...[]byte) bool {
	var b bytes.Buffer
	for _, m := range msgs {
		appendTestFrame(&b, m)
	}
	_, err := c.Write(b.Bytes())
	return err == nil
}

func sendReturn(c net.Conn, ret *kong_plugin_protocol.RpcReturn) bool {
	b, err := proto.Marshal(ret)
	return err == nil && writeTestFrames(c, b)
}

func readTestFrame(c net.Conn) ([]byte, error) {
	var n uint32
	if err := binary.Read(c, binary.LittleEndian, &n); err != nil {
		return nil, err
	}
	if n > 64<<20 {
		return nil, errors.New("frame too long")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, err
}

// pdkDescriptors maps kong.request.get_headers and the like to their types.
var pdkDescriptors = func() map[string]protoreflect.MethodDescriptor {
	out := map[string]protoreflect.MethodDescriptor{}
	boundary := regexp.MustCompile(`([a-z]\d*)([A-Z])`)
	methods := kong_plugin_protocol.File_server_kong_plugin_protocol_pluginsocket_proto.Services().ByName("Kong").Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		name := "kong." + strings.ReplaceAll(string(m.Name()), "_", ".")
		name = strings.ToLower(boundary.ReplaceAllString(boundary.ReplaceAllString(name, "${1}_${2}"), "${1}_${2}"))
		name = strings.NewReplacer("kong.ctx.set_shared", "kong.ctx.shared.set", "kong.ctx.get_shared", "kong.ctx.shared.get").Replace(name)
		out[name] = m
	}
	return out
}()

// encodeArgs makes a call's argument frame of its JSON or its raw bytes.
func encodeArgs(call scriptedCall) []byte {
	if call.ArgsB64 != "" {
		b, err := base64.StdEncoding.DecodeString(call.ArgsB64)
		if err != nil {
			panic(err) // the script itself is broken
		}
		return b
	}
	m := pdkDescriptors[call.Method]
	if m == nil || call.Args == "" {
		return nil
	}
	if strings.HasSuffix(call.Args, " characters)") {
		call.Args = longArgs(call.Method)
	}
	msg := dynamicpb.NewMessage(m.Input())
	if err := protojson.Unmarshal([]byte(call.Args), msg); err != nil {
		panic(call.Method + ": " + err.Error())
	}
	b, err := proto.Marshal(msg)
	if err != nil {
		panic(err)
	}
	return b
}

// longArgs are argument texts the recordings only give the length of.
func longArgs(method string) string {
	repeat := func(s string, n int) string { return strings.Repeat(s, n) }
	var v any
	switch method {
	case "kong.service.request.set_header":
		v = map[string]any{"k": "X-New", "v": repeat("a", 100000)}
	case "kong.service.request.set_raw_body":
		v = map[string]any{"v": base64.StdEncoding.EncodeToString([]byte(repeat("z", 1<<20)))}
	case "kong.response.exit":
		v = map[string]any{"status": 200, "body": base64.StdEncoding.EncodeToString([]byte(repeat("B", 1<<18))),
			"headers": map[string]any{"Content-Type": "text/plain"}}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
