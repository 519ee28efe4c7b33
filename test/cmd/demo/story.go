package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

const (
	reportRoute   = "/run/nightly-report"
	customerRoute = "/run/refresh-customer"
	report        = `{"region": "emea"}`
	account       = "svc-nightly" // the service account the story is about
	runLimit      = 90 * time.Second
)

// tell is the story. It returns the demo's last line.
func (d *demo) tell(ctx context.Context) (lastLine string, err error) {
	if err := d.refuseNobody(ctx); err != nil {
		return "", err
	}
	if err := d.refuseStranger(ctx); err != nil {
		return "", err
	}
	token, err := d.parts.Provider.ServiceToken(ctx, account)
	if err != nil {
		return "", err
	}
	request := call{route: reportRoute, body: report, bearer: account, token: token, idempotencyKey: "2026-01-31"}
	run, err := d.startRun(ctx, "A service account with the role starts a run", request)
	if err != nil {
		return "", err
	}
	finished, err := d.watch(ctx, run)
	if err != nil {
		return "", err
	}
	if err := d.repeat(ctx, request, run); err != nil {
		return "", err
	}
	if err := d.person(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("demo: ok run=%s caller=%s", run.ID, finished.CreatedBy.DisplayValue), nil
}

func (d *demo) refuseNobody(ctx context.Context) error {
	d.out.chapter("Nobody: no token, no run")
	a, err := d.send(ctx, call{route: reportRoute, body: report})
	if err != nil {
		return err
	}
	d.out.field("WWW-Authenticate", a.header.Get("WWW-Authenticate"))
	return a.refusedAs(http.StatusUnauthorized, "token_missing")
}

func (d *demo) refuseStranger(ctx context.Context) error {
	d.out.chapter("A stranger: a true token, but no role")
	token, err := d.parts.Provider.ServiceToken(ctx, "svc-stranger")
	if err != nil {
		return err
	}
	a, err := d.send(ctx, call{route: reportRoute, body: report, bearer: "svc-stranger", token: token})
	if err != nil {
		return err
	}
	d.out.field("code", a.code())
	return a.refusedAs(http.StatusForbidden, "role_not_allowed")
}

// started is what the story needs of the gateway's answer.
type started struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State struct {
		Name string `json:"name"`
	} `json:"state"`
}

func (d *demo) startRun(ctx context.Context, title string, request call) (run started, err error) {
	d.out.chapter(title)
	a, err := d.send(ctx, request)
	if err != nil {
		return run, err
	}
	if run, err = a.run(http.StatusCreated); err != nil {
		return run, err
	}
	d.out.field("Location", a.header.Get("Location"))
	d.out.field("run", run.ID)
	d.out.field("name", run.Name)
	d.out.field("state", run.State.Name)
	return run, nil
}

// watch follows the run to its end, and shows what the flow and Prefect know of its caller.
func (d *demo) watch(ctx context.Context, run started) (stack.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	d.out.chapter("The worker runs it; the flow itself says who called")
	done := d.out.working("waiting for the run to end")
	began := time.Now()
	finished, err := d.parts.Prefect.Finished(ctx, run.ID, func(state string) { d.out.up(state, time.Since(began)) })
	done()
	if err != nil {
		return finished, err
	}
	if finished.StateType != "COMPLETED" {
		return finished, fmt.Errorf("%w: the run ended as %s: %s", errUnexpected, finished.StateName, finished.State.Message)
	}
	said, err := d.logLine(ctx, run.ID, "called by: ")
	if err != nil {
		return finished, err
	}
	d.out.field("the flow printed", said)
	if want := "called by: " + account + " (service)"; said != want {
		return finished, fmt.Errorf("%w: the flow should have printed %q", errUnexpected, want)
	}
	return finished, d.createdBy(ctx, run.ID, account)
}

// logLine waits for a line of the run's log: Prefect's clients send theirs in batches.
func (d *demo) logLine(ctx context.Context, runID, prefix string) (string, error) {
	for {
		lines, err := d.parts.Prefect.RunLogs(ctx, runID)
		if err != nil {
			return "", fmt.Errorf("looking for %q in the log of run %s: %w", prefix, runID, err)
		}
		for _, line := range lines {
			if strings.HasPrefix(line, prefix) {
				return line, nil
			}
		}
		time.Sleep(200 * time.Millisecond) // bounded by ctx, which the next call looks at
	}
}

// createdBy shows what stands beside "Created By" in Prefect's pages.
func (d *demo) createdBy(ctx context.Context, runID, want string) error {
	run, err := d.parts.Prefect.Run(ctx, runID)
	if err != nil {
		return err
	}
	d.out.command("curl " + d.parts.Prefect.APIURL() + "/flow_runs/" + runID)
	if run.CreatedBy == nil {
		return fmt.Errorf("%w: Prefect knows no creator of run %s", errUnexpected, runID)
	}
	d.out.field("created_by", run.CreatedBy.DisplayValue)
	d.out.field("tags", strings.Join(run.Tags, ", "))
	if run.CreatedBy.DisplayValue != want {
		return fmt.Errorf("%w: created_by should be %q", errUnexpected, want)
	}
	return nil
}

func (d *demo) repeat(ctx context.Context, request call, first started) error {
	d.out.chapter("The same request again, with the same Idempotency-Key: no second run")
	a, err := d.send(ctx, request)
	if err != nil {
		return err
	}
	again, err := a.run(http.StatusOK)
	if err != nil {
		return err
	}
	d.out.field("run", again.ID)
	d.out.field("state", again.State.Name)
	if again.ID != first.ID {
		return fmt.Errorf("%w: that is another run", errUnexpected)
	}
	return nil
}

func (d *demo) person(ctx context.Context) error {
	token, err := d.parts.Provider.PersonToken(ctx, "alice")
	if err != nil {
		return err
	}
	run, err := d.startRun(ctx, "A person logs in (authorization code, PKCE) and starts another flow",
		call{route: customerRoute, body: `{"customer_id": 42}`, bearer: "alice", token: token.AccessToken})
	if err != nil {
		return err
	}
	return d.createdBy(ctx, run.ID, "Alice Ä <alice@example.com>")
}

// refusedAs checks a problem document (RFC 9457).
func (a answer) refusedAs(status int, code string) error {
	if a.status != status || a.code() != code || a.header.Get("Content-Type") != "application/problem+json" {
		return fmt.Errorf("%w: %d with the code %s was: %s", errUnexpected, status, code, a)
	}
	return nil
}

func (a answer) code() string {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.body, &problem) // no problem document: no code
	return problem.Code
}

func (a answer) run(status int) (run started, err error) {
	if err := json.Unmarshal(a.body, &run); err != nil || a.status != status || run.ID == "" {
		return run, fmt.Errorf("%w: %d with a run was: %s", errUnexpected, status, a)
	}
	return run, nil
}
