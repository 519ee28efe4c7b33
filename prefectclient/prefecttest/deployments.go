package prefecttest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Deployment is a deployment of the server.
type Deployment struct {
	Flow, Name string
	Tags       []string
	Parameters map[string]any
	// ParameterSchema is JSON; empty: none.
	ParameterSchema string
	// NotEnforced turns the schema's validation off.
	NotEnforced bool
	Paused      bool
	// WorkPool is its work pool's name; empty: none.
	WorkPool string
	// Served says that somebody asked for its runs lately.
	Served bool

	// ID and FlowID are set by AddDeployment. Deployments of the same flow
	// share the flow's id.
	ID, FlowID uuid.UUID

	created time.Time
	schema  *jsonschema.Schema
}

// AddDeployment adds a deployment and returns it with its ids. A schema that
// can't be compiled panics.
func (s *Server) AddDeployment(d Deployment) Deployment {
	d.ID, d.FlowID, d.created = uuid.New(), uuid.New(), time.Now()
	if d.ParameterSchema != "" {
		d.schema = compile(d.ParameterSchema)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.deployments {
		if other.Flow == d.Flow {
			d.FlowID = other.FlowID
		}
	}
	s.deployments = append(s.deployments, d)
	return d
}

// RemoveDeployment takes a deployment away.
func (s *Server) RemoveDeployment(flow, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deployments = slices.DeleteFunc(s.deployments, func(d Deployment) bool { return d.Flow == flow && d.Name == name })
}

func compile(schema string) *jsonschema.Schema {
	var parsed map[string]any
	if err := json.Unmarshal([]byte(schema), &parsed); err != nil {
		panic(err)
	}
	allowNull(parsed)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(marshal(parsed)))
	if err != nil {
		panic(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("parameters.json", document); err != nil {
		panic(err)
	}
	return compiler.MustCompile("parameters.json")
}

// allowNull lets an optional property without a default be null, as Prefect
// does before it validates.
func allowNull(schema map[string]any) {
	required := map[any]bool{}
	if names, ok := schema["required"].([]any); ok {
		for _, name := range names {
			required[name] = true
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		property, ok := property.(map[string]any)
		if !ok {
			continue
		}
		kind, typed := property["type"]
		_, hasDefault := property["default"]
		if typed && kind != "null" && !required[name] && !hasDefault {
			property["anyOf"] = []any{map[string]any{"type": kind}, map[string]any{"type": "null"}}
			delete(property, "type")
		}
		allowNull(property)
	}
}

func (s *Server) deploymentByName(flow, name string) reply {
	for _, d := range s.deployments {
		if d.Flow == flow && d.Name == name {
			return reply{http.StatusOK, d.body()}
		}
	}
	return detail(http.StatusNotFound, "Deployment not found")
}

func (s *Server) deploymentByID(id uuid.UUID) reply {
	for _, d := range s.deployments {
		if d.ID == id {
			return reply{http.StatusOK, d.body()}
		}
	}
	return detail(http.StatusNotFound, "Deployment not found")
}

// list is one page of all deployments, or of all flows: the real server's
// filters are not known here.
func (s *Server) list(what string, body []byte) reply {
	var sent struct {
		Offset, Limit int
		Sort          string
	}
	if bad, ok := parseBody(body, &sent); !ok {
		return bad
	}
	all := []any{}
	flows := map[uuid.UUID]bool{}
	for _, d := range s.deployments {
		switch {
		case what == "deployments":
			all = append(all, d.body())
		case !flows[d.FlowID]:
			flows[d.FlowID] = true
			all = append(all, map[string]any{"id": d.FlowID, "name": d.Flow})
		}
	}
	if what == "deployments" && sent.Sort != "CREATED_DESC" && sent.Offset > 0 {
		// As PostgreSQL may order what the sort doesn't tell apart: otherwise
		// for each page.
		slices.Reverse(all)
	}
	from := min(sent.Offset, len(all))
	return reply{http.StatusOK, all[from:min(from+sent.Limit, len(all))]}
}

func (d Deployment) body() map[string]any {
	status := "NOT_READY"
	if d.Served {
		status = "READY"
	}
	schema := json.RawMessage("{}")
	if d.ParameterSchema != "" {
		schema = json.RawMessage(d.ParameterSchema)
	}
	return map[string]any{
		"id": d.ID, "created": stamp(d.created), "updated": stamp(d.created), "name": d.Name, "version": nil,
		"description": nil, "flow_id": d.FlowID, "paused": d.Paused, "schedules": []any{}, "concurrency_limit": nil,
		"global_concurrency_limit": nil, "concurrency_options": nil, "job_variables": map[string]any{},
		"parameters": orEmpty(d.Parameters), "tags": append([]string{}, d.Tags...),
		"labels": map[string]any{"prefect.flow.id": d.FlowID}, "work_queue_name": nil, "work_queue_id": nil,
		"last_polled": nil, "parameter_openapi_schema": schema, "path": nil, "pull_steps": []any{}, "entrypoint": nil,
		"storage_document_id": nil, "infrastructure_document_id": nil, "created_by": nil, "updated_by": nil,
		"work_pool_name": orNil(d.WorkPool), "status": status, "enforce_parameter_schema": !d.NotEnforced,
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // made of JSON in the first place
	}
	return data
}
