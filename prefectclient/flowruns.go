package prefectclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

// State is a state of a flow run.
type State struct {
	// Type is one of Prefect's state types, such as "SCHEDULED" or
	// "COMPLETED".
	Type string `json:"type"`
	// Name is the type's display name, or one a flow chose.
	Name      string    `json:"name"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
}

// Final says whether a run in this state has ended.
func (s State) Final() bool {
	return slices.Contains(finalStates, s.Type)
}

var finalStates = []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

// FlowRun is a flow run as Prefect describes it. Numbers in the maps are
// json.Number.
type FlowRun struct {
	ID           uuid.UUID `json:"id"`
	Name         string    `json:"name"`
	FlowID       uuid.UUID `json:"flow_id"`
	DeploymentID uuid.UUID `json:"deployment_id"` // the zero UUID: none
	// State is the zero State where the run has none yet.
	State State `json:"state"`
	// Parameters are the deployment's defaults with the run's own.
	Parameters map[string]any `json:"parameters"`
	Context    map[string]any `json:"context"`
	// Tags hold the deployment's tags too; Labels hold Prefect's own too.
	Tags           []string       `json:"tags"`
	Labels         map[string]any `json:"labels"`
	CreatedBy      *CreatedBy     `json:"created_by"`
	IdempotencyKey string         `json:"idempotency_key"`
	WorkPoolName   string         `json:"work_pool_name"`
	WorkQueueName  string         `json:"work_queue_name"`
	RunCount       int            `json:"run_count"`

	Created           *time.Time `json:"created"`
	Updated           *time.Time `json:"updated"`
	ExpectedStartTime *time.Time `json:"expected_start_time"`
	StartTime         *time.Time `json:"start_time"`
	EndTime           *time.Time `json:"end_time"`
	// TotalRunTimeSeconds is the time spent running.
	TotalRunTimeSeconds float64 `json:"total_run_time"`
}

// CreatedBy is what Prefect's UI shows as "Created By".
type CreatedBy struct {
	ID uuid.UUID `json:"id"`
	// Type is set by the server: "AUTOMATION" for what NewFlowRun writes.
	Type         string `json:"type"`
	DisplayValue string `json:"display_value"`
}

// FlowRun reads a flow run.
func (c *Client) FlowRun(ctx context.Context, id uuid.UUID) (FlowRun, error) {
	var run FlowRun
	err := c.call(ctx, &operation{
		name: "read flow run", method: http.MethodGet, path: "/flow_runs/" + id.String(), notFound: ReasonNotFound,
		decode: func(body []byte) error { return decodeRun(body, &run) },
	})
	if err != nil {
		return FlowRun{}, err
	}
	return run, nil
}

// FlowRunByIdempotencyKey finds the run that was created under the key, and
// reports whether there is one. Prefect's keys are unique within a flow.
func (c *Client) FlowRunByIdempotencyKey(ctx context.Context, flowID uuid.UUID, key string) (FlowRun, bool, error) {
	const name = "find flow run by idempotency key"
	if key == "" || flowID == uuid.Nil {
		return FlowRun{}, false, &Error{Op: name, Reason: ReasonRequestInvalid, Detail: "flow id and key are required"}
	}
	var runs []FlowRun
	op := findRuns(name, &runs, runFilter{Runs: runsFilter{IdempotencyKey: anyOf(key)}, Flows: &flowsFilter{ID: anyOf(flowID.String())}})
	if err := c.call(ctx, op); err != nil {
		return FlowRun{}, false, err
	}
	if len(runs) == 0 {
		return FlowRun{}, false, nil
	}
	return runs[0], true, nil
}

// FlowRunOfDeployment finds the run that a deployment created under the key,
// and reports whether there is one. The zero deployment is any, or none: then
// the key must be one that nobody else has.
func (c *Client) FlowRunOfDeployment(ctx context.Context, deploymentID uuid.UUID, key string) (FlowRun, bool, error) {
	const name = "find flow run of deployment"
	if key == "" {
		return FlowRun{}, false, &Error{Op: name, Reason: ReasonRequestInvalid, Detail: "the key is required"}
	}
	filter := runsFilter{IdempotencyKey: anyOf(key)}
	if deploymentID != uuid.Nil {
		filter.DeploymentID = anyOf(deploymentID.String())
	}
	var runs []FlowRun
	op := findRuns(name, &runs, runFilter{Runs: filter})
	if err := c.call(ctx, op); err != nil {
		return FlowRun{}, false, err
	}
	if len(runs) == 0 {
		return FlowRun{}, false, nil
	}
	return runs[0], true, nil
}

// runFilter is the part of Prefect's filter that is used here. An absent
// criterion matches everything: the idempotency key is always there.
type runFilter struct {
	Runs  runsFilter   `json:"flow_runs"`
	Flows *flowsFilter `json:"flows,omitempty"`
	Limit int          `json:"limit"`
}

type runsFilter struct {
	IdempotencyKey *valueFilter `json:"idempotency_key"`
	DeploymentID   *valueFilter `json:"deployment_id,omitempty"`
}

type flowsFilter struct {
	ID *valueFilter `json:"id"`
}

type valueFilter struct {
	Any []string `json:"any_"`
}

func anyOf(value string) *valueFilter { return &valueFilter{Any: []string{value}} }

func findRuns(name string, runs *[]FlowRun, filter runFilter) *operation {
	filter.Limit = 1
	body, err := json.Marshal(filter)
	if err != nil {
		panic(err) // strings always marshal
	}
	return &operation{
		name: name, method: http.MethodPost, path: "/flow_runs/filter", body: body, notFound: ReasonNotFound,
		decode: func(body []byte) error {
			*runs = nil
			if err := decode(body, runs); err != nil {
				return err
			}
			// A server that ignored the filter must not pass for an answer.
			key := filter.Runs.IdempotencyKey.Any[0]
			for _, run := range *runs {
				if run.ID == uuid.Nil || run.IdempotencyKey != key {
					return errors.New("not the flow run that was asked for")
				}
			}
			return nil
		},
	}
}

func decodeRun(body []byte, run *FlowRun) error {
	*run = FlowRun{}
	if err := decode(body, run); err != nil {
		return err
	}
	if run.ID == uuid.Nil || run.FlowID == uuid.Nil {
		return errors.New("not a flow run")
	}
	return nil
}

// sameContext tells whether a run carries exactly the context that was sent,
// as JSON. An empty context proves nothing.
func sameContext(sent map[string]any, got map[string]any) bool {
	if len(sent) == 0 {
		return false
	}
	a, errA := json.Marshal(sent)
	b, errB := json.Marshal(got)
	return errA == nil && errB == nil && bytes.Equal(canonical(a), canonical(b))
}

// canonical sorts the members of every object.
func canonical(value []byte) []byte {
	var v any
	if decode(value, &v) != nil {
		return nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return out
}
