package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
)

// maxIdempotencyKeyBytes bounds what a caller may send as a key.
const maxIdempotencyKeyBytes = 255

// idempotencyKey reads the Idempotency-Key header: a string in quotes as the
// IETF draft has it (draft-ietf-httpapi-idempotency-key-header, section 2.1),
// or bare as most clients send it. Empty: there is none.
func idempotencyKey(values []string) (string, *Problem) {
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSuffix(strings.TrimPrefix(values[0], `"`), `"`)
	unfit := strings.ContainsFunc(key, func(r rune) bool { return r <= 0x20 || r > 0x7e })
	if len(values) > 1 || key == "" || len(key) > maxIdempotencyKeyBytes || unfit {
		return "", &Problem{Code: CodeIdempotencyKey}
	}
	return key, nil
}

// readParameters makes the run's parameters of the request's body: a JSON
// object, or nothing at all for a run without parameters. Numbers keep every
// digit.
func readParameters(body pluginserver.RawBody, contentType []string, maxBytes int) (map[string]any, *Problem) {
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
	parameters, ok := value.(map[string]any)
	if !ok {
		return nil, &Problem{Code: CodeBodyNotObject}
	}
	if violations := policy.Forbidden(parameters); len(violations) > 0 {
		return nil, &Problem{Code: CodeParameterForbidden, Violations: violationsOf(violations)}
	}
	return parameters, nil
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

func violationsOf(list []policy.Violation) []Violation {
	violations := make([]Violation, len(list))
	for i, v := range list {
		violations[i] = Violation(v)
	}
	return violations
}
