package guard

import (
	"fmt"
	"strings"
)

// forged are the events by which Prefect's server itself tells what became of
// a run, a deployment or an automation: nobody else says so.
var forged = []string{"prefect.flow-run.", "prefect.deployment.", "prefect.work-pool.", "prefect.work-queue.", "prefect.automation."}

// honest are events of these that clients send.
var honest = []string{"prefect.flow-run.heartbeat"}

// events is POST /events.
func events(c *check) error {
	list, err := listAt(c.value, "")
	if err != nil {
		return err
	}
	executor := c.has(PermissionExecuteRuns)
	for i, item := range list {
		at := fmt.Sprintf("/%d", i)
		o, err := objectAt(item, at)
		if err != nil {
			return err
		}
		name, err := text(o, "event", at)
		if err != nil {
			return err
		}
		if err := mayEmit(strings.ToLower(strings.TrimSpace(name)), at+"/event", executor); err != nil {
			return err
		}
	}
	return nil
}

func mayEmit(name, at string, executor bool) error {
	for _, ok := range honest {
		if executor && name == ok {
			return nil
		}
	}
	for _, prefix := range forged {
		if strings.HasPrefix(name, prefix) {
			return field(at, "events that begin with %q are the server's own", prefix)
		}
	}
	if strings.HasPrefix(name, "prefect.") && !executor {
		return fieldNeeds(at, PermissionExecuteRuns, "events that begin with \"prefect.\" are sent by what executes runs")
	}
	return nil
}

// tagged is what is created with tags or labels and nothing else to look at.
func tagged(c *check) error {
	o, err := c.object()
	if err != nil {
		return err
	}
	return c.refuseReserved(o, "")
}

// secrets keeps what blocks hide from those who may only see blocks. In a
// query any mention counts, however it is spelled, unless it is a plain no.
func secrets(c *check) error {
	const name = "include_secrets"
	asks := false
	if c.Request.Method == "GET" {
		asks = querySays(c.Request.Query, name) && c.Request.Query != name+"=false"
	} else {
		o, err := c.object()
		if err != nil {
			return err
		}
		v, there := o[name]
		asks = there && v != false
	}
	if asks {
		return c.need(PermissionBlockSecrets)
	}
	return nil
}

// hydrated is what the server renders only to say whether it could.
func hydrated(c *check) error { return c.refuseHydration(c.value, "") }
