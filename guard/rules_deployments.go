package guard

import (
	"fmt"
	"strings"

	"github.com/kong-prefect/kong-prefect/stamp"
)

// deployment is POST /deployments/ and PATCH /deployments/{id}: who deploys is
// written onto it, and from there onto the runs that its schedules make.
func deployment(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	if err := c.refuseHydration(o["parameters"], "/parameters"); err != nil {
		return err
	}
	if err := c.refuseReserved(o, ""); err != nil {
		return err
	}
	if !empty(o["schedules"]) {
		list, err := listAt(o["schedules"], "/schedules")
		if err != nil {
			return err
		}
		if err := c.checkSchedules(list, "/schedules"); err != nil {
			return err
		}
	}
	who, err := c.names()
	if err != nil {
		return err
	}
	labels := map[string]any{}
	if c.Request.Method == "POST" {
		// An update takes no labels: the deployment keeps what it got when it
		// was made.
		for name, value := range who.Labels {
			labels[deployedBy+strings.TrimPrefix(name, stamp.LabelPrefix)] = value
		}
	}
	return c.mark(o, "", nil, labels, who)
}

// schedules is POST .../schedules, a list, and PATCH .../schedules/{id}, one.
func schedules(c *check) error {
	if list, ok := c.value.([]any); ok {
		return c.checkSchedules(list, "")
	}
	return c.checkSchedules([]any{c.value}, "")
}

func (c *check) checkSchedules(list []any, at string) error {
	for i, item := range list {
		where := fmt.Sprintf("%s/%d", at, i)
		o, err := objectAt(item, where)
		if err != nil {
			return err
		}
		if err := c.refuseHydration(o["parameters"], where+"/parameters"); err != nil {
			return err
		}
	}
	return nil
}

// actionLists are where an automation says what it does.
var actionLists = []string{"actions", "actions_on_trigger", "actions_on_resolve"}

// automation is POST and PUT /automations: what an automation does later needs
// what its maker would need for it now.
func automation(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	if err := c.refuseReserved(o, ""); err != nil {
		return err
	}
	for _, name := range actionLists {
		if o[name] == nil {
			continue
		}
		list, err := listAt(o[name], "/"+name)
		if err != nil {
			return err
		}
		for i, item := range list {
			if err := c.action(item, fmt.Sprintf("/%s/%d", name, i)); err != nil {
				return err
			}
		}
	}
	// Runs that it starts are created by the automation, which says here who
	// made it: an action has no place for more.
	who, err := c.names()
	if err != nil {
		return err
	}
	return c.mark(o, "", who.Tags, nil, who)
}

// actionNeeds is the permission of each kind of action.
var actionNeeds = map[string]string{
	"do-nothing":            "manage_automations",
	"run-deployment":        PermissionRunDeployments,
	"pause-deployment":      "manage_deployments",
	"resume-deployment":     "manage_deployments",
	"cancel-flow-run":       PermissionChangeRuns,
	"change-flow-run-state": PermissionExecuteRuns,
	"suspend-flow-run":      PermissionChangeRuns,
	"resume-flow-run":       PermissionChangeRuns,
	"delete-flow-run":       "manage_flow_runs",
	"pause-work-queue":      "manage_work_pools",
	"resume-work-queue":     "manage_work_pools",
	"pause-work-pool":       "manage_work_pools",
	"resume-work-pool":      "manage_work_pools",
	"pause-automation":      "manage_automations",
	"resume-automation":     "manage_automations",
	"send-notification":     "see_blocks",
	"call-webhook":          "see_blocks",
}

func (c *check) action(v any, at string) error {
	o, err := objectAt(v, at)
	if err != nil {
		return err
	}
	kind, err := text(o, "type", at)
	if err != nil {
		return err
	}
	permission, known := actionNeeds[kind]
	if !known {
		return field(at+"/type", "no such action is known to the gateway")
	}
	if !c.has(permission) {
		return fieldNeeds(at+"/type", permission, "the automation would do what you may not do yourself")
	}
	if !empty(o["job_variables"]) && !c.has(PermissionOverrideRuns) {
		return fieldNeeds(at+"/job_variables", PermissionOverrideRuns, "the deployment decides this")
	}
	// Templates are what automations are for: they know the event, and nothing
	// that is secret.
	if readsVariable(o["parameters"]) && !c.has(seeVariables) {
		return fieldNeeds(at+"/parameters", seeVariables, "the server would read a variable for you")
	}
	return nil
}
