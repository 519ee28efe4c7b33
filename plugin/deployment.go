package plugin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

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
	defaults   map[string]any // never written to
	facts      policy.Deployment
	version    string
	text       string                   // what its author wrote about it
	executed   bool                     // see isExecuted
	found      prefectclient.Deployment // what all of it was made of
}

// run is the run to stamp: with all the parameters that Prefect will store.
func (r *resolved) run(idempotencyKey string, parameters map[string]any) stamp.Run {
	complete, server := stamp.Complete(r.defaults, parameters)
	return stamp.Run{
		FlowID: r.flowID, DeploymentID: r.id, IdempotencyKey: idempotencyKey,
		Parameters: complete, ServerParameters: server,
	}
}

func (r *resolved) age() time.Duration {
	if !r.executed || r.facts.Paused {
		return refusedAge
	}
	return deploymentAge
}

// deployment resolves one route's deployment and remembers it for a while.
type deployment struct {
	client *prefectclient.Client
	name   deploymentName
	known  *remembered[*resolved]
}

func newDeployment(c *prefectclient.Client, name deploymentName, now func() time.Time) *deployment {
	return &deployment{client: c, name: name, known: newRemembered((*resolved).age, now)}
}

// find gives the deployment; requests that come together ask Prefect once.
func (d *deployment) find(ctx context.Context) (*resolved, error) {
	return d.known.get(ctx, d.resolve)
}

// forget drops a deployment that Prefect no longer knows.
func (d *deployment) forget(gone *resolved) {
	d.known.forget(func(known *resolved) bool { return known == gone })
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
	return newResolved(found)
}

// newResolved reads a deployment as Prefect has it.
func newResolved(found prefectclient.Deployment) (*resolved, error) {
	schema, err := policy.NewParameterSchema(found.ParameterSchema)
	if err != nil {
		return nil, err
	}
	return &resolved{
		id: found.ID, flowID: found.FlowID, schema: schema, defaults: found.Parameters,
		facts: factsOf(found), version: found.Version, text: found.Description, executed: isExecuted(found), found: found,
	}, nil
}

// factsOf is what conditions can ask about a deployment.
func factsOf(d prefectclient.Deployment) policy.Deployment {
	facts := policy.Deployment{
		ID: d.ID.String(), Name: d.Name, Flow: d.FlowName, Tags: d.Tags, WorkPool: d.WorkPoolName, Paused: d.Paused,
	}
	if d.FlowName != "" {
		facts.Name = d.FlowName + "/" + d.Name
	}
	return facts
}

// isExecuted tells whether somebody executes a deployment's runs, as far as
// Prefect knows. A process that serves a deployment (flow.serve) has no work
// pool: the deployment is ready while it asks for runs.
func isExecuted(d prefectclient.Deployment) bool { return d.WorkPoolName != "" || d.Status == "READY" }
