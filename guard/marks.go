package guard

import (
	"fmt"
	"slices"
	"strings"
)

// marks are made once for a request.
func (c *check) marks() *Marks {
	if c.stamps == nil {
		m := c.guard.stamp(c.Request)
		c.stamps = &m
	}
	return c.stamps
}

// refuseReserved refuses tags and labels that only the stamp may set.
func (c *check) refuseReserved(o map[string]any, at string) error {
	tags, err := texts(o["tags"], at+"/tags")
	if err != nil {
		return err
	}
	for i, tag := range tags {
		for _, prefix := range c.marks().ReservedTags {
			if strings.HasPrefix(tag, prefix) {
				return field(fmt.Sprintf("%s/tags/%d", at, i), "tags that begin with %q are set by the gateway alone", prefix)
			}
		}
	}
	if o["labels"] == nil {
		return nil
	}
	labels, err := objectAt(o["labels"], at+"/labels")
	if err != nil {
		return err
	}
	return c.refuseReservedLabels(labels, at+"/labels")
}

func (c *check) refuseReservedLabels(labels map[string]any, at string) error {
	for name := range labels {
		for _, prefix := range c.marks().ReservedLabels {
			if strings.HasPrefix(name, prefix) {
				return field(at+"/"+escapePointer(name), "labels that begin with %q are set by the gateway alone", prefix)
			}
		}
	}
	return nil
}

// stampRun writes who asks onto a run that is being created.
func (c *check) stampRun(o map[string]any, at string) error {
	m := c.marks()
	context := map[string]any{}
	if o["context"] != nil {
		var err error
		if context, err = objectAt(o["context"], at+"/context"); err != nil {
			return err
		}
	}
	if _, taken := context[m.ContextKey]; taken {
		return field(at+"/context/"+m.ContextKey, "it is set by the gateway alone")
	}
	context[m.ContextKey] = m.Context
	o["context"] = context
	return c.mark(o, at, m.Tags, m.Labels)
}

// mark adds tags and labels to what is created, and names the caller in
// created_by. Reserved ones that the caller sent were refused before.
func (c *check) mark(o map[string]any, at string, tags []string, labels map[string]any) error {
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
	if labels != nil {
		all := map[string]any{}
		if o["labels"] != nil {
			if all, err = objectAt(o["labels"], at+"/labels"); err != nil {
				return err
			}
		}
		for name, value := range labels {
			all[name] = value
		}
		o["labels"] = all
	}
	c.marked = true
	return nil
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// hydration is the key by which Prefect's server turns a value into something
// else: it renders templates and reads variables for the caller.
const hydration = "__prefect_kind"

// refuseHydration refuses what the server would turn into something that the
// caller can't read otherwise. "json" and "none" give the value itself; the
// web pages send them.
func (c *check) refuseHydration(v any, at string) error {
	switch v := v.(type) {
	case map[string]any:
		if kind, there := v[hydration]; there {
			if err := c.refuseKind(kind, v, at); err != nil {
				return err
			}
		}
		for name, below := range v {
			if err := c.refuseHydration(below, at+"/"+escapePointer(name)); err != nil {
				return err
			}
		}
	case []any:
		for i, below := range v {
			if err := c.refuseHydration(below, fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) refuseKind(kind any, v map[string]any, at string) error {
	switch kind {
	case "none":
		return nil
	case "json":
		if s, ok := v["value"].(string); ok && strings.Contains(s, hydration) {
			return field(at+"/value", "JSON in here may not hold %q", hydration)
		}
		return nil
	case "workspace_variable":
		if c.has("see_variables") {
			return nil
		}
		return fieldNeeds(at+"/"+hydration, "see_variables", "the server would read a variable for you")
	}
	return field(at+"/"+hydration, "the server would make another value of this")
}
