package devgateway

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// maxMemoryBody is nginx's client_body_buffer_size: a longer body goes into a
// file.
const maxMemoryBody = 8 << 10

// errBadPath is what nginx refuses before any plugin runs: a path above the
// root, with a NUL or with a broken escape.
var errBadPath = errors.New("path refused")

// exchange is one request on its way, as plugins see and change it.
type exchange struct {
	gw        *Gateway
	conf      *generation
	plugin    string // whose phase runs
	request   *http.Request
	requestID string
	peer      netip.AddrPort

	match   *routeMatch
	path    string // normalized
	rawPath string
	query   string
	method  string
	headers headers // to the upstream

	body     []byte
	bodyRead bool
	bodyFile string

	shared   dict
	response headers // set before there is a response
	answer   *answer
	consumer *Consumer
}

func newExchange(g *Gateway, r *http.Request) (*exchange, error) {
	x := &exchange{
		gw: g, conf: g.generation(), request: r, requestID: randomHex(16),
		method: r.Method, headers: orderedHeaders(r), shared: dict{},
	}
	var err error
	if x.peer, err = netip.ParseAddrPort(r.RemoteAddr); err != nil {
		return nil, err
	}
	x.rawPath, x.query, _ = strings.Cut(r.RequestURI, "?")
	if _, ok := nginxURI(x.rawPath); !ok {
		return nil, errBadPath
	}
	x.path = normalizePath(x.rawPath)
	x.match = routeOf(x.conf, r, x.path, x.headers, x.peer)
	return x, nil
}

func (x *exchange) close() {
	if x.bodyFile != "" {
		_ = os.Remove(x.bodyFile)
	}
}

// readBody reads the whole body, once, and puts a long one into a file.
func (x *exchange) readBody() error {
	if x.bodyRead {
		return nil
	}
	x.bodyRead = true
	var err error
	if x.body, err = io.ReadAll(x.request.Body); err != nil {
		return err
	}
	if len(x.body) <= maxMemoryBody {
		return nil
	}
	f, err := os.CreateTemp(x.gw.settings.Prefix, "client_body_")
	if err != nil {
		return err
	}
	x.bodyFile = f.Name()
	_, err = f.Write(x.body)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// bodyReader is the body for the upstream.
func (x *exchange) bodyReader() io.ReadCloser {
	if !x.bodyRead {
		return x.request.Body
	}
	return io.NopCloser(bytes.NewReader(x.body))
}

// answer is a response that a plugin made.
type answer struct {
	status  int
	body    []byte
	headers headers
}

func (a *answer) write(w http.ResponseWriter, before headers) {
	out := w.Header()
	out["Content-Type"] = nil // nothing is guessed
	for _, list := range []headers{before, a.headers} {
		for _, h := range list {
			if strings.EqualFold(h.name, "content-type") && out.Get("Content-Type") == "" {
				out.Set(h.name, h.value)
				continue
			}
			out.Add(h.name, h.value)
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// message is an answer of Kong's own.
func (x *exchange) message(w http.ResponseWriter, status int, text string) {
	body, err := json.Marshal(map[string]string{"message": text, "request_id": x.requestID})
	if err != nil {
		body = nil
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
