package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// triggerReads is what prefect-trigger always needs of a request.
var triggerReads = []pluginserver.Read{
	pluginserver.ReadShared(SharedIdentity), pluginserver.ReadVar(varRequestID), pluginserver.ReadVar(varAddress),
	pluginserver.ReadVar(varQuery), pluginserver.ReadMethod(), pluginserver.ReadPath(), pluginserver.ReadHeaders(), pluginserver.ReadRawBody(),
}

const (
	varQuery   = "args"        // the query, as it came
	varAddress = "remote_addr" // the client, as Kong's trusted_ips have it
)

// order is a request to the trigger, as read from Kong.
type order struct {
	caller    Caller
	requestID string
	method    string
	address   string
	path      string // percent-decoded
	query     map[string][]string
	headers   map[string][]string // by name in lower case
	body      pluginserver.RawBody

	contentType    []string
	idempotencyKey []string
	parentStamp    []string
	prefer         []string
	traceparent    string

	// What the headers and the path came to.
	parent *stamp.Claims
	target target
}

func (h *trigger) readOrder(ctx context.Context, e *pluginserver.Event) (o order, problem *Problem) {
	if o.caller, problem = callerOf(ctx, e); problem != nil {
		return o, problem
	}
	var headers []pluginserver.Header
	var query string
	var problems [7]error
	o.requestID, problems[0] = e.Var(ctx, varRequestID)
	o.method, problems[1] = e.Method(ctx)
	headers, problems[2] = e.Headers(ctx)
	o.path, problems[3] = e.Path(ctx)
	query, problems[4] = e.Var(ctx, varQuery)
	o.address, problems[5] = e.Var(ctx, varAddress)
	o.body, problems[6] = e.RawBody(ctx)
	if errors.Is(problems[6], pluginserver.ErrFrameTooLarge) {
		return o, &Problem{Code: CodeBodyTooLarge, Cause: problems[6]}
	}
	err := errors.Join(problems[:]...)
	if err == nil && o.requestID == "" {
		// It keeps two requests without an Idempotency-Key apart.
		err = errors.New("kong gave no request id")
	}
	if err != nil {
		return o, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	if o.query, err = url.ParseQuery(query); err != nil {
		return o, &Problem{Code: CodeQueryInvalid}
	}
	o.headers = make(map[string][]string, len(headers))
	for _, hd := range headers {
		o.headers[hd.Name] = hd.Values
	}
	o.prefer = o.headers["prefer"]
	o.contentType, o.idempotencyKey = o.headers["content-type"], o.headers["idempotency-key"]
	o.parentStamp, o.traceparent = o.headers[parentStampHeader], trailOf(ctx).traced(o.headers[traceHeader])
	return o, nil
}

// maxIdempotencyKeyBytes bounds what a caller may send as a key.
const maxIdempotencyKeyBytes = 255

// idempotencyKey reads the Idempotency-Key header: a string in quotes as the
// IETF draft has it (draft-ietf-httpapi-idempotency-key-header, section 2.1),
// or bare as most clients send it. Empty: there is none.
func idempotencyKey(values []string) (string, *Problem) {
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(key) >= 2 && strings.HasPrefix(key, `"`) && strings.HasSuffix(key, `"`) {
		key = key[1 : len(key)-1]
	}
	// A quote that is left is one without its other half, or in the middle of
	// what may be two keys.
	unfit := strings.ContainsFunc(key, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' })
	if len(values) > 1 || key == "" || len(key) > maxIdempotencyKeyBytes || unfit {
		return "", &Problem{Code: CodeIdempotencyKey}
	}
	return key, nil
}

// readObject reads the request's body: a JSON object, or nothing at all.
// Numbers keep every digit.
func readObject(body pluginserver.RawBody, contentType []string, maxBytes int) (map[string]any, *Problem) {
	data, problem := readBody(body, maxBytes)
	if problem != nil || len(data) == 0 {
		return map[string]any{}, problem
	}
	if len(contentType) != 1 || !isJSON(contentType[0]) {
		return nil, &Problem{Code: CodeBodyTypeUnsupported}
	}
	// Strictly: names twice in one object and invalid UTF-8 mean different
	// things to different readers, and the reader that counts is Prefect.
	if !jsontext.Value(data).IsValid() {
		return nil, &Problem{Code: CodeBodyNotJSON}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, &Problem{Code: CodeBodyNotJSON}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &Problem{Code: CodeBodyNotObject}
	}
	return object, nil
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}

// readBody reads at most one byte more than is allowed, from memory or from
// nginx's temporary file.
func readBody(body pluginserver.RawBody, maxBytes int) ([]byte, *Problem) {
	tooLarge := &Problem{Code: CodeBodyTooLarge, Detail: fmt.Sprintf("It may have %d bytes.", maxBytes)}
	if body.FilePath == "" {
		if len(body.Content) > maxBytes {
			return nil, tooLarge
		}
		return body.Content, nil
	}
	f, err := os.Open(body.FilePath)
	if err != nil {
		return nil, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(maxBytes)+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, &Problem{Code: pluginserver.ReasonUnreadable, Cause: err}
	}
	if len(data) > maxBytes {
		return nil, tooLarge
	}
	return data, nil
}

// jsonReply is a 200 that no cache keeps.
func jsonReply(v any, headers ...pluginserver.Header) (*reply, *Problem) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, &Problem{Code: CodePrefectRefused, Cause: err}
	}
	headers = append([]pluginserver.Header{header("Content-Type", "application/json"), header("Cache-Control", "no-store")}, headers...)
	return &reply{status: http.StatusOK, body: append(body, '\n'), headers: headers}, nil
}
