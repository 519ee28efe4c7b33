package devgateway

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// masker hides what differs from run to run.
type masker struct {
	ports map[string]string // as written, to the part that listens there
}

func (p *player) masks(gw *Gateway, c *rawClient) *masker {
	_, client := splitHostPort(c.conn.LocalAddr().String())
	return &masker{map[string]string{
		"19300": "PROXY", "19320": "PROXY", strconv.Itoa(gw.proxyPort()): "PROXY",
		"19310": "SVC", strconv.Itoa(p.svc.port()): "SVC",
		"19311": "OTHER", strconv.Itoa(p.other.port()): "OTHER",
		"19399": "CLOSED", strconv.Itoa(p.closed): "CLOSED",
		strconv.Itoa(client): "CLIENT",
	}}
}

// anyNumber may be a port; digits within an id are none.
var anyNumber = regexp.MustCompile(`\b\d{4,5}\b`)

var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "HEX32"},
	{regexp.MustCompile(`\b179\d{7}(\.\d+)?\b`), "TIME"},
	{regexp.MustCompile(`\b1\.79\d+e\+(09|12|18)\b`), "TIME"},
	{regexp.MustCompile(`latency value=\{string_value=\d+\}`), "latency"},
	{regexp.MustCompile(`table: 0x[0-9a-f]+`), "TABLE"},
	{regexp.MustCompile(`/[^ ={}]*/client_body_temp/\d{10}`), "BODYFILE"},
}

func (m *masker) mask(s string) string {
	s = anyNumber.ReplaceAllStringFunc(s, func(n string) string {
		if part, ok := m.ports[n]; ok {
			return part
		}
		return n
	})
	for _, r := range masks {
		s = r.pattern.ReplaceAllString(s, r.with)
	}
	return s
}

var volatileHeaders = map[string]bool{"date": true, "x-kong-upstream-latency": true, "x-kong-proxy-latency": true,
	"x-kong-response-latency": true, "ratelimit-reset": true, "retry-after": true}

func (m *masker) lines(hs headers) []string {
	out := make([]string, len(hs))
	for i, h := range hs {
		v := printable([]byte(h.value))
		if volatileHeaders[strings.ToLower(h.name)] {
			v = "*"
		}
		if len(v) > 2000 {
			v = fmt.Sprintf("(%d bytes)", len(v))
		}
		out[i] = h.name + ": " + m.mask(v)
	}
	// The order of different names is nginx's hash order; of one name it counts.
	sort.SliceStable(out, func(i, j int) bool {
		a, _, _ := strings.Cut(out[i], ":")
		b, _, _ := strings.Cut(out[j], ":")
		return strings.ToLower(a) < strings.ToLower(b)
	})
	return out
}

func pairs(hs [][2]string) headers {
	out := headers{}
	for _, h := range hs {
		out.add(h[0], h[1])
	}
	return out
}

func compareResponse(want *transcriptResponse, got rawResponse, m *masker) []string {
	if want.Error != "" {
		if got.err == nil {
			return []string{"client: want no response, got " + got.statusLine}
		}
		return nil
	}
	if got.err != nil {
		return []string{"client: " + got.err.Error()}
	}
	var diffs []string
	if want.StatusLine != strings.TrimSpace(got.statusLine) {
		diffs = append(diffs, fmt.Sprintf("client: status: want %q, got %q", want.StatusLine, got.statusLine))
	}
	if !slices.Equal(want.Interim, got.interim) {
		diffs = append(diffs, fmt.Sprintf("client: interim: want %v, got %v", want.Interim, got.interim))
	}
	diffs = append(diffs, diffLines("client header", m.lines(pairs(want.Headers)), m.lines(got.headers))...)
	if !want.Body.matches(got.body, m) {
		diffs = append(diffs, fmt.Sprintf("client: body: want %s, got %.300q", show(want.Body), got.body))
	}
	return diffs
}

func show(b transcriptBody) string {
	if b.Text != nil {
		return strconv.Quote(*b.Text)
	}
	return fmt.Sprintf("%d bytes", b.Length)
}

func diffLines(what string, want, got []string) []string {
	if slices.Equal(want, got) {
		return nil
	}
	var diffs []string
	for _, l := range want {
		if !slices.Contains(got, l) {
			diffs = append(diffs, what+": want "+l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			diffs = append(diffs, what+": got "+l)
		}
	}
	if diffs == nil {
		diffs = append(diffs, fmt.Sprintf("%s order: want %v, got %v", what, want, got))
	}
	return diffs
}

func compareEvents(want []transcriptEvent, got []*recordedEvent, m *masker) (diffs []string, wrong int) {
	phases := []string{"rewrite", "access", "response", "log"}
	sort.SliceStable(want, func(i, j int) bool {
		return slices.Index(phases, want[i].Phase) < slices.Index(phases, want[j].Phase)
	})
	sort.SliceStable(got, func(i, j int) bool {
		return slices.Index(phases, got[i].Phase) < slices.Index(phases, got[j].Phase)
	})
	for i, w := range want {
		name := fmt.Sprintf("event %d %s %s", i, w.Plugin, w.Phase)
		if i >= len(got) {
			diffs = append(diffs, name+": missing")
			wrong += len(w.Calls)
			continue
		}
		g := got[i]
		if w.Plugin != g.Plugin || w.Phase != g.Phase || w.End != g.End {
			diffs = append(diffs, fmt.Sprintf("%s ended %q: got %s %s ended %q", name, w.End, g.Plugin, g.Phase, g.End))
		}
		calls := slices.DeleteFunc(slices.Clone(w.Calls), func(c struct {
			Method     string
			ReplyB64   *string         `json:"reply_b64"`
			ReplyType  string          `json:"reply_type"`
			ReplyBytes *transcriptBody `json:"reply_bytes"`
			NoReply    string          `json:"no_reply"`
		}) bool {
			return c.Method == "@sleep"
		})
		for j, c := range calls {
			if j >= len(g.Calls) {
				diffs = append(diffs, fmt.Sprintf("%s call %d %s: not made", name, j, c.Method))
				wrong++
				continue
			}
			if d := compareCall(c.ReplyB64, c.ReplyType, c.ReplyBytes, c.NoReply != "" || c.ReplyB64 == nil && c.ReplyBytes == nil, g.Calls[j], c.Method, m); d != "" {
				diffs = append(diffs, fmt.Sprintf("%s call %d %s: %s", name, j, c.Method, d))
				wrong++
			}
		}
	}
	if len(got) > len(want) {
		diffs = append(diffs, fmt.Sprintf("%d events too many", len(got)-len(want)))
	}
	return diffs, wrong
}

// volatileReplies hold nothing that could agree.
var volatileReplies = map[string]bool{"kong.node.get_memory_stats": true, "kong.node.get_id": true, "kong.nginx.req_start_time": true}

func compareCall(b64 *string, typ string, sum *transcriptBody, none bool, got recordedCall, method string, m *masker) string {
	if none || got.None {
		if none != got.None {
			return fmt.Sprintf("no reply: want %v, got %v (%q)", none, got.None, got.Reply)
		}
		return ""
	}
	if sum != nil {
		if !sum.matches(got.Reply, m) {
			return "another reply of many bytes"
		}
		return ""
	}
	want, err := base64.StdEncoding.DecodeString(*b64)
	if err != nil {
		return err.Error()
	}
	if bytes.Equal(want, got.Reply) {
		return ""
	}
	if volatileReplies[method] && len(got.Reply) > 0 {
		return ""
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(typ))
	if err != nil {
		return err.Error()
	}
	w := m.mask(canonical(d.(protoreflect.MessageDescriptor), want))
	g := m.mask(canonical(d.(protoreflect.MessageDescriptor), got.Reply))
	if method == "kong.client.get_port" || method == "kong.client.get_forwarded_port" {
		number := regexp.MustCompile(`v=\w+`)
		w, g = number.ReplaceAllString(w, "v=N"), number.ReplaceAllString(g, "v=N")
	}
	if method == "kong.nginx.get_var" && isNumber(w) && isNumber(g) {
		return "" // $connection
	}
	if method == "kong.log.serialize" {
		return compareSerialized(want, got.Reply, m)
	}
	if w != g || (len(want) == 0) != (len(got.Reply) == 0) {
		return fmt.Sprintf("want %s, got %s", w, g)
	}
	return ""
}

var onlyNumber = regexp.MustCompile(`^\{v=[0-9A-Z]+\}$`)

func isNumber(s string) bool { return onlyNumber.MatchString(s) }

func (p *player) compareUpstream(e *transcript, m *masker) []string {
	if e.Upstream == nil {
		return nil
	}
	got := append(p.svc.take(), p.other.take()...)
	if len(got) != len(e.Upstream) {
		return []string{fmt.Sprintf("upstream: want %d requests, got %d", len(e.Upstream), len(got))}
	}
	var diffs []string
	for i, w := range e.Upstream {
		if l := m.mask(printable([]byte(got[i].line))); m.mask(w.Line) != l {
			diffs = append(diffs, fmt.Sprintf("upstream: want %q, got %q", w.Line, l))
		}
		diffs = append(diffs, diffLines("upstream header", m.lines(pairs(w.Headers)), m.lines(got[i].headers))...)
		if !w.Body.matches(got[i].body, m) {
			diffs = append(diffs, fmt.Sprintf("upstream: body: want %s, got %d bytes %.100q", show(w.Body), len(got[i].body), got[i].body))
		}
	}
	return diffs
}

func compareEcho(c *rawClient, sent, want string) []string {
	frame := []byte{0x81, 0x80 | byte(len(sent)), 1, 2, 3, 4}
	for i := range sent {
		frame = append(frame, sent[i]^frame[2+i%4])
	}
	if _, err := c.conn.Write(frame); err != nil {
		return []string{"websocket: " + err.Error()}
	}
	back := make([]byte, 2+len(want))
	if _, err := io.ReadFull(c.r, back); err != nil {
		return []string{"websocket: " + err.Error()}
	}
	if !utf8.Valid(back[2:]) || string(back[2:]) != want {
		return []string{fmt.Sprintf("websocket: want %q, got %q", want, back[2:])}
	}
	return nil
}
