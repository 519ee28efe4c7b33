package prefecttest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// createFields are all that Prefect's create_flow_run accepts.
var createFields = []string{
	"name", "state", "parameters", "enforce_parameter_schema", "context", "infrastructure_document_id", "empirical_policy",
	"tags", "idempotency_key", "labels", "parent_task_run_id", "work_queue_name", "job_variables",
}

type createBody struct {
	Name           string         `json:"name"`
	Parameters     map[string]any `json:"parameters"`
	Context        map[string]any `json:"context"`
	Tags           []string       `json:"tags"`
	IdempotencyKey *string        `json:"idempotency_key"`
	Labels         map[string]any `json:"labels"`
	JobVariables   map[string]any `json:"job_variables"`
}

// invalidBody is Prefect's 422, which repeats the whole request.
func invalidBody(body []byte, kind string, loc ...any) reply {
	echo := json.RawMessage(body)
	if !json.Valid(body) {
		echo = marshal(string(body))
	}
	return reply{http.StatusUnprocessableEntity, map[string]any{
		"exception_message": "Invalid request received.",
		"exception_detail":  []any{map[string]any{"type": kind, "loc": append([]any{"body"}, loc...), "msg": "refused", "input": echo}},
		"request_body":      echo,
	}}
}

func parseBody(body []byte, into any) (reply, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	err := decoder.Decode(into)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return reply{}, true
	case errors.As(err, &wrong):
		var loc []any
		for step := range strings.SplitSeq(wrong.Field, ".") {
			loc = append(loc, step)
		}
		return invalidBody(body, "type_error", loc...), false
	}
	return invalidBody(body, "json_invalid", 0), false
}

func (s *Server) create(id uuid.UUID, header http.Header, body []byte) reply {
	var members map[string]json.RawMessage
	if bad, ok := parseBody(body, &members); !ok {
		return bad
	}
	for name := range members {
		if !slices.Contains(createFields, name) {
			return invalidBody(body, "extra_forbidden", name)
		}
	}
	var sent createBody
	if bad, ok := parseBody(body, &sent); !ok {
		return bad
	}
	at := slices.IndexFunc(s.deployments, func(d Deployment) bool { return d.ID == id })
	if at < 0 {
		return detail(http.StatusNotFound, "Deployment not found")
	}
	d := s.deployments[at]
	parameters := orEmpty(maps.Clone(d.Parameters))
	maps.Copy(parameters, sent.Parameters)
	if said := d.refuses(parameters); said != "" {
		return detail(http.StatusConflict, "Error creating flow run: "+said)
	}
	// The key is looked up within the flow, across deployments and callers.
	if key := sent.IdempotencyKey; key != nil && *key != "" {
		for _, run := range s.runs {
			if held, ok := run["idempotency_key"].(*string); ok && held != nil && *held == *key && run["flow_id"] == d.FlowID {
				return reply{http.StatusOK, run}
			}
		}
	}
	run := newRun(d, sent, parameters, createdBy(header))
	s.runs = append(s.runs, run)
	return reply{http.StatusCreated, run}
}

// createdBy reads the two headers of Prefect's automations. A bad id is a 422
// on the real server; nothing here sends one.
func createdBy(header http.Header) any {
	id, err := uuid.Parse(header.Get("Prefect-Automation-Id"))
	name, errName := base64.StdEncoding.DecodeString(header.Get("Prefect-Automation-Name"))
	if err != nil || errName != nil || len(name) == 0 {
		return nil
	}
	return map[string]any{"id": id, "type": "AUTOMATION", "display_value": string(name)}
}

func newRun(d Deployment, sent createBody, parameters map[string]any, by any) map[string]any {
	id, stateID, now := uuid.New(), uuid.New(), stamp(time.Now())
	if sent.Name == "" {
		sent.Name = "run-" + id.String()[:8]
	}
	labels := map[string]any{"prefect.flow.id": d.FlowID, "prefect.deployment.id": d.ID}
	maps.Copy(labels, sent.Labels)
	tags := append(append([]string{}, d.Tags...), sent.Tags...)
	slices.Sort(tags)
	return map[string]any{
		"id": id, "created": now, "updated": now, "name": sent.Name, "flow_id": d.FlowID, "state_id": stateID,
		"deployment_id": d.ID, "deployment_version": nil, "work_queue_id": nil, "work_queue_name": nil, "flow_version": nil,
		"parameters": parameters, "idempotency_key": sent.IdempotencyKey, "context": orEmpty(sent.Context),
		"empirical_policy": map[string]any{}, "tags": slices.Compact(tags), "labels": labels, "parent_task_run_id": nil,
		"state_type": "SCHEDULED", "state_name": "Scheduled", "run_count": 0, "expected_start_time": now,
		"next_scheduled_start_time": now, "start_time": nil, "end_time": nil, "total_run_time": 0.0,
		"estimated_run_time": 0.0, "estimated_start_time_delta": 0.0, "auto_scheduled": false,
		"infrastructure_document_id": nil, "infrastructure_pid": nil, "created_by": by, "work_pool_id": nil,
		"work_pool_name": nil, "job_variables": orEmpty(sent.JobVariables),
		"state": map[string]any{
			"id": stateID, "type": "SCHEDULED", "name": "Scheduled", "timestamp": now, "message": nil, "data": nil,
			"state_details": map[string]any{"flow_run_id": id},
		},
	}
}

// refuses validates as Prefect does and words it as Python's jsonschema does,
// for the two most usual rules; empty: the parameters fit.
func (d Deployment) refuses(parameters map[string]any) string {
	if d.schema == nil || d.NotEnforced {
		return ""
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(marshal(parameters)))
	if err != nil {
		panic(err)
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(d.schema.Validate(instance), &invalid) {
		return ""
	}
	for len(invalid.Causes) > 0 {
		if _, oneOfMany := invalid.ErrorKind.(*kind.AnyOf); oneOfMany {
			break
		}
		invalid = invalid.Causes[0]
	}
	said := "Validation failed."
	if len(invalid.InstanceLocation) > 0 {
		said = fmt.Sprintf("Validation failed for field '%s'.", jsonPath(invalid.InstanceLocation))
	}
	switch broken := invalid.ErrorKind.(type) {
	case *kind.Required:
		return said + fmt.Sprintf(" Failure reason: '%s' is a required property", broken.Missing[0])
	case *kind.Type:
		return said + fmt.Sprintf(" Failure reason: 'the refused value' is not of type '%s'", broken.Want[0])
	}
	return said + " Failure reason: 'the refused value' is not valid under any of the given schemas"
}

// jsonPath writes a location as Prefect shows it: person.age, ids[0].
func jsonPath(location []string) string {
	var b strings.Builder
	for i, step := range location {
		switch {
		case strings.Trim(step, "0123456789") == "":
			b.WriteString("[" + step + "]")
		case i > 0:
			b.WriteString("." + step)
		default:
			b.WriteString(step)
		}
	}
	return b.String()
}

func (s *Server) run(id uuid.UUID) reply {
	for _, run := range s.runs {
		if run["id"] == id {
			return reply{http.StatusOK, run}
		}
	}
	return detail(http.StatusNotFound, "Flow run not found")
}

// cancel is set_state as the real server answers to CANCELLING without force:
// nobody has to end a run that hasn't begun, and no state follows a final one.
func (s *Server) cancel(id uuid.UUID, body []byte) reply {
	var sent struct {
		State struct{ Type, Message string }
		Force bool
	}
	if bad, ok := parseBody(body, &sent); !ok {
		return bad
	}
	if sent.State.Type != "CANCELLING" || sent.Force {
		return invalidBody(body, "unknown_here", "state")
	}
	at := slices.IndexFunc(s.runs, func(run map[string]any) bool { return run["id"] == id })
	if at < 0 {
		return detail(http.StatusNotFound, "Flow run not found")
	}
	run := maps.Clone(s.runs[at]) // an answer may hold the old one
	state, _ := run["state"].(map[string]any)
	state = maps.Clone(state)
	status, said := http.StatusCreated, "REJECT"
	switch state["type"] {
	case "SCHEDULED":
		state["type"], state["name"] = "CANCELLED", "Cancelled"
	case "COMPLETED", "FAILED", "CRASHED", "CANCELLED":
		status, said = http.StatusOK, "ABORT"
	case "CANCELLING":
		status = http.StatusOK
	default:
		state["type"], state["name"], state["message"], said = "CANCELLING", "Cancelling", sent.State.Message, "ACCEPT"
	}
	run["state"], run["state_type"], run["state_name"] = state, state["type"], state["name"]
	s.runs[at] = run
	return reply{status, map[string]any{"state": state, "status": said, "details": map[string]any{}}}
}

// count counts a deployment's runs that haven't ended, by creator.
func (s *Server) count(body []byte) reply {
	var sent struct {
		Runs struct {
			DeploymentID *anyFilter `json:"deployment_id"`
			State        struct {
				Type struct {
					Not []string `json:"not_any_"`
				} `json:"type"`
			} `json:"state"`
			CreatedBy *struct {
				ID []string `json:"id_"`
			} `json:"created_by"`
		} `json:"flow_runs"`
	}
	if bad, ok := parseBody(body, &sent); !ok {
		return bad
	}
	n := 0
	for _, run := range s.runs {
		if !sent.Runs.DeploymentID.takes(fmt.Sprint(run["deployment_id"])) || slices.Contains(sent.Runs.State.Type.Not, fmt.Sprint(run["state_type"])) {
			continue
		}
		by, _ := run["created_by"].(map[string]any)
		if sent.Runs.CreatedBy == nil || slices.Contains(sent.Runs.CreatedBy.ID, fmt.Sprint(by["id"])) {
			n++
		}
	}
	return reply{http.StatusOK, n}
}

type anyFilter struct {
	Any []string `json:"any_"`
}

func (f *anyFilter) takes(value string) bool {
	return f == nil || f.Any == nil || slices.Contains(f.Any, value)
}

// filter knows the criteria that prefectclient uses. Others in flow_runs are
// refused; others beside it are ignored, as the real server ignores unknown
// ones: it then answers with every run.
func (s *Server) filter(body []byte) reply {
	var sent struct {
		Runs struct {
			ID             *anyFilter `json:"id"`
			IdempotencyKey *anyFilter `json:"idempotency_key"`
			DeploymentID   *anyFilter `json:"deployment_id"`
		} `json:"flow_runs"`
		Flows struct {
			ID *anyFilter `json:"id"`
		} `json:"flows"`
		Limit *int `json:"limit"`
	}
	var members struct {
		Runs map[string]json.RawMessage `json:"flow_runs"`
	}
	if bad, ok := parseBody(body, &members); !ok {
		return bad
	}
	for name := range members.Runs {
		if !slices.Contains([]string{"id", "idempotency_key", "deployment_id"}, name) {
			return invalidBody(body, "extra_forbidden", "flow_runs", name)
		}
	}
	if bad, ok := parseBody(body, &sent); !ok {
		return bad
	}
	const most = 200
	limit := most
	if sent.Limit != nil {
		limit = *sent.Limit
	}
	if limit > most {
		return detail(http.StatusUnprocessableEntity, "Invalid limit: must be less than or equal to 200.")
	}
	found := []any{}
	for _, run := range s.runs {
		key, _ := run["idempotency_key"].(*string)
		if key == nil {
			key = new(string)
		}
		if len(found) < limit && sent.Runs.IdempotencyKey.takes(*key) && sent.Runs.ID.takes(fmt.Sprint(run["id"])) &&
			sent.Runs.DeploymentID.takes(fmt.Sprint(run["deployment_id"])) && sent.Flows.ID.takes(fmt.Sprint(run["flow_id"])) {
			found = append(found, run)
		}
	}
	return reply{http.StatusOK, found}
}
