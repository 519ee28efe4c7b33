package devgateway

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// origin is a raw HTTP server behind the gateway that notes requests byte for
// byte and answers as the recordings' did.
type origin struct {
	listener net.Listener
	mu       sync.Mutex
	seen     []seenRequest
	answer   func(seenRequest) string // whole response; nil: the usual one
}

type seenRequest struct {
	line    string
	headers headers
	body    []byte
}

func newOrigin(t testing.TB) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := &origin{listener: l}
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() { o.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return o
}

func (o *origin) port() int { return o.listener.Addr().(*net.TCPAddr).Port }

func (o *origin) take() []seenRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.seen
	o.seen = nil
	return seen
}

func (o *origin) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		req, err := readSeen(r)
		if err != nil {
			return
		}
		o.mu.Lock()
		o.seen = append(o.seen, req)
		answer := o.answer
		o.mu.Unlock()
		if up, ok := req.headers.first("Upgrade"); ok && up == "websocket" {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			echoFrame(c, r)
			return
		}
		body := fmt.Sprintf("{\"ok\":true,\"sha\":%q}\n", hex.EncodeToString(req.body[:min(len(req.body), 4)]))
		text := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) +
			"\r\nX-Upstream: raw\r\nX-Multi: a\r\nX-Multi: b\r\nX-Up_Score: u\r\n\r\n"
		if !strings.HasPrefix(req.line, "HEAD ") {
			text += body
		}
		if answer != nil {
			text = answer(req)
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

func readSeen(r *bufio.Reader) (seenRequest, error) {
	var req seenRequest
	line, err := r.ReadString('\n')
	if err != nil {
		return req, err
	}
	req.line = strings.TrimRight(line, "\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return req, err
		}
		line = strings.TrimSuffix(line, "\r\n")
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		req.headers.add(name, strings.TrimPrefix(value, " "))
	}
	switch cl, hasLength := req.headers.first("Content-Length"); {
	case hasLength:
		n, err := strconv.Atoi(cl)
		if err != nil {
			return req, err
		}
		req.body = make([]byte, n)
		_, err = io.ReadFull(r, req.body)
		return req, err
	case req.headers.has("Transfer-Encoding"):
		req.body, err = io.ReadAll(&chunkedBody{r: r, chunks: httputil.NewChunkedReader(r)})
	}
	return req, err
}

// echoFrame answers one masked websocket text frame with its text.
func echoFrame(w io.Writer, r io.Reader) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return
	}
	text := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, text); err != nil {
		return
	}
	for i := range text {
		text[i] ^= head[2+i%4]
	}
	_, _ = w.Write(append([]byte{0x81, byte(len(text))}, text...))
}
