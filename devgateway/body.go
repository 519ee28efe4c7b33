package devgateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Kong's client_body_buffer_size. With a Content-Length nginx keeps up to a
// quarter more in memory; what is larger goes to a file.
const (
	bodyBufferBytes   = 8 << 10
	bodyInMemoryBytes = bodyBufferBytes + bodyBufferBytes/4
	maxDiscardBytes   = 64 << 20
)

// requestBody is a request's body. It is read only when a plugin asks for it
// or when the request is proxied, and then whole, as nginx does.
type requestBody struct {
	src    io.Reader
	dir    string // for temporary files
	length int64  // -1: chunked
	before func() error
	loaded bool
	cut    bool // a plugin made it shorter: the rest is left on the connection
	data   []byte
	file   string
	size   int64
}

var bodyFileNumber atomic.Int64

func newRequestBody(r *bufio.Reader, h *requestHead, dir string, before func() error) *requestBody {
	b := &requestBody{dir: dir, length: h.length, before: before, src: io.LimitReader(r, h.length)}
	if h.length < 0 {
		b.src = &chunkedBody{r: r, chunks: httputil.NewChunkedReader(r)}
	}
	return b
}

// chunkedBody also reads the trailer lines that follow the last chunk.
type chunkedBody struct {
	r      *bufio.Reader
	chunks io.Reader
	done   bool
}

func (c *chunkedBody) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	n, err := c.chunks.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	c.done = true
	budget := maxHeadBytes
	for {
		line, lerr := readLine(c.r, &budget, 400)
		if lerr != nil {
			return n, lerr
		}
		if line == "" {
			return n, io.EOF
		}
	}
}

// limit makes the body end after n bytes, as a changed Content-Length does.
func (b *requestBody) limit(n int64) {
	if !b.loaded && b.length >= 0 && n < b.length {
		b.src = io.LimitReader(b.src, n)
		b.length, b.cut = n, true
	}
}

// load reads the body, into memory or into a file.
func (b *requestBody) load() error {
	if b.loaded {
		return nil
	}
	b.loaded = true
	if b.length == 0 {
		return nil
	}
	if err := b.before(); err != nil {
		return err
	}
	keep := int64(bodyInMemoryBytes - 1)
	if b.length < 0 {
		keep = bodyBufferBytes
	}
	var buf bytes.Buffer
	n, err := io.CopyN(&buf, b.src, keep+1)
	if err == nil { // there is more than fits
		return b.spill(&buf)
	}
	if !errors.Is(err, io.EOF) || (b.length > 0 && n < b.length) {
		return errBadRequest
	}
	b.data, b.size = buf.Bytes(), n
	return nil
}

func (b *requestBody) spill(start *bytes.Buffer) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("request body: %w", err)
	}
	path := filepath.Join(b.dir, fmt.Sprintf("%010d", bodyFileNumber.Add(1)))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("request body: %w", err)
	}
	b.file = path
	first, err := start.WriteTo(f)
	if err == nil {
		var more int64
		more, err = io.Copy(f, b.src)
		b.size = first + more
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil || (b.length > 0 && b.size < b.length) {
		return errBadRequest
	}
	return nil
}

// replace is ngx.req.set_body_data.
func (b *requestBody) replace(data []byte) {
	b.close()
	b.data, b.size, b.loaded = data, int64(len(data)), true
}

// open gives the loaded body for sending upstream.
func (b *requestBody) open() (io.ReadCloser, error) {
	if b.file != "" {
		return os.Open(b.file)
	}
	return io.NopCloser(bytes.NewReader(b.data)), nil
}

var errLeftover = errors.New("the rest of the body is left on the connection")

// discard reads what is left, so that the connection can be used again.
func (b *requestBody) discard() error {
	if b.cut {
		return errLeftover
	}
	if b.loaded || b.length == 0 {
		return nil
	}
	n, err := io.Copy(io.Discard, io.LimitReader(b.src, maxDiscardBytes))
	if err == nil && n == maxDiscardBytes {
		return errLeftover
	}
	return err
}

func (b *requestBody) close() {
	if b.file != "" {
		_ = os.Remove(b.file) // nothing to do about a leftover temporary file
		b.file = ""
	}
}
