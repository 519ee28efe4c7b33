package prefectclient

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxRetryAfter bounds what is believed of a Retry-After header.
const maxRetryAfter = time.Hour

// refusal turns an answer other than a success into a failure. It withholds
// the server's text except for the few forms that can't echo a request:
// Prefect's 422 repeats the whole body, and its 409 the refused value.
func refusal(op *operation, status int, header http.Header, body []byte) *failure {
	f := &failure{Error: &Error{Op: op.name, Reason: ReasonRefused, Status: status}}
	f.RetryAfter = retryAfter(header, time.Now())
	said := readRefusal(body)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		f.Reason = ReasonUnauthorized
	case status == http.StatusNotFound:
		f.Reason, f.Detail = notFound(op, said)
	case status == http.StatusConflict && strings.HasPrefix(said.Detail, parametersRefused):
		f.Reason = ReasonParametersInvalid
		f.Field, f.Detail = parameterRule(said.Detail)
	case status == http.StatusUnprocessableEntity:
		f.Detail = said.fields()
	case status == http.StatusTooManyRequests:
		f.Reason = ReasonUnavailable
		f.retry = true
	case status >= 500:
		f.Reason = ReasonUnavailable
		f.retry = retryable(status)
		judgeServerError(f, bytes.HasPrefix(body, []byte(ownServerError)))
	case status >= 300 && status < 400:
		f.Reason, f.Detail = ReasonResponseInvalid, "a redirect, which is not followed"
	default:
		f.Detail = headline(said.Detail)
	}
	return f
}

// ownServerError starts every 500 and 503 that Prefect itself gives. It is
// looked for instead of parsed, as the body may not have been read to its end.
const ownServerError = `{"exception_message":`

// judgeServerError tells apart what Prefect answers itself, after its
// transaction was rolled back, and what something in front of it answers.
//
// Prefect's own 503 ("database is locked", half of all concurrent writes on
// SQLite) shows a server that is alive: it must not open the breaker.
func judgeServerError(f *failure, ownAnswer bool) {
	switch f.Status {
	case http.StatusServiceUnavailable:
		f.away = !ownAnswer
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		f.away, f.maybeDone, f.inFlight = true, true, true
	default:
		// A 500 can follow the commit: the answer is built after it.
		f.maybeDone, f.inFlight = true, !ownAnswer
	}
}

// refusalBody is the union of the forms in which Prefect refuses.
type refusalBody struct {
	Detail          string
	ExceptionDetail []struct {
		Type string `json:"type"`
		Loc  []any  `json:"loc"`
	}
}

func readRefusal(body []byte) refusalBody {
	// Each member on its own: one of an unexpected type (FastAPI's detail can
	// be a list) must not hide the others.
	var members map[string]json.RawMessage
	var said refusalBody
	if json.Unmarshal(body, &members) != nil {
		return said
	}
	_ = json.Unmarshal(members["detail"], &said.Detail)
	_ = json.Unmarshal(members["exception_detail"], &said.ExceptionDetail)
	return said
}

// notFound tells a missing object ("Deployment not found") from a missing
// route ("Not Found", FastAPI's own word): the latter means that APIURL is
// wrong, or that a proxy answered.
func notFound(op *operation, said refusalBody) (reason, detail string) {
	if said.Detail == "" || said.Detail == http.StatusText(http.StatusNotFound) {
		return ReasonResponseInvalid, "the server does not know this path: is the API URL right?"
	}
	return op.notFound, ""
}

const parametersRefused = "Error creating flow run: Validation failed"

// Prefect validates with Python's jsonschema, whose messages start with the
// refused value. Only the rule is kept, and only in these forms.
var (
	fieldForm    = regexp.MustCompile(`^ for field (?:'([^']*)'|"([^"]*)")\. Failure reason: `)
	requiredForm = regexp.MustCompile(`^'([^']*)' is a required property$`)
	typeForm     = regexp.MustCompile(`is not of type ('[a-z]+'(?:, '[a-z]+')*)$`)
	plainForms   = []string{
		"is not valid under any of the given schemas", "is too short", "is too long", "should be non-empty",
		"has non-unique elements", "does not have enough properties", "has too many properties",
	}
)

// parameterRule reads the field and the broken rule out of a 409.
func parameterRule(detail string) (field, rule string) {
	rest := strings.TrimPrefix(detail, parametersRefused)
	if m := fieldForm.FindStringSubmatch(rest); m != nil {
		field, rest = m[1]+m[2], rest[len(m[0]):]
	} else {
		rest = strings.TrimPrefix(rest, ". Failure reason: ")
	}
	if m := requiredForm.FindStringSubmatch(rest); m != nil {
		// The message names the object that lacks the member.
		if field != "" {
			field += "."
		}
		return clean(field + m[1]), "is required"
	}
	if m := typeForm.FindStringSubmatch(rest); m != nil {
		return clean(field), "must be of type " + strings.ReplaceAll(m[1], "'", "")
	}
	for _, form := range plainForms {
		if strings.HasSuffix(rest, form) {
			return clean(field), form
		}
	}
	return clean(field), "does not fit the deployment's parameter schema"
}

// fields lists where a 422 found fault, such as "body.tags.0: string_type".
func (b refusalBody) fields() string {
	var parts []string
	for _, d := range b.ExceptionDetail {
		var path []string
		for _, step := range d.Loc {
			switch step := step.(type) {
			case string:
				path = append(path, step)
			case float64:
				path = append(path, strconv.Itoa(int(step)))
			}
		}
		parts = append(parts, strings.Join(path, ".")+": "+d.Type)
	}
	return clean(strings.Join(parts, ", "))
}

// headline is the part of a detail before its first colon: "Error hydrating
// flow run parameters: ..." goes on with what the request held.
func headline(detail string) string {
	head, _, _ := strings.Cut(detail, ":")
	for _, r := range head {
		if r != ' ' && (r > unicode.MaxASCII || !unicode.IsLetter(r)) {
			return ""
		}
	}
	return clean(head)
}

// clean makes a server's text fit for one line of a log.
func clean(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// retryAfter reads the header in both of its forms (RFC 9110, section 10.2.3).
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
