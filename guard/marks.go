package guard

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/stamp"
)

// deployedBy begins the labels of a deployment that say who deployed it. Its
// runs inherit them, so they must not look like the stamp of a run.
const deployedBy = "kong-prefect-deployed-by."

// rule is what the stamp names as the rule that let the caller through.
func (c *check) rule() string { return "guard:" + c.Route.Permission }

// stampOf makes the stamp of a run; without the context, names alone.
func (c *check) stampOf(run stamp.Run, o stamp.Options) (stamp.Stamp, error) {
	r := c.Request
	s, err := stamp.New(stamp.Cause{
		Caller: r.Caller, Roles: r.Roles, Rule: c.rule(), RequestID: r.RequestID,
		Parent: r.Parent, Traceparent: r.Traceparent, Run: run,
	}, o)
	if err != nil {
		return stamp.Stamp{}, &Refusal{Reason: ReasonStampFailed, Cause: err}
	}
	return s, nil
}

// names is who asks, for what isn't a run and can't hold a signature.
func (c *check) names() (stamp.Stamp, error) {
	return c.stampOf(stamp.Run{}, stamp.Options{Omit: []stamp.Part{stamp.PartContext, stamp.PartTrace}})
}

// refuseReserved refuses tags and labels that only the stamp may set.
func (c *check) refuseReserved(o map[string]any, at string) error {
	tags, err := texts(o["tags"], at+"/tags")
	if err != nil {
		return err
	}
	for i, tag := range tags {
		if stamp.ReservedTag(tag) && !c.deployerMay(tag) {
			return field(fmt.Sprintf("%s/tags/%d", at, i), "tags like this one are set by the gateway alone")
		}
	}
	if o["labels"] == nil {
		return nil
	}
	labels, err := objectAt(o["labels"], at+"/labels")
	if err != nil {
		return err
	}
	return refuseReservedLabels(labels, at+"/labels")
}

// deployerMay: a deployment says itself whose it is and what it is for.
func (c *check) deployerMay(tag string) bool {
	return strings.HasPrefix(c.Route.Path, "/deployments/") && c.Route.Body == "deployment" &&
		(strings.HasPrefix(tag, stamp.TagTeam) || strings.HasPrefix(tag, stamp.TagFunction))
}

// telemetry begins the labels in which Prefect's own clients keep a trace.
const telemetry = "__OTEL_"

func refuseReservedLabels(labels map[string]any, at string) error {
	for name := range labels {
		if stamp.ReservedLabel(name) && !strings.HasPrefix(name, telemetry) || strings.HasPrefix(name, deployedBy) {
			return field(at+"/"+escapePointer(name), "labels like this one are set by the gateway or by Prefect alone")
		}
	}
	return nil
}

// stampRun writes who asks onto a run that is being created.
func (c *check) stampRun(o map[string]any, at string, run stamp.Run) error {
	s, err := c.stampOf(run, c.guard.stamp)
	if err != nil {
		return err
	}
	context := map[string]any{}
	if o["context"] != nil {
		if context, err = objectAt(o["context"], at+"/context"); err != nil {
			return err
		}
	}
	if _, taken := context[stamp.ContextKey]; taken {
		return field(at+"/context/"+stamp.ContextKey, "it is set by the gateway alone")
	}
	maps.Copy(context, s.Context)
	o["context"] = context
	c.runs = append(c.runs, run)
	return c.mark(o, at, s.Tags, s.Labels, s)
}

// mark adds tags and labels to what is created, and names the caller in
// created_by. Reserved ones that the caller sent were refused before.
func (c *check) mark(o map[string]any, at string, tags []string, labels map[string]any, s stamp.Stamp) error {
	given, err := texts(o["tags"], at+"/tags")
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if !slices.Contains(given, tag) {
			given = append(given, tag)
		}
	}
	if len(given) > 0 {
		o["tags"] = given
	}
	if len(labels) > 0 {
		all := map[string]any{}
		if o["labels"] != nil {
			if all, err = objectAt(o["labels"], at+"/labels"); err != nil {
				return err
			}
		}
		maps.Copy(all, labels)
		o["labels"] = all
	}
	if s.CreatedByName != "" {
		c.createdBy = &stamp.CreatedBy{ID: s.CreatedByID, DisplayValue: s.CreatedByName}
	}
	return nil
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
