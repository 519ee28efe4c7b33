package prefectclient

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// NewFlowRun is a flow run to be created. Its JSON is for who keeps it until
// later, not what is sent.
type NewFlowRun struct {
	// IdempotencyKey makes the create safe to repeat. Required. Prefect looks
	// it up within the flow, across all callers and deployments: it should be
	// derived from both.
	IdempotencyKey string `json:"idempotency_key"`
	// Name of the run. Default: Prefect invents one.
	Name string `json:"name,omitempty"`
	// Parameters are laid over the deployment's defaults. They are written
	// with encoding/json: json.RawMessage and json.Number are possible.
	Parameters map[string]any `json:"parameters,omitempty"`
	// Context is stored with the run; no route of Prefect's API changes it
	// later. It should hold something unique to this call, such as a request
	// id: that is how a run whose answer was lost is known to be this call's.
	Context map[string]any `json:"context,omitempty"`
	// Fingerprint stands for what the caller asked for, such as a hash of the
	// request. It is stored in the run's context, and a run that was there
	// already under the key must carry the same one: a key that is used again
	// for something else is refused. Default: nothing is stored or compared.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Tags are joined with the deployment's.
	Tags []string `json:"tags,omitempty"`
	// Labels hold strings, numbers and bools. They override Prefect's own of
	// the same name.
	Labels map[string]any `json:"labels,omitempty"`
	// CreatedBy is shown as "Created By" in Prefect's UI. Default: nobody. It
	// travels in the two headers that Prefect's automations use; Type is the
	// server's to set.
	CreatedBy *CreatedBy `json:"created_by,omitempty"`
	// JobVariables change what the worker runs, its command and environment:
	// never take them from a stranger. Default: the deployment's.
	JobVariables map[string]any `json:"job_variables,omitempty"`
	// WorkQueueName is the queue in place of the deployment's. Prefect makes
	// the one that doesn't exist. Default: the deployment's.
	WorkQueueName string `json:"work_queue_name,omitempty"`
}

// newFlowRunBody holds every field of Prefect's body that this package sends.
type newFlowRunBody struct {
	Name           string         `json:"name,omitempty"`
	Parameters     map[string]any `json:"parameters,omitempty"`
	Context        map[string]any `json:"context,omitempty"`
	Tags           []string       `json:"tags,omitempty"`
	Labels         map[string]any `json:"labels,omitempty"`
	IdempotencyKey string         `json:"idempotency_key"`
	JobVariables   map[string]any `json:"job_variables,omitempty"`
	WorkQueueName  string         `json:"work_queue_name,omitempty"`
}

// maxDisplayBytes bounds the display value, which travels in a header.
const maxDisplayBytes = 1024

// CreateFlowRun creates a run of the deployment, once, whatever happens on
// the way: every attempt carries the same idempotency key, and when an answer
// was lost the run is looked up by it.
//
// created is true when this call made the run. It is false when the run was
// there already, under the same key, from an earlier call. Where an answer was
// lost, the run's context decides, and an empty context means false.
//
// An error's reason tells what is known: outcome_unknown means that the run
// may exist; after every other reason this call has made none.
func (c *Client) CreateFlowRun(ctx context.Context, deploymentID uuid.UUID, run NewFlowRun) (_ FlowRun, created bool, err error) {
	var made FlowRun
	op, err := newCreate(deploymentID, run, &made)
	if err != nil {
		return FlowRun{}, false, err
	}
	ctx, end, err := c.begin(ctx, op.name, c.options.Deadline)
	if err != nil {
		return FlowRun{}, false, err
	}
	defer end()

	sending, cancel := c.beforeConfirm(ctx)
	got, f := c.repeat(sending, op)
	cancel()
	if f == nil {
		created = got.status == http.StatusCreated || (got.afterLoss && run.Owns(made))
		return ours(made, created, deploymentID, run)
	}
	f.IdempotencyKey = run.IdempotencyKey
	if f.Reason == ReasonWithheld {
		return c.unsent(ctx, deploymentID, run, f)
	}
	if !f.maybeDone {
		return FlowRun{}, false, f.Error
	}
	found, ok := c.confirm(ctx, deploymentID, run, f)
	if !ok {
		return FlowRun{}, false, f.Error
	}
	return ours(found, run.Owns(found), deploymentID, run)
}

// fingerprintKey is where a run's context holds NewFlowRun.Fingerprint.
const fingerprintKey = "request_fingerprint"

func (r *NewFlowRun) storedContext() map[string]any {
	if r.Fingerprint == "" {
		return r.Context
	}
	stored := map[string]any{fingerprintKey: r.Fingerprint}
	maps.Copy(stored, r.Context)
	return stored
}

// Owns tells whether a found run was made by a call with this very NewFlowRun,
// by its context.
func (r *NewFlowRun) Owns(found FlowRun) bool {
	return len(r.Context) > 0 && sameContext(r.storedContext(), found.Context)
}

// isOther tells that the key's run was asked for with something else.
func (r *NewFlowRun) isOther(found FlowRun) bool {
	held, ok := found.Context[fingerprintKey].(string)
	return ok && r.Fingerprint != "" && held != r.Fingerprint
}

// ours refuses a run of another deployment: two deployments of one flow share
// their keys, and Prefect answers 200 with whatever run has the key. It
// refuses a run that was asked for with something else, too.
func ours(made FlowRun, created bool, deploymentID uuid.UUID, run NewFlowRun) (FlowRun, bool, error) {
	if made.DeploymentID != deploymentID {
		return FlowRun{}, false, &Error{
			Op: createName, Reason: ReasonIdempotencyConflict, IdempotencyKey: run.IdempotencyKey,
			Detail: "the key belongs to a run of another deployment of the same flow",
		}
	}
	if !created && run.isOther(made) {
		return FlowRun{}, false, &Error{
			Op: createName, Reason: ReasonIdempotencyKeyReused, IdempotencyKey: run.IdempotencyKey,
			Detail: "the key belongs to a run that was asked for with something else",
		}
	}
	return made, created, nil
}

const (
	createName  = "create flow run"
	confirmName = "confirm flow run"
)

// newCreate checks what would be wrong with any server, and writes the
// request.
func newCreate(deploymentID uuid.UUID, run NewFlowRun, made *FlowRun) (*operation, error) {
	problems := []error{checkLabels(run.Labels), checkCreatedBy(run.CreatedBy)}
	if deploymentID == uuid.Nil {
		problems = append(problems, errors.New("deployment id: missing"))
	}
	if run.IdempotencyKey == "" {
		problems = append(problems, errors.New("IdempotencyKey: missing"))
	}
	body, err := json.Marshal(newFlowRunBody{
		Name: run.Name, Parameters: run.Parameters, Context: run.storedContext(), Tags: run.Tags,
		Labels: run.Labels, IdempotencyKey: run.IdempotencyKey, JobVariables: run.JobVariables, WorkQueueName: run.WorkQueueName,
	})
	if err != nil {
		// The error may quote a value.
		problems = append(problems, errors.New("a value has no JSON form"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, &Error{Op: createName, Reason: ReasonRequestInvalid, IdempotencyKey: run.IdempotencyKey, cause: err}
	}
	header := http.Header{}
	if by := run.CreatedBy; by != nil {
		header.Set("Prefect-Automation-Id", by.ID.String())
		header.Set("Prefect-Automation-Name", base64.StdEncoding.EncodeToString([]byte(by.DisplayValue)))
	}
	return &operation{
		name: createName, method: http.MethodPost, path: "/deployments/" + deploymentID.String() + "/create_flow_run",
		header: header, body: body, notFound: ReasonDeploymentNotFound, effect: true,
		decode: func(body []byte) error {
			if err := decodeRun(body, made); err != nil {
				return err
			}
			if made.IdempotencyKey != run.IdempotencyKey {
				return errors.New("a flow run with another idempotency key")
			}
			return nil
		},
	}, nil
}

func checkLabels(labels map[string]any) error {
	for name, value := range labels {
		switch value.(type) {
		case string, bool, json.Number, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		default:
			return fmt.Errorf("label %q: not a string, number or bool", name)
		}
	}
	return nil
}

func checkCreatedBy(by *CreatedBy) error {
	switch {
	case by == nil:
		return nil
	case by.ID == uuid.Nil:
		return errors.New("CreatedBy: ID missing")
	case by.DisplayValue == "" || len(by.DisplayValue) > maxDisplayBytes || !utf8.ValidString(by.DisplayValue):
		return fmt.Errorf("CreatedBy: DisplayValue empty, over %d bytes, or not UTF-8", maxDisplayBytes)
	}
	return nil
}

// beforeConfirm keeps the end of the time for confirm.
func (c *Client) beforeConfirm(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx) // begin always sets one
	}
	reserve := min(c.options.ConfirmTimeout, time.Until(deadline)/4)
	return context.WithDeadline(ctx, deadline.Add(-reserve))
}

// confirm asks by key what became of a create whose answer was lost. When it
// finds no run, f says how much that proves.
func (c *Client) confirm(ctx context.Context, deploymentID uuid.UUID, run NewFlowRun, f *failure) (FlowRun, bool) {
	var runs []FlowRun
	op := findRuns(confirmName, &runs, runFilter{Runs: runsFilter{
		IdempotencyKey: anyOf(run.IdempotencyKey), DeploymentID: anyOf(deploymentID.String()),
	}})
	for wait := c.options.MinBackoff; ctx.Err() == nil; wait = min(2*wait, c.options.MaxBackoff) {
		_, asked := c.repeat(ctx, op)
		if asked == nil && len(runs) > 0 {
			return runs[0], true
		}
		if asked == nil && conclusive(f) {
			return FlowRun{}, false
		}
		// A slow server may still be at work on a request that timed out, and
		// one that is away may be back soon.
		if (asked != nil && asked.Reason != ReasonUnavailable) || !pause(ctx, wait) {
			break
		}
	}
	c.log.Warn("prefect create has an unknown outcome", "idempotency_key", run.IdempotencyKey, "deployment", deploymentID)
	f.Reason = ReasonOutcomeUnknown
	f.Detail = "the run may exist: find it by its idempotency key, or repeat with the same key"
	return FlowRun{}, false
}

// conclusive tells whether "there is no run of this key" settles it: every
// attempt was answered by Prefect itself, or the last one was refused for what
// it asks, which every earlier one will have been too.
func conclusive(f *failure) bool {
	switch f.Reason {
	case ReasonParametersInvalid, ReasonDeploymentNotFound, ReasonRefused:
		return true
	}
	return !f.inFlight
}
