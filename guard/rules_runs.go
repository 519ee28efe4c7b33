package guard

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// startRun is POST /deployments/{id}/create_flow_run: the caller chooses
// parameters and a time, and nothing of what the deployment's owner decided.
func startRun(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	d, err := c.deploymentToRun()
	if err != nil {
		return err
	}
	return c.startOne(o, "", d)
}

// startRuns is the same for several runs at once.
func startRuns(c *check) error {
	list, err := listAt(c.value, "")
	if err != nil {
		return err
	}
	d, err := c.deploymentToRun()
	if err != nil {
		return err
	}
	for i, item := range list {
		at := fmt.Sprintf("/%d", i)
		o, err := objectAt(item, at)
		if err != nil {
			return err
		}
		if err := c.startOne(o, at, d); err != nil {
			return err
		}
	}
	return nil
}

// deploymentToRun is the path's: its defaults are signed with the run.
func (c *check) deploymentToRun() (prefectclient.Deployment, error) {
	id, err := uuid.Parse(c.params["id"])
	if err != nil {
		return prefectclient.Deployment{}, &Refusal{Reason: ReasonOutOfLimit}
	}
	d, err := c.guard.prefect.Deployment(c.ctx, id)
	if err != nil {
		return d, askFailed(err)
	}
	return d, nil
}

// startFields are what anybody who may start a run may say of it.
var startFields = []string{"name", "parameters", "tags", "labels", "context", "idempotency_key", "parent_task_run_id", "empirical_policy", "state"}

// overrides say more than the deployment does.
var overrides = []string{"job_variables", "work_queue_name", "work_pool_name", "infrastructure_document_id"}

func (c *check) startOne(o map[string]any, at string, d prefectclient.Deployment) error {
	for name, v := range o {
		where := at + "/" + escapePointer(name)
		switch {
		case slices.Contains(startFields, name), empty(v), name == "enforce_parameter_schema" && v == true:
		case name == "enforce_parameter_schema", slices.Contains(overrides, name):
			if !c.has(PermissionOverrideRuns) {
				return fieldNeeds(where, PermissionOverrideRuns, "the deployment decides this")
			}
		default:
			return field(where, "no run of a deployment is started with this")
		}
	}
	if err := c.newState(o, at, "SCHEDULED"); err != nil {
		return err
	}
	if err := c.parentTask(o, at); err != nil {
		return err
	}
	if err := c.refuseHydration(o["parameters"], at+"/parameters"); err != nil {
		return err
	}
	if err := c.refuseReserved(o, at); err != nil {
		return err
	}
	given, err := parametersOf(o, at)
	if err != nil {
		return err
	}
	key, err := c.ownKey(o, at, d.ID)
	if err != nil {
		return err
	}
	complete, server := stamp.Complete(d.Parameters, given)
	o["parameters"] = complete
	return c.stampRun(o, at, stamp.Run{
		FlowID: d.FlowID, DeploymentID: d.ID, IdempotencyKey: key,
		Parameters: complete, ServerParameters: append(server, rendered(given)...),
	})
}

// parentTask takes the task run that is to be the run's parent from who may set
// its states, and sees it: each state of the run becomes the task's, by force.
// Source: prefect/server/orchestration/global_policy.py, UpdateSubflowParentTask.
func (c *check) parentTask(o map[string]any, at string) error {
	const name = "parent_task_run_id"
	id, err := text(o, name, at)
	if err != nil || id == "" {
		return err
	}
	if !c.has(PermissionExecuteRuns) {
		return fieldNeeds(at+"/"+name, PermissionExecuteRuns, "the task would take over each state of this run")
	}
	if !c.limited() {
		return nil
	}
	seen, err := c.guard.sight.of(c.ctx, c.limits)
	if err != nil {
		return askFailed(err)
	}
	return c.allTheirs("task_run", []string{id}, seen)
}

func parametersOf(o map[string]any, at string) (map[string]any, error) {
	if o["parameters"] == nil {
		return map[string]any{}, nil
	}
	return objectAt(o["parameters"], at+"/parameters")
}

// rendered are the parameters of which the server makes another value.
func rendered(given map[string]any) (names []string) {
	for name, v := range given {
		if hydrates(v) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ownKey makes the idempotency key the caller's own: Prefect would give the
// first caller's run to whoever sends the same one.
func (c *check) ownKey(o map[string]any, at string, deployment uuid.UUID) (string, error) {
	sent, err := text(o, "idempotency_key", at)
	if err != nil {
		return "", err
	}
	// at keeps the runs of one request apart.
	key := stamp.IdempotencyKey(c.Request.Caller, c.Request.Parent, deployment, sent, c.Request.RequestID+at)
	o["idempotency_key"] = key
	return key, nil
}

// newState takes the states in which an honest run begins.
func (c *check) newState(o map[string]any, at string, types ...string) error {
	if o["state"] == nil {
		return nil
	}
	state, err := objectAt(o["state"], at+"/state")
	if err != nil {
		return err
	}
	if kind, _ := state["type"].(string); !slices.Contains(types, kind) {
		return field(at+"/state/type", "a run begins as %v", types)
	}
	if !empty(state["data"]) {
		return field(at+"/state/data", "a run that has not run has no result")
	}
	return nil
}

// newRun is POST /flow_runs/, by which a flow tells that it runs, here or as a
// part of another: it may not tell that it ran.
func newRun(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	if err := c.newState(o, "", "PENDING", "SCHEDULED"); err != nil {
		return err
	}
	for _, name := range overrides {
		if !empty(o[name]) && !c.has(PermissionOverrideRuns) {
			return fieldNeeds("/"+name, PermissionOverrideRuns, "the deployment decides this")
		}
	}
	run := stamp.Run{}
	if !empty(o["deployment_id"]) {
		if err := c.need(PermissionRunDeployments); err != nil {
			return err
		}
		if run.DeploymentID, err = idAt(o, "deployment_id"); err != nil {
			return err
		}
	}
	if run.FlowID, err = idAt(o, "flow_id"); err != nil {
		return err
	}
	if err := c.refuseReserved(o, ""); err != nil {
		return err
	}
	if run.Parameters, err = parametersOf(o, ""); err != nil {
		return err
	}
	if run.IdempotencyKey, err = c.ownKey(o, "", run.DeploymentID); err != nil {
		return err
	}
	return c.stampRun(o, "", run)
}

// idAt is a field that must be a UUID; absent it is the zero one, which Prefect
// refuses where it needs one.
func idAt(o map[string]any, name string) (uuid.UUID, error) {
	s, err := text(o, name, "")
	if err != nil || s == "" {
		return uuid.Nil, err
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return uuid.Nil, unreadable("/"+name, "must be a UUID")
	}
	return id, nil
}

// changeRun is PATCH /flow_runs/{id}.
func changeRun(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	if !empty(o["job_variables"]) && !c.has(PermissionOverrideRuns) {
		return fieldNeeds("/job_variables", PermissionOverrideRuns, "the deployment decides this")
	}
	if err := c.refuseHydration(o["parameters"], "/parameters"); err != nil {
		return err
	}
	return c.refuseReserved(o, "")
}

// workerLabels begin the labels by which a worker tells where a run executes.
var workerLabels = []string{"prefect.worker.", "prefect.work-pool."}

// changeLabels is PATCH /flow_runs/{id}/labels.
func changeLabels(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	rest := maps.Clone(o)
	maps.DeleteFunc(rest, func(name string, _ any) bool {
		return slices.ContainsFunc(workerLabels, func(p string) bool { return strings.HasPrefix(name, p) })
	})
	return refuseReservedLabels(rest, "")
}

// controls are the states that a person gives to a run without claiming that
// it did anything: cancel, retry, pause.
var controls = []string{"CANCELLING", "CANCELLED", "SCHEDULED", "PAUSED"}

// setState is POST /flow_runs/{id}/set_state. Who executes runs reports any
// state; everybody else may only control, and without a further permission
// only what they started themselves.
func setState(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	executor := c.hasHere(PermissionExecuteRuns)
	if err := c.mayset(o, executor); err != nil {
		return err
	}
	if executor || c.hasHere(PermissionChangeRuns) {
		return nil
	}
	return c.requireOwn()
}

// hasHere is has for a permission without which there is another way: it
// counts only where the run is within its limits, and limits nothing.
func (c *check) hasHere(permission string) bool {
	limits, ok := c.guard.holds(c.Request.Roles, permission)
	if !ok || len(limits) == 0 {
		return ok
	}
	seen, err := c.guard.sight.of(c.ctx, [][]Limit{limits})
	return err == nil && c.allTheirs("run", []string{c.params["id"]}, seen) == nil
}

// mayset checks the state that is asked for, and writes into its message who
// asked where no executor did.
func (c *check) mayset(o map[string]any, executor bool) error {
	state, err := objectAt(o["state"], "/state")
	if err != nil {
		return err
	}
	kind, err := text(state, "type", "/state")
	if err != nil {
		return err
	}
	if !slices.Contains(controls, kind) && !executor {
		return fieldNeeds("/state/type", PermissionExecuteRuns, fmt.Sprintf("only who executes the run says that it is %s", kind))
	}
	if force, there := o["force"]; there && force != false && force != nil && !executor {
		return fieldNeeds("/force", PermissionExecuteRuns, "only who executes runs sets a state against Prefect's rules")
	}
	if !executor && !empty(state["data"]) {
		return fieldNeeds("/state/data", PermissionExecuteRuns, "only who executes the run gives it a result")
	}
	if executor && !slices.Contains(controls, kind) {
		return nil
	}
	message, err := text(state, "message", "/state")
	if err != nil {
		return err
	}
	if message != "" {
		message += " "
	}
	who, err := c.names()
	if err != nil {
		return err
	}
	state["message"] = message + "(set by " + who.CreatedByName + ")"
	return nil
}

// ownRun is what people do to runs they started: resume, answer. The server
// hydrates what a run is resumed with.
func ownRun(c *check) error {
	if err := c.refuseHydration(c.value, ""); err != nil {
		return err
	}
	if c.hasHere(PermissionExecuteRuns) || c.hasHere(PermissionChangeRuns) {
		return nil
	}
	return c.requireOwn()
}

// requireOwn asks Prefect who started the run. Nobody can have forged that:
// the headers it comes from never pass the gateway. Who sends a run's stamp
// along has none of its caller's rights: whoever reads the run has the stamp.
func (c *check) requireOwn() error {
	id, err := uuid.Parse(c.params["id"])
	if err != nil {
		return &Refusal{Reason: ReasonOutOfLimit}
	}
	run, err := c.guard.prefect.FlowRun(c.ctx, id)
	if err != nil {
		return askFailed(err)
	}
	if run.CreatedBy == nil || run.CreatedBy.ID != stamp.CallerID(c.Request.Caller) {
		return &Refusal{Reason: ReasonNotYours, Permission: PermissionChangeRuns}
	}
	return nil
}
