package policy

import (
	"maps"
	"slices"
)

// Reasons of violations, each stable.
const (
	ReasonInvalid      = "parameters_invalid"    // doesn't fit the deployment
	ReasonHydration    = "parameter_forbidden"   // Prefect's __prefect_kind
	ReasonLimit        = "parameters_over_limit" // too deep, too many, too large
	ReasonBound        = "parameter_bound"       // the route gives it, the caller may not
	ReasonState        = "state_forbidden"
	ReasonJobVariables = "job_variables_forbidden"
	ReasonWorkQueue    = "work_queue_forbidden"
	ReasonLabels       = "labels_forbidden"
	ReasonSchemaCheck  = "schema_check_forbidden"
	ReasonField        = "field_forbidden"
	ReasonFieldValue   = "field_invalid"
	ReasonReserved     = "name_reserved"
	ReasonClaimMissing = "claim_missing"
)

// Limits on the fields that callers set.
const (
	maxFieldBytes     = 255
	maxTagsOfCaller   = 32
	maxLabelsOfCaller = 32
)

// fields are what Prefect's own request to create a run may hold beside its
// parameters, each with the reason for which it is refused.
// Source: POST /deployments/{id}/create_flow_run.
var fields = map[string]string{
	"state":                      ReasonState,
	"job_variables":              ReasonJobVariables,
	"work_queue_name":            ReasonWorkQueue,
	"labels":                     ReasonLabels,
	"enforce_parameter_schema":   ReasonSchemaCheck,
	"name":                       ReasonField,
	"tags":                       ReasonField,
	"context":                    ReasonField,
	"created_by":                 ReasonField,
	"idempotency_key":            ReasonField,
	"parent_task_run_id":         ReasonField,
	"infrastructure_document_id": ReasonField,
	"empirical_policy":           ReasonField,
}

// RunFields are the fields of a run that a route may let its callers set. A
// run's state and the switch that turns checks off are never among them.
var RunFields = []string{"name", "tags", "labels", "job_variables", "work_queue_name"}

// Split divides a request's body into the run's parameters and the fields that
// the route names. A field of Prefect's that it doesn't name is refused, unless
// a parameter comes by a member of that name.
func Split(body map[string]any, named []string, isParameter func(string) bool) (parameters, run map[string]any, violations []Violation) {
	parameters, run = map[string]any{}, map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		reason, isField := fields[name]
		switch {
		case slices.Contains(named, name):
			run[name] = body[name]
		case isField && !isParameter(name):
			violations = append(violations, Violation{"/" + escapePointer(name), "is a field of Prefect's that this route doesn't let callers set", reason})
		default:
			parameters[name] = body[name]
		}
	}
	return parameters, run, violations
}

// Fields are what a caller sets of a run beside its parameters.
type Fields struct {
	Name          string
	Tags          []string
	Labels        map[string]any
	JobVariables  map[string]any
	WorkQueueName string
}

// ReadFields checks the fields of [Split]. reservedTag and reservedLabel tell
// the names that only the gateway writes.
func ReadFields(run map[string]any, reservedTag, reservedLabel func(string) bool) (f Fields, violations []Violation) {
	fail := func(pointer, detail, reason string) {
		violations = append(violations, Violation{pointer, detail, reason})
	}
	text := func(at string, v any) string {
		s, ok := v.(string)
		if !ok || s == "" || len(s) > maxFieldBytes {
			fail(at, "must be a text of 1 to 255 bytes", ReasonFieldValue)
		}
		return s
	}
	if v, ok := run["name"]; ok {
		f.Name = text("/name", v)
	}
	if v, ok := run["work_queue_name"]; ok {
		f.WorkQueueName = text("/work_queue_name", v)
	}
	if v, ok := run["job_variables"]; ok {
		if f.JobVariables, ok = v.(map[string]any); !ok {
			fail("/job_variables", "must be an object", ReasonFieldValue)
		}
	}
	if v, ok := run["tags"]; ok {
		list, ok := v.([]any)
		if !ok || len(list) > maxTagsOfCaller {
			fail("/tags", "must be a list of at most 32 texts", ReasonFieldValue)
			list = nil
		}
		for i, item := range list {
			at := pointerTo("/tags", i)
			tag := text(at, item)
			if reservedTag(tag) {
				fail(at, "is a tag that only the gateway writes", ReasonReserved)
			}
			f.Tags = append(f.Tags, tag)
		}
	}
	if v, ok := run["labels"]; ok {
		object, ok := v.(map[string]any)
		if !ok || len(object) > maxLabelsOfCaller {
			fail("/labels", "must be an object of at most 32 members", ReasonFieldValue)
			object = nil
		}
		f.Labels = object
		for _, name := range slices.Sorted(maps.Keys(object)) {
			at := "/labels/" + escapePointer(name)
			switch {
			case reservedLabel(name):
				fail(at, "is a label that only the gateway and Prefect write", ReasonReserved)
			case !isScalar(object[name]):
				fail(at, "must be a text, a number or a bool", ReasonFieldValue)
			}
		}
	}
	return f, violations
}
