package devgateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawRequest is a request whose bytes are the test's own.
type rawRequest struct {
	method, path, version, host string
	headers                     headers
	body                        []byte
	hasBody, chunked            bool
}

type rawResponse struct {
	statusLine string
	status     int
	headers    headers
	body       []byte
	interim    []int
	err        error
}

type rawClient struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialRaw(t testing.TB, addr string) *rawClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return &rawClient{c, bufio.NewReader(c)}
}

func (c *rawClient) do(q rawRequest) rawResponse {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/%s\r\n", q.method, q.path, q.version)
	if q.host != "" {
		head.WriteString("Host: " + q.host + "\r\n")
	}
	for _, h := range q.headers {
		head.WriteString(h.name + ": " + h.value + "\r\n")
	}
	body := q.body
	switch {
	case q.chunked:
		head.WriteString("Transfer-Encoding: chunked\r\n")
		var b bytes.Buffer
		w := httputil.NewChunkedWriter(&b)
		_, _ = w.Write(q.body)
		_ = w.Close()
		b.WriteString("\r\n")
		body = b.Bytes()
	case q.hasBody && !q.headers.has("Content-Length"):
		head.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	head.WriteString("\r\n")
	if _, err := io.WriteString(c.conn, head.String()); err != nil {
		return rawResponse{err: err}
	}
	var interim []int
	if q.headers.has("Expect") {
		res := c.read(q.method)
		if res.err != nil || res.status != 100 {
			return res
		}
		interim = append(interim, 100)
	}
	go func() { _, _ = c.conn.Write(body) }() // ends with the connection
	res := c.read(q.method)
	res.interim = append(interim, res.interim...)
	return res
}

func (c *rawClient) read(method string) rawResponse {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return rawResponse{err: err}
	}
	res := rawResponse{statusLine: strings.TrimRight(line, "\r\n")}
	parts := strings.SplitN(res.statusLine, " ", 3)
	if len(parts) < 2 {
		return rawResponse{err: fmt.Errorf("status line %q", line)}
	}
	if res.status, res.err = strconv.Atoi(parts[1]); res.err != nil {
		return res
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			res.err = err
			return res
		}
		if line = strings.TrimSuffix(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		res.headers.add(name, strings.TrimPrefix(value, " "))
	}
	if method == "HEAD" || res.status < 200 || res.status == 204 || res.status == 304 {
		return res
	}
	cl, hasLength := res.headers.first("Content-Length")
	switch {
	case res.headers.has("Transfer-Encoding"):
		res.body, res.err = io.ReadAll(&chunkedBody{r: c.r, chunks: httputil.NewChunkedReader(c.r)})
	case hasLength:
		n, err := strconv.Atoi(cl)
		if err != nil {
			res.err = err
			return res
		}
		res.body = make([]byte, n)
		_, res.err = io.ReadFull(c.r, res.body)
	default:
		res.body, res.err = io.ReadAll(c.r)
	}
	return res
}
