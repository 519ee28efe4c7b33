package devgateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPDKQuirks holds what surprises a plugin, without any recording at hand.
func TestPDKQuirks(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		calls   []scriptedCall
		request rawRequest
		want    []string // HOST is the request's own
		status  int
	}{
		"names match with dashes and underscores": {
			calls:   []scriptedCall{call("request.get_header", `{"v":"X-Name"}`), call("request.get_header", `{"v":"x_name"}`)},
			request: rawRequest{headers: headers{{"x_name", "v"}}}, want: []string{"{v=v}", "{v=v}"}, status: 200},
		"raw bytes in a header": {
			calls:   []scriptedCall{call("request.get_header", `{"v":"x-l"}`)},
			request: rawRequest{headers: headers{{"X-L", "caf\xe9"}}}, want: []string{`{v=caf\xe9}`}, status: 200},
		"several headers are a list": {
			calls:   []scriptedCall{call("request.get_headers", `{"v":100}`)},
			request: rawRequest{headers: headers{{"A", "1"}, {"a", "2"}}},
			want:    []string{"{fields={key=a value={list_value={values={string_value=1},{string_value=2}}}},{key=host value={string_value=HOST}}}"}, status: 200},
		"get_headers is cut silently": {
			calls:   []scriptedCall{call("request.get_headers", `{"v":1}`)},
			request: rawRequest{headers: headers{{"A", "1"}}}, want: []string{"{fields={key=host value={string_value=HOST}}}"}, status: 200},
		"get_headers of 0":               {calls: []scriptedCall{call("request.get_headers", `{"v":0}`)}, want: []string{"closed"}, status: 500},
		"get_headers of 1001":            {calls: []scriptedCall{call("request.get_headers", `{"v":1001}`)}, want: []string{"closed"}, status: 500},
		"a bare flag ends the event":     {calls: []scriptedCall{call("request.get_query_arg", `{"v":"z"}`)}, request: rawRequest{path: "/?z"}, want: []string{"closed"}, status: 500},
		"a bare flag is true":            {calls: []scriptedCall{call("request.get_query", `{"v":9}`)}, request: rawRequest{path: "/?z"}, want: []string{"{fields={key=z value={bool_value=true}}}"}, status: 200},
		"the path is normalised":         {calls: []scriptedCall{call("request.get_path", "")}, request: rawRequest{path: "/%61/%2f//b/../c%20"}, want: []string{"{v=/a/%2F/c }"}, status: 200},
		"the path with query is raw":     {calls: []scriptedCall{call("request.get_path_with_query", "")}, request: rawRequest{path: "/%61?x=%41"}, want: []string{"{v=/%61?x=%41}"}, status: 200},
		"no body is present, empty":      {calls: []scriptedCall{call("request.get_raw_body", "")}, want: []string{"{content=}"}, status: 200},
		"an unknown variable is nil":     {calls: []scriptedCall{call("nginx.get_var", `{"v":"no_such"}`)}, want: []string{"{}"}, status: 200},
		"a missing shared value":         {calls: []scriptedCall{call("ctx.shared.get", `{"v":"x"}`)}, want: []string{"{null_value=1}"}, status: 200},
		"false is lost":                  {calls: []scriptedCall{call("ctx.shared.set", `{"k":"x","v":false}`), call("ctx.shared.get", `{"v":"x"}`)}, want: []string{"{}", "{null_value=1}"}, status: 200},
		"null becomes its name":          {calls: []scriptedCall{call("ctx.shared.set", `{"k":"x","v":null}`), call("ctx.shared.get", `{"v":"x"}`)}, want: []string{"{}", "{string_value=NULL_VALUE}"}, status: 200},
		"an empty list is a struct":      {calls: []scriptedCall{call("ctx.shared.set", `{"k":"x","v":[]}`), call("ctx.shared.get", `{"v":"x"}`)}, want: []string{"{}", "{struct_value={}}"}, status: 200},
		"status 99":                      {calls: []scriptedCall{call("response.exit", `{"status":99}`)}, want: []string{"closed"}, status: 500},
		"authenticate with nothing":      {calls: []scriptedCall{call("client.authenticate", `{}`)}, want: []string{"closed"}, status: 500},
		"a name is no id":                {calls: []scriptedCall{call("client.load_consumer", `{"id":"alice"}`)}, want: []string{"closed"}, status: 500},
		"an unknown name is empty":       {calls: []scriptedCall{call("client.load_consumer", `{"id":"alice","byUsername":true}`)}, want: []string{"{}"}, status: 200},
		"a lower-case method":            {calls: []scriptedCall{call("service.request.set_method", `{"v":"post"}`)}, want: []string{"closed"}, status: 500},
		"a path without slash":           {calls: []scriptedCall{call("service.request.set_path", `{"v":"x"}`)}, want: []string{"closed"}, status: 500},
		"a header of false":              {calls: []scriptedCall{call("service.request.set_header", `{"k":"A","v":false}`)}, want: []string{"closed"}, status: 500},
		"the log phase's alone":          {calls: []scriptedCall{call("log.serialize", "")}, want: []string{"closed"}, status: 500},
		"a response before there is one": {calls: []scriptedCall{call("response.get_status", "")}, want: []string{"closed"}, status: 500},
	}
	names := sortedKeys(cases)
	host := func(i int) string { return fmt.Sprintf("h%d.test", i) }
	calls := map[string][]scriptedCall{}
	for i, name := range names {
		calls[host(i)] = cases[name].calls
	}
	onEach(t, routesOf(t, "rec-hi", calls), func(t *testing.T, b *bench) {
		for i, name := range names {
			t.Run(name, func(t *testing.T) {
				c := cases[name]
				c.request.host = host(i)
				res := b.on(t).send(c.request)
				require.NoError(t, res.err)
				require.Equal(t, c.status, res.status)
				for n, want := range c.want {
					c.want[n] = strings.ReplaceAll(want, "HOST", host(i))
				}
				require.Equal(t, c.want, b.on(t).replies())
			})
		}
	})
}

// TestUpstreamQuirks holds what a plugin's edits become on the wire.
func TestUpstreamQuirks(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		calls   []scriptedCall
		request headers
		want    []string // lines among those the upstream saw
		gone    []string // names it did not see
	}{
		"a dash does not clear an underscore": {
			calls: []scriptedCall{call("service.request.clear_header", `{"v":"X-User"}`)}, request: headers{{"X-User", "a"}, {"x_user", "b"}},
			want: []string{"x_user: b"}, gone: []string{"X-User"}},
		"control bytes are escaped": {
			calls: []scriptedCall{call("service.request.set_header", `{"k":"X-A","v":"a\r\nB: 1"}`)}, want: []string{"X-A: a%0D%0AB: 1"}},
		"an empty value is a space": {calls: []scriptedCall{call("service.request.set_header", `{"k":"X-A","v":""}`)}, want: []string{"X-A:  "}},
		"Kong's own headers win": {
			calls: []scriptedCall{call("service.request.set_headers", `{"X-Real-IP":"1.2.3.4","X-Forwarded-For":"1.2.3.4","Connection":"close"}`)},
			want:  []string{"X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1", "Connection: keep-alive"}},
		"a client's Connection takes away what a plugin set": {
			calls: []scriptedCall{call("service.request.set_header", `{"k":"X-User","v":"alice"}`)}, request: headers{{"Connection", "x-user"}}, gone: []string{"X-User"}},
		"Connection in any case, among others": {
			calls: []scriptedCall{call("service.request.set_header", `{"k":"X-User","v":"alice"}`)}, request: headers{{"Connection", "close, X-USER ,x-other"}, {"X-Other", "1"}},
			gone: []string{"X-User", "X-Other"}},
		"Connection may name the credential": {
			calls: []scriptedCall{call("service.request.set_header", `{"k":"Authorization","v":"Basic x"}`)}, request: headers{{"Connection", "authorization"}},
			gone: []string{"Authorization"}},
		"only the first Connection counts": {
			calls:   []scriptedCall{call("service.request.set_header", `{"k":"X-User","v":"alice"}`)},
			request: headers{{"Connection", "keep-alive"}, {"Connection", "x-user"}}, want: []string{"X-User: alice"}},
		"Connection beyond the first 100 headers does not count": {
			calls:   []scriptedCall{call("service.request.set_header", `{"k":"X-User","v":"alice"}`)},
			request: append(fillers(100), header{"Connection", "x-user"}), want: []string{"X-User: alice"}},
		"Connection keeps a name with a tab before it": {
			calls:   []scriptedCall{call("service.request.set_header", `{"k":"X-User","v":"alice"}`)},
			request: headers{{"Connection", "te,\tx-user"}}, want: []string{"X-User: alice"}},
		"Connection drops a dash for no underscore": {
			calls:   []scriptedCall{call("service.request.set_header", `{"k":"X-User","v":"alice"}`)},
			request: headers{{"Connection", "x_user"}, {"x_user", "bob"}}, want: []string{"X-User: alice"}, gone: []string{"x_user"}},
		"a proxy's headers go":         {request: headers{{"Proxy", "1"}, {"Proxy-Connection", "keep-alive"}}, gone: []string{"Proxy", "Proxy-Connection"}},
		"trailers are asked for on":    {request: headers{{"TE", "gzip, trailers"}}, want: []string{"TE: trailers"}},
		"no other TE":                  {request: headers{{"TE", "gzip"}}, gone: []string{"TE"}},
		"an upgrade to h2c goes":       {request: headers{{"Connection", "Upgrade"}, {"Upgrade", "h2c"}}, want: []string{"Connection: keep-alive"}, gone: []string{"Upgrade"}},
		"names keep the client's case": {request: headers{{"x-LOW", "1"}}, calls: []scriptedCall{call("service.request.set_header", `{"k":"X-Low","v":"2"}`)}, want: []string{"x-LOW: 2"}},
	}
	names := sortedKeys(cases)
	host := func(i int) string { return fmt.Sprintf("h%d.test", i) }
	calls := map[string][]scriptedCall{}
	for i, name := range names {
		calls[host(i)] = cases[name].calls
	}
	onEach(t, routesOf(t, "rec-hi", calls), func(t *testing.T, b *bench) {
		for i, name := range names {
			t.Run(name, func(t *testing.T) {
				c := cases[name]
				require.Equal(t, 200, b.on(t).send(rawRequest{host: host(i), headers: c.request}).status)
				seen := b.up.take()
				require.Len(t, seen, 1)
				var lines []string
				for _, h := range seen[0].headers {
					lines = append(lines, h.name+": "+h.value)
				}
				require.Subset(t, lines, c.want)
				for _, name := range c.gone {
					require.False(t, seen[0].headers.has(name), name)
				}
			})
		}
	})
}

func fillers(n int) headers {
	var h headers
	for i := range n {
		h.add(fmt.Sprintf("X-Filler-%d", i), "1")
	}
	return h
}

// TestClosedSocketRunsAgain: Kong starts the instance again and repeats the
// event; what void calls did stays done.
func TestClosedSocketRunsAgain(t *testing.T) {
	t.Parallel()
	script := strings.Replace(oneRoute(t, "rec-hi", call("service.request.add_header", `{"k":"X-Add","v":"a"}`)),
		`"config":{`, `"config":{"case":"c","misbehave":"close_after","times":2,`, 1)
	onEach(t, script, func(t *testing.T, b *bench) {
		require.Equal(t, 200, b.on(t).send(rawRequest{}).status)
		require.Equal(t, []string{"a", "a", "a"}, b.up.take()[0].headers.values("X-Add"))
	})

	forEver := newBench(t, strings.Replace(script, `"times":2`, `"times":1000`, 1), func(s *Settings) { s.MaxReruns = 5 })
	require.Equal(t, 500, forEver.send(rawRequest{}).status, "an end that Kong does not have")
}

func TestReadLimit(t *testing.T) {
	t.Parallel()
	long := newBench(t, strings.Replace(oneRoute(t, "rec-hi"), `"calls":[]`, `"calls":[{"method":"@sleep","args":"61000"}]`, 1),
		func(s *Settings) { s.ReadTimeout = 100 * time.Millisecond })
	require.Equal(t, 500, long.send(rawRequest{}).status)
}

func TestHeadersAtNginxsLimits(t *testing.T) {
	t.Parallel()
	onEach(t, oneRoute(t, "rec-hi"), atNginxsLimits)
}

func atNginxsLimits(t *testing.T, b *bench) {
	b = b.on(t)
	require.Equal(t, 200, b.send(rawRequest{headers: fillers(999)}).status, "Host is one too")
	require.Len(t, b.up.take()[0].headers.values("X-Filler-998"), 1)
	require.Equal(t, 400, b.send(rawRequest{headers: fillers(1000)}).status)
	require.Equal(t, 400, b.send(rawRequest{headers: headers{{"X", strings.Repeat("v", 9<<10)}}}).status)
	require.Equal(t, 400, b.send(rawRequest{headers: headers{{"A", strings.Repeat("v", 8000)}, {"B", strings.Repeat("v", 8000)},
		{"C", strings.Repeat("v", 8000)}, {"D", strings.Repeat("v", 8000)}, {"E", strings.Repeat("v", 8000)}}}).status)
	require.Equal(t, 414, b.send(rawRequest{path: "/" + strings.Repeat("p", 9<<10)}).status)
	require.Equal(t, 400, b.send(rawRequest{headers: headers{{"A B", "v"}}}).status)
	require.Equal(t, 200, b.send(rawRequest{headers: headers{{"A.B", "v"}}}).status)
	require.False(t, b.up.take()[0].headers.has("A.B"), "a name with other characters is dropped without a word")
}
