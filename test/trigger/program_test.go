package trigger

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"
)

// program knows OpenAPI and an address, and nothing else: it makes a call from what it reads there.
type program struct {
	t        *testing.T
	by       string
	document map[string]any
	text     []byte
}

// read fetches a description.
func read(t *testing.T, by, path string) program {
	t.Helper()
	r := send(t, request{method: http.MethodGet, path: path, by: by})
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
	p := program{t: t, by: by, text: r.body}
	require.NoError(t, json.Unmarshal(r.body, &p.document))
	return p
}

// call makes the call of the description's one POST, with all that may be sent or with what must be.
func (p program) call(all bool) request {
	p.t.Helper()
	for path, item := range p.document["paths"].(map[string]any) {
		post, ok := item.(map[string]any)["post"].(map[string]any)
		if !ok {
			continue
		}
		r := request{path: path, by: p.by, headers: map[string]string{}}
		query := url.Values{}
		for _, one := range post["parameters"].([]any) {
			parameter := one.(map[string]any)
			name := parameter["name"].(string)
			if parameter["required"] != true && !all || name == "Prefer" {
				continue
			}
			values := p.texts(parameter)
			switch parameter["in"] {
			case "path":
				r.path = strings.ReplaceAll(r.path, "{"+name+"}", url.PathEscape(values[0]))
			case "query":
				query[name] = values
			case "header":
				r.headers[name] = values[0]
			}
		}
		if len(query) > 0 {
			r.path += "?" + query.Encode()
		}
		if body, ok := post["requestBody"].(map[string]any); ok && (all || body["required"] == true) {
			data, err := json.Marshal(p.sample(schemaIn(body), all))
			require.NoError(p.t, err)
			r.body = string(data)
		}
		return r
	}
	require.Fail(p.t, "nothing to call", "%s", p.text)
	return request{}
}

func schemaIn(holder map[string]any) any {
	if content, ok := holder["content"].(map[string]any); ok {
		return content["application/json"].(map[string]any)["schema"]
	}
	return holder["schema"]
}

// texts write a parameter's value as its place wants it: a list in the query comes several times.
func (p program) texts(parameter map[string]any) []string {
	value := p.sample(schemaIn(parameter), true)
	if list, isList := value.([]any); isList && parameter["content"] == nil {
		texts := []string{}
		for _, item := range list {
			texts = append(texts, fmt.Sprint(item))
		}
		return texts
	}
	if text, isText := value.(string); isText && parameter["content"] == nil {
		return []string{text}
	}
	data, err := json.Marshal(value)
	require.NoError(p.t, err)
	return []string{string(data)}
}

// sample is a value that fits a schema.
func (p program) sample(schema any, all bool) any {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		var at any = p.document
		for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[step]
		}
		return p.sample(at, all)
	}
	for _, keyword := range []string{"anyOf", "oneOf", "allOf"} {
		if list, ok := s[keyword].([]any); ok {
			return p.sample(list[0], all)
		}
	}
	if values, ok := s["enum"].([]any); ok {
		return values[0]
	}
	switch s["type"] {
	case "integer", "number":
		return 3
	case "boolean":
		return true
	case "array":
		return []any{p.sample(s["items"], all), p.sample(s["items"], all)}
	case "object":
		object := map[string]any{}
		properties, _ := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for name, property := range properties {
			if all || contains(required, name) {
				object[name] = p.sample(property, all)
			}
		}
		return object
	}
	if s["format"] == "date" {
		return "2026-01-31"
	}
	return "text-" + p.t.Name()
}

func contains(list []any, name string) bool {
	for _, item := range list {
		if item == name {
			return true
		}
	}
	return false
}

// requireValid has an independent reader check the document against OpenAPI's own schema, and a call against the
// document.
func (p program) requireValid(call request) {
	p.t.Helper()
	document, err := libopenapi.NewDocument(p.text)
	require.NoError(p.t, err)
	v, errs := validator.NewValidator(document)
	require.Empty(p.t, errs)
	valid, problems := v.ValidateDocument()
	require.True(p.t, valid, "%v\n%s", problems, p.text)
	valid, problems = v.ValidateHttpRequest(call.make(p.t))
	require.True(p.t, valid, "%v %+v", problems, call)
}
