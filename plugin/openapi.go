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
	runs                bool   // they can be asked for below the path
	offer               policy.Offer
}

// partRun is the path's last part where it names a run.
const partRun = "run_id"

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
	paths := object{d.path: object{"post": d.start()}}
	if d.runs {
		paths[strings.TrimSuffix(d.path, "/")+"/{"+partRun+"}"] = object{
			"parameters": append(d.pathParameters(), object{"name": partRun, "in": "path", "required": true, "schema": object{"type": "string", "format": "uuid"}}),
			"get": object{"operationId": "status", "summary": "How a run of yours is", "responses": object{
				"200": answerDocument("The run.", runSchema), "default": problemAnswer}},
			"delete": object{"operationId": "cancel", "summary": "Cancel a run of yours", "responses": object{
				"200": answerDocument("The run, which is cancelled.", runSchema), "202": answerDocument("The run, which is being cancelled.", runSchema), "default": problemAnswer}},
		}
	}
	return object{
		"openapi": openAPIVersion,
		"info":    object{"title": d.name, "version": version, "description": d.text},
		"paths":   paths,
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

// places are those of OpenAPI (section 4.8.12.1).
var places = map[policy.Source]string{policy.FromQuery: "query", policy.FromCapture: "path", policy.FromHeader: "header"}

// parameters are the values outside the body: the route's, and the headers
// that every trigger takes.
func (d description) parameters() []any {
	list := d.pathParameters()
	for _, input := range d.offer.Inputs {
		if input.From != policy.FromCapture {
			list = append(list, parameter(input))
		}
	}
	return append(list,
		object{"name": "Idempotency-Key", "in": "header", "required": false,
			"description": "A request that is repeated with the same key starts one run at most.",
			"schema":      object{"type": "string", "minLength": 1, "maxLength": maxIdempotencyKeyBytes}},
		object{"name": "Prefer", "in": "header", "required": false,
			"description": "wait=N: the answer waits up to N seconds for the run's end (RFC 7240).",
			"schema":      object{"type": "string"}})
}

// pathParameters are the path's parts, those too that are no parameter of the
// run: an OpenAPI document must explain them all.
func (d description) pathParameters() (list []any) {
	for segment := range strings.SplitSeq(d.path, "/") {
		name, isPart := partOf(segment)
		if !isPart {
			continue
		}
		input := policy.Input{Name: name, From: policy.FromCapture, Required: true, Schema: object{"type": "string"}}
		for _, one := range d.offer.Inputs {
			if one.From == policy.FromCapture && one.Name == name {
				input = one
			}
		}
		list = append(list, parameter(input))
	}
	return list
}

func parameter(input policy.Input) object {
	p := object{"name": input.Name, "in": places[input.From], "required": input.Required}
	if input.From == policy.FromHeader {
		p["name"] = http.CanonicalHeaderKey(input.Name)
	}
	if input.JSON {
		p["content"] = object{"application/json": object{"schema": input.Schema}}
	} else {
		p["schema"] = input.Schema
	}
	return p
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
