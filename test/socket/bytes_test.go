package socket

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/test/kongside"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// notUTF8 are bytes that no protobuf string may hold: Kong passes on what the
// client sent.
const notUTF8 = "a\xff\xfe\xc3(\x80\xed\xa0\x80"

// lines are headers as Kong tells of them, a list for each name, whatever bytes
// they have.
func lines(pairs ...string) []byte {
	var table []byte
	for i := 0; i < len(pairs); i += 2 {
		field := func(b []byte, n protowire.Number, v string) []byte {
			return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
		}
		entry := field(field(nil, 1, pairs[i]), 2, string(field(nil, 3, pairs[i+1])))
		table = field(table, 1, string(entry))
	}
	return table
}

func manyLines(n int) []byte {
	pairs := []string{"host", "gateway.example.com"}
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("x-%d", i), "1")
	}
	return lines(pairs...)
}

// whatever are answers of Kong's to each of the questions, as clients, or a
// Kong of another version, may bring them about.
func whatever(t *testing.T, token string) map[string]request {
	large := filepath.Join(t.TempDir(), "body") // beyond 8 kB nginx hands over a file
	require.NoError(t, os.WriteFile(large, []byte(`{"a":"`+strings.Repeat("x", 10<<20)+`"}`), 0o600))
	all := map[string]request{
		"a header's value":          {getHeaders: lines("x-a", notUTF8, "content-type", "application/json")},
		"a header's name":           {getHeaders: lines("x-"+notUTF8, "1", "X_"+notUTF8, "1")},
		"a reserved header's name":  {getHeaders: lines("x-caller-"+notUTF8, "root", "authorization", "Bearer "+token)},
		"a reserved header's value": {getHeaders: lines("x-caller-subject", notUTF8, "authorization", "Bearer "+token)},
		"the token":                 {getHeaders: lines("authorization", "Bearer "+notUTF8)},
		"the token's scheme":        {getHeaders: lines("authorization", notUTF8)},
		"a cookie":                  {getHeaders: lines("cookie", "a="+notUTF8)},
		"connection":                {getHeaders: lines("connection", notUTF8+", x-caller-subject")},
		"the idempotency key":       {getHeaders: lines("idempotency-key", notUTF8)},
		"a trace":                   {getHeaders: lines("traceparent", notUTF8, "prefer", notUTF8, "x-kong-prefect-stamp", notUTF8)},
		"999 headers":               {getHeaders: manyLines(998)},
		"1,000 headers":             {getHeaders: manyLines(999)},
		"1,001 headers":             {getHeaders: manyLines(1000)},
		"headers of 8 MB":           {getHeaders: lines("x-a", strings.Repeat("y", 8<<20))},
		"the path":                  {getPath: text("/" + notUTF8)},
		"the query":                 {getQuery: text(notUTF8), getVar: text(notUTF8)},
		"a bare query":              {getQuery: text("z"), getVar: text("z")},
		"a query of percents":       {getQuery: text("%ff%zz=%"), getVar: text("%ff%zz=%")},
		"the method":                {getMethod: text(notUTF8)},
		"every variable":            {getVar: text(notUTF8)},
		"the body":                  {getBody: rawBody(notUTF8)},
		"a string in the body":      {getBody: rawBody(`{"a":"` + notUTF8 + `"}`)},
		"a body in deep":            {getBody: rawBody(strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000))},
		"a body of 10 MB":           {getBody: rawBody(`{"a":"` + strings.Repeat("x", 10<<20) + `"}`)},
		"a body beyond a frame":     {getBody: rawBody(strings.Repeat("x", pluginserver.MaxFrameBytes+1))},
		"a body of 10 MB in a file": {getBody: bodyFile(large)},
		"a body in no file":         {getBody: bodyFile(large + "-gone")},
		"a body in a folder":        {getBody: bodyFile(filepath.Dir(large))},
		"a body that Kong can't":    {getBody: marshal(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Error{Error: "no"}})},
		"the identity":              {getShared: marshal(structpb.NewStringValue(`{"identity":{"Subject":"` + "\ufffd"))},
		"an identity of numbers":    {getShared: marshal(structpb.NewNumberValue(1))},
	}
	for _, method := range []string{getHeaders, getPath, getMethod, getQuery, getBody, getVar, getShared} {
		all["no sense in "+method] = request{method: []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")}
		all["nothing in "+method] = request{method: nil}
	}
	return all
}

func bodyFile(path string) []byte {
	return marshal(&kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_BodyFilepath{BodyFilepath: path}})
}

// TestWhateverBytes: no event of any plugin ends in a closed socket, for Kong
// would run it again without end. It passes or is refused, and what Kong is
// told it can be told.
func TestWhateverBytes(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t))
	token := issuer.Mint(t, nil)
	caller := callerOf(t, p, identityConfig(t, issuer, 0), token)
	answers := whatever(t, token)
	for name, usual := range map[string]struct {
		config string
		request
	}{
		plugin.IdentityName: {identityConfig(t, issuer, 0), requestOf(token, "/")},
		plugin.TriggerName:  {triggerConfig(t, 0, "owner"), startRequest(caller)},
		plugin.GuardName:    {guardConfig(t, 0), guardRequest(caller)},
	} {
		t.Run(name, func(t *testing.T) {
			for what, changed := range answers {
				r := maps.Clone(usual.request)
				maps.Copy(r, changed)
				c, id := dial(t, p.socket, name, usual.config)
				o, err := event(c, id, r)
				require.NoError(t, err, "%s: kong would run the event again, without end", what)
				requireSayable(t, what, o)
				if !o.exited { // and the connection is in step
					_, err = event(c, id, r)
					require.NoError(t, err, what)
				}
			}
		})
	}
	require.True(t, p.lives())
}

// requireSayable checks what Kong's own decoder would say of a plugin's words.
func requireSayable(t *testing.T, what string, o outcome) {
	t.Helper()
	for method, message := range map[string]proto.Message{
		kongside.MethodExit:                 new(kong_plugin_protocol.ExitArgs),
		"kong.service.request.set_headers":  new(structpb.Struct),
		"kong.service.request.clear_header": new(kong_plugin_protocol.String),
		"kong.service.request.set_raw_body": new(kong_plugin_protocol.String),
		"kong.ctx.shared.set":               new(kong_plugin_protocol.KV),
		"kong.client.authenticate":          new(kong_plugin_protocol.AuthenticateArgs),
	} {
		if args, told := o.told[method]; told {
			require.NoError(t, proto.Unmarshal(args, message), "%s: %s", what, method)
		}
	}
	if o.exited {
		require.GreaterOrEqual(t, o.exit(t).Status, int32(400), what)
		require.NotEmpty(t, o.code(t), what)
	}
}
