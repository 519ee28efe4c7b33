package devgateway

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of nginx's large_client_header_buffers 4 8k and max_headers, which
// Kong 3.9.3 patches into its nginx.
const (
	maxHeaderLineBytes = 8 << 10
	maxHeadBytes       = 4 * maxHeaderLineBytes
	maxHeaderLines     = 1000
)

// httpError is a request nginx refuses before Kong's router sees it.
type httpError struct{ status int }

func (e httpError) Error() string { return "bad request: " + strconv.Itoa(e.status) }

var errBadRequest = httpError{400}

// requestHead is a request's first line and header lines, as sent.
type requestHead struct {
	line    string
	method  string
	target  string // path and query, as sent
	version string // "1.0" or "1.1"
	absHost string // host of an absolute-form target
	headers headers
	length  int64 // of the body; -1 for chunked
	bytes   int   // length of the head, for the log
}

// readHead reads one head from a client. io.EOF means there is none.
func readHead(r *bufio.Reader) (*requestHead, error) {
	budget := maxHeadBytes
	line, err := readLine(r, &budget, 414)
	for err == nil && line == "" { // nginx skips empty lines before a request
		line, err = readLine(r, &budget, 414)
	}
	if err != nil {
		return nil, err
	}
	h := &requestHead{line: line}
	if err := h.parseLine(); err != nil {
		return h, err
	}
	for lines := 0; ; lines++ {
		line, err := readLine(r, &budget, 494)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil, io.ErrUnexpectedEOF
			}
			return h, err
		}
		if line == "" {
			h.bytes = maxHeadBytes - budget
			return h, h.check()
		}
		if lines >= maxHeaderLines {
			return h, httpError{494}
		}
		if err := h.addLine(line); err != nil {
			return h, err
		}
	}
}

// readLine reads one line within nginx's buffers; status is what too long a
// line gets.
func readLine(r *bufio.Reader, budget *int, status int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		*budget -= len(part)
		if len(line) > maxHeaderLineBytes || *budget < 0 {
			return "", httpError{status}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

var (
	methodPattern  = regexp.MustCompile(`^[A-Z_-]+$`)
	versionPattern = regexp.MustCompile(`^HTTP/1\.\d{1,2}$`)
	validName      = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

func (h *requestHead) parseLine() error {
	parts := strings.Split(h.line, " ")
	if len(parts) != 3 {
		return errBadRequest
	}
	h.method, h.target = parts[0], parts[1]
	if !methodPattern.MatchString(h.method) || !versionPattern.MatchString(parts[2]) {
		return errBadRequest
	}
	h.version = "1.1"
	if parts[2] == "HTTP/1.0" {
		h.version = "1.0"
	}
	h.cutAbsolute()
	if !strings.HasPrefix(h.target, "/") {
		return errBadRequest
	}
	for i := range len(h.target) {
		if c := h.target[i]; c < 0x20 || c == 0x7f {
			return errBadRequest
		}
	}
	return nil
}

// cutAbsolute takes the host out of "GET http://host/path HTTP/1.1".
func (h *requestHead) cutAbsolute() {
	for _, scheme := range []string{"http://", "https://"} {
		if len(h.target) <= len(scheme) || !strings.EqualFold(h.target[:len(scheme)], scheme) {
			continue
		}
		rest := h.target[len(scheme):]
		i := strings.IndexAny(rest, "/?")
		if i < 0 {
			i = len(rest)
		}
		h.absHost, h.target = rest[:i], rest[i:]
		if !strings.HasPrefix(h.target, "/") {
			h.target = "/" + h.target
		}
		return
	}
}

// addLine takes one header line. A name with odd characters is dropped without
// a word; one with a space or a control character is refused.
func (h *requestHead) addLine(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return errBadRequest
	}
	for i := range len(name) {
		if name[i] <= 0x20 || name[i] == 0x7f {
			return errBadRequest
		}
	}
	if strings.IndexByte(value, 0) >= 0 {
		return errBadRequest
	}
	if validName.MatchString(name) {
		h.headers.add(name, strings.Trim(value, " "))
	}
	return nil
}

// uniqueHeaders are those nginx refuses to see twice.
var uniqueHeaders = []string{"Host", "If-Modified-Since", "If-Unmodified-Since", "If-Match", "If-None-Match",
	"Content-Length", "Content-Range", "If-Range", "Transfer-Encoding", "Expect", "Authorization"}

func (h *requestHead) check() error {
	for _, name := range uniqueHeaders {
		if len(h.headers.values(name)) > 1 {
			return errBadRequest
		}
	}
	host, hasHost := h.headers.first("Host")
	if (!hasHost && h.version == "1.1" && h.absHost == "") || !validHost(host) || (hasHost && host == "") {
		return errBadRequest
	}
	if h.method == "CONNECT" || h.method == "TRACE" {
		return httpError{405}
	}
	return h.checkLength()
}

func (h *requestHead) checkLength() error {
	te, hasTE := h.headers.first("Transfer-Encoding")
	cl, hasCL := h.headers.first("Content-Length")
	switch {
	case hasTE && (h.version == "1.0" || hasCL):
		return errBadRequest
	case hasTE && !strings.EqualFold(te, "chunked"):
		return httpError{501}
	case hasTE:
		h.length = -1
	case hasCL:
		n, err := strconv.ParseUint(cl, 10, 62)
		if err != nil {
			return errBadRequest
		}
		h.length = int64(n)
	}
	return nil
}

func validHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; c <= 0x20 || c == 0x7f || c == '/' {
			return false
		}
	}
	return !strings.Contains(host, "..")
}

// keepAlive tells whether the client wants another request on the connection.
func (h *requestHead) keepAlive() bool {
	tokens := connectionTokens(h.headers)
	if slices.Contains(tokens, "close") {
		return false
	}
	return h.version == "1.1" || slices.Contains(tokens, "keep-alive")
}

// split gives path and query of the target, as sent.
func (h *requestHead) split() (path, query string) {
	target, _, _ := strings.Cut(h.target, "#")
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

func connectionTokens(hs headers) []string {
	var out []string
	for _, v := range hs.values("Connection") {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}
