package plugin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kong-prefect/kong-prefect/policy"
)

// openAPIVersion is the OpenAPI whose schemas are JSON Schema, as Prefect's.
const openAPIVersion = "3.1.0"

// Names of the document's own schemas. A flow's definitions have other names:
// pydantic makes them of Python's.
const (
	runSchema     = "kong-prefect.Run"
	problemSchema = "kong-prefect.Problem"
)

type object = map[string]any

// description is one deployment as a caller may start it.
type description struct {
	name, version, text string
	path                string // percent-encoded, with its parts
	offer               policy.Offer
}

// document is the OpenAPI document (OpenAPI 3.1.1, section 4.8.1).
func (d description) document() object {
	schemas := object{runSchema: runDocument, problemSchema: problemDocument}
	for name, schema := range d.offer.Definitions {
		schemas[name] = schema
	}
	version := d.version
	if version == "" {
		version = "unversioned"
	}
	return object{
		"openapi": openAPIVersion,
		"info":    object{"title": d.name, "version": version, "description": d.text},
		"paths":   object{d.path: object{"post": d.start()}},
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
		},
		"security": []any{object{"token": []any{}}},
	}
}

// start is the operation that starts a run.
func (d description) start() object {
	operation := object{
		"operationId": "start",
		"summary":     "Start a run of " + d.name,
		"parameters":  d.parameters(),
		"responses": object{
			"201":     answerDocument("The run, which was started.", runSchema),
			"200":     answerDocument("The run that an earlier request with the same Idempotency-Key started, or that has ended while the answer waited.", runSchema),
			"202":     answerDocument("The run, which hasn't ended while the answer waited.", runSchema),
			"default": problemAnswer,
		},
	}
	if body := d.offer.Body; body != nil {
		operation["requestBody"] = object{
			"required": body["required"] != nil,
			"content":  object{"application/json": object{"schema": body}},
		}
	}
	return operation
}

// parameters are the values outside the body: the route's, and the headers
// that every trigger takes.
func (d description) parameters() []any {
	in := map[policy.Source]string{policy.FromQuery: "query", policy.FromCapture: "path", policy.FromHeader: "header"}
	var list []any
	for _, input := range d.offer.Inputs {
		p := object{"name": input.Name, "in": in[input.From], "required": input.Required}
		if input.From == policy.FromHeader {
			p["name"] = http.CanonicalHeaderKey(input.Name)
		}
		if input.JSON {
			p["content"] = object{"application/json": object{"schema": input.Schema}}
		} else {
			p["schema"] = input.Schema
		}
		list = append(list, p)
	}
	list = append(list, d.partsLeft()...)
	return append(list,
		object{"name": "Idempotency-Key", "in": "header", "required": false,
			"description": "A request that is repeated with the same key starts one run at most.",
			"schema":      object{"type": "string", "minLength": 1, "maxLength": maxIdempotencyKeyBytes}},
		object{"name": "Prefer", "in": "header", "required": false,
			"description": "wait=N: the answer waits up to N seconds for the run's end (RFC 7240).",
			"schema":      object{"type": "string"}})
}

// partsLeft are the path's parts that are no parameters: an OpenAPI document
// must explain them all.
func (d description) partsLeft() (list []any) {
	for segment := range strings.SplitSeq(d.path, "/") {
		name, isPart := partOf(segment)
		known := false
		for _, input := range d.offer.Inputs {
			known = known || input.From == policy.FromCapture && input.Name == name
		}
		if isPart && !known {
			list = append(list, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	return list
}

// listed is a deployment that a caller may choose.
type listed struct{ name, text, path string }

// listDocument refers to the description of each (OpenAPI 3.1.1, section
// 4.8.9.1): a list of hundreds stays small, and nobody's schema is read in
// vain.
func listDocument(all []listed) object {
	paths := object{}
	for _, l := range all {
		reference := url.URL{Fragment: "/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(l.path)}
		paths[l.path] = object{"$ref": l.path + "#" + reference.EscapedFragment(), "summary": l.name, "description": l.text}
	}
	return object{
		"openapi": openAPIVersion,
		"info":    object{"title": "Deployments that you may start", "version": strconv.Itoa(len(all))},
		"paths":   paths,
	}
}

func answerDocument(text, schema string) object {
	return object{"description": text, "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/" + schema}}}}
}

var problemAnswer = object{
	"description": "Refused; code says why, and violations name what is wrong in the request.",
	"content":     object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/" + problemSchema}}},
}

// problemDocument is the schema of [Problem.Answer].
var problemDocument = object{
	"type": "object", "required": []string{"type", "title", "status", "code", "detail"},
	"properties": object{
		"type": object{"type": "string", "format": "uri"}, "title": object{"type": "string"}, "status": object{"type": "integer"},
		"code": object{"type": "string"}, "detail": object{"type": "string"},
		"violations": object{"type": "array", "items": object{
			"type": "object", "required": []string{"pointer", "detail", "code"},
			"properties": object{"pointer": object{"type": "string"}, "detail": object{"type": "string"}, "code": object{"type": "string"}},
		}},
	},
}

// runDocument is the schema of [Run].
var runDocument = object{
	"type": "object", "required": []string{"id", "name", "state", "deployment", "created", "links"},
	"properties": object{
		"id": object{"type": "string", "format": "uuid"}, "name": object{"type": "string"},
		"state": object{"type": "object", "required": []string{"type", "name"},
			"properties": object{"type": object{"type": "string"}, "name": object{"type": "string"}}},
		"deployment": object{"type": "string"}, "created": object{"type": "boolean"},
		"links": object{"type": "object", "additionalProperties": object{"type": "string"}},
	},
}
