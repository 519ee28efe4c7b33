package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// deploymentAge is how long a resolved deployment is used before Prefect is
// asked again: a changed schema counts after it at the latest.
const deploymentAge = 30 * time.Second

// refusedAge is the same for one whose runs nobody would execute now: that
// changes with the next poll of a worker, or when somebody mends it, and until
// then a crowd of callers shall not become a crowd at Prefect.
const refusedAge = time.Second

// deploymentName is a deployment by its id or by its names.
type deploymentName struct {
	id         uuid.UUID
	flow, name string
}

func parseDeploymentName(s string) (deploymentName, error) {
	if id, err := uuid.Parse(s); err == nil {
		return deploymentName{id: id}, nil
	}
	flow, name, ok := strings.Cut(s, "/")
	if !ok || flow == "" || name == "" || strings.Contains(name, "/") {
		return deploymentName{}, errors.New("must be flow/deployment or a deployment's id")
	}
	return deploymentName{flow: flow, name: name}, nil
}

// resolved is what a deployment's name stands for.
type resolved struct {
	id, flowID uuid.UUID
	schema     *policy.ParameterSchema
	defaults   map[string]any  // never written to
	parameters json.RawMessage // its schema, as Prefect has it
	facts      policy.Deployment
	text       string // what its author wrote about it
	executed   bool   // somebody executes its runs, as far as Prefect knows
	until      time.Time
}

// run is the run to stamp: with all the parameters that Prefect will store.
func (r *resolved) run(idempotencyKey string, parameters map[string]any) stamp.Run {
	complete, server := stamp.Complete(r.defaults, parameters)
	return stamp.Run{
		FlowID: r.flowID, DeploymentID: r.id, IdempotencyKey: idempotencyKey,
		Parameters: complete, ServerParameters: server,
	}
}

// deployment resolves one route's deployment and remembers it for a while.
type deployment struct {
	client *prefectclient.Client
	name   deploymentName
	now    func() time.Time
	asking singleflight.Group

	mu    sync.Mutex
	known *resolved
}

func newDeployment(c *prefectclient.Client, name deploymentName, now func() time.Time) *deployment {
	return &deployment{client: c, name: name, now: now}
}

// find gives the deployment; requests that come together ask Prefect once.
func (d *deployment) find(ctx context.Context) (*resolved, error) {
	d.mu.Lock()
	known := d.known
	d.mu.Unlock()
	if known != nil && d.now().Before(known.until) {
		return known, nil
	}
	// The flight belongs to all who wait for it, so one caller's end must not
	// end it; the client has a deadline of its own.
	flight := d.asking.DoChan("", func() (any, error) { return d.resolve(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*resolved), nil
	}
}

func (d *deployment) resolve(ctx context.Context) (*resolved, error) {
	var found prefectclient.Deployment
	var err error
	if d.name.id != uuid.Nil {
		found, err = d.client.Deployment(ctx, d.name.id)
	} else {
		found, err = d.client.DeploymentByName(ctx, d.name.flow, d.name.name)
	}
	if err != nil {
		return nil, err
	}
	schema, err := policy.NewParameterSchema(found.ParameterSchema)
	if err != nil {
		return nil, err
	}
	known := &resolved{
		id: found.ID, flowID: found.FlowID, schema: schema, defaults: found.Parameters, parameters: found.ParameterSchema,
		facts: policy.Deployment{
			ID: found.ID.String(), Name: found.Name, Flow: found.FlowName, Tags: found.Tags,
			WorkPool: found.WorkPoolName, Paused: found.Paused,
		},
		text: found.Description,
		// A process that serves a deployment (flow.serve) has no work pool:
		// the deployment is ready while it asks for runs.
		executed: found.WorkPoolName != "" || found.Status == "READY",
		until:    d.now().Add(deploymentAge),
	}
	if !known.executed || known.facts.Paused {
		known.until = d.now().Add(refusedAge)
	}
	if found.FlowName != "" {
		known.facts.Name = found.FlowName + "/" + found.Name
	}
	d.mu.Lock()
	d.known = known
	d.mu.Unlock()
	return known, nil
}

// forget drops a deployment that Prefect no longer knows.
func (d *deployment) forget(gone *resolved) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == gone {
		d.known = nil
	}
}
