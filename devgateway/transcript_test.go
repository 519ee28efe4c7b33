package devgateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// Recordings of a real Kong 3.9.3: what a plugin called, what Kong replied,
// what client and upstream saw. TestReplay plays them against devgateway.
type transcript struct {
	Case string
	Kong struct {
		Route   map[string]any
		Service *string
		Plugins []map[string]any
	}
	KongConf  map[string]any `json:"kong_conf"`
	Request   transcriptRequest
	Events    []transcriptEvent
	Starts    []transcriptStart       `json:"start_instance"`
	Conns     []struct{ Kind string } `json:"connection_events"`
	Response  *transcriptResponse     `json:"client_response"`
	Responses []transcriptResponse    `json:"client_responses"`
	Upstream  []struct {
		Line    string `json:"request_line"`
		Headers [][2]string
		Body    transcriptBody
	} `json:"upstream_saw"`
	Websocket *struct {
		Sent string `json:"sent_text"`
		Got  string `json:"got_text"`
	}
}

type transcriptRequest struct {
	Method, Path, HTTP, Host string
	TLS, Chunked             bool
	Headers                  [][2]any
	Body                     *transcriptBody
}

type transcriptBody struct {
	Text   *string
	B64    *string
	SHA256 string
	Length int
}

type transcriptEvent struct {
	Plugin, Phase, End string
	Calls              []struct {
		Method     string
		ReplyB64   *string         `json:"reply_b64"`
		ReplyType  string          `json:"reply_type"`
		ReplyBytes *transcriptBody `json:"reply_bytes"`
		NoReply    string          `json:"no_reply"`
	}
}

type transcriptStart struct {
	Plugin string
	Frame  *string `json:"frame_b64"`
}

type transcriptResponse struct {
	StatusLine string `json:"status_line"`
	Headers    [][2]string
	Body       transcriptBody
	Interim    []int
	Error      string
}

func (r transcriptRequest) raw(t *testing.T) rawRequest {
	q := rawRequest{method: r.Method, path: latin1(r.Path), version: r.HTTP, host: r.Host, chunked: r.Chunked}
	for _, h := range r.Headers {
		name := h[0].(string)
		switch v := h[1].(type) {
		case string:
			q.headers.add(name, v)
		case map[string]any:
			b, err := base64.StdEncoding.DecodeString(v["b64"].(string))
			require.NoError(t, err)
			q.headers.add(name, string(b))
		}
	}
	if r.Body != nil {
		q.hasBody = true
		q.body = r.Body.bytes(t)
	}
	return q
}

// latin1: a raw byte in a path is recorded as the character of that number.
func latin1(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

// bytes gives the body; those known by their digest alone are a repeated
// pattern.
func (b transcriptBody) bytes(t *testing.T) []byte {
	switch {
	case b.Text != nil:
		return []byte(*b.Text)
	case b.B64 != nil:
		raw, err := base64.StdEncoding.DecodeString(*b.B64)
		require.NoError(t, err)
		return raw
	}
	for _, unit := range []string{"x", "y", "q", "0123456789abcdef"} {
		body := bytes.Repeat([]byte(unit), b.Length/len(unit))
		if digest(body) == b.SHA256 {
			return body
		}
	}
	require.Fail(t, "unknown body", "%+v", b)
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// matches compares a body with a recorded one.
func (b transcriptBody) matches(got []byte, m *masker) bool {
	switch {
	case b.Text != nil:
		return m.mask(*b.Text) == m.mask(printable(got))
	case b.B64 != nil:
		return *b.B64 == base64.StdEncoding.EncodeToString(got)
	}
	return b.SHA256 == digest(got)
}
