package stack

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Run is a flow run as Prefect's API shows it, the fields that matter here.
type Run struct {
	ID             string         `json:"id"`
	Name           string         `json:"name"`
	FlowID         string         `json:"flow_id"`
	DeploymentID   string         `json:"deployment_id"`
	Parameters     map[string]any `json:"parameters"`
	Context        map[string]any `json:"context"`
	Tags           []string       `json:"tags"`
	Labels         map[string]any `json:"labels"`
	IdempotencyKey string         `json:"idempotency_key"`
	JobVariables   map[string]any `json:"job_variables"`
	RunCount       int            `json:"run_count"`
	StateType      string         `json:"state_type"`
	StateName      string         `json:"state_name"`
	CreatedBy      *struct {
		ID           string `json:"id"`
		Type         string `json:"type"`
		DisplayValue string `json:"display_value"`
	} `json:"created_by"`
	State struct {
		Message string `json:"message"`
	} `json:"state"`
}

// Terminal reports whether the run has ended.
func (r Run) Terminal() bool {
	return slices.Contains([]string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}, r.StateType)
}

// Run reads one run.
func (p *Prefect) Run(ctx context.Context, id string) (Run, error) {
	var run Run
	err := p.Get(ctx, "/flow_runs/"+id, &run)
	return run, err
}

// Finished waits until the run has ended, whatever its end; ctx bounds it. seen (optional) is called at every state.
func (p *Prefect) Finished(ctx context.Context, id string, seen func(state string)) (Run, error) {
	last := ""
	for {
		run, err := p.Run(ctx, id)
		if err != nil {
			return run, fmt.Errorf("last seen in state %q: %w", last, err)
		}
		if run.StateName != last && seen != nil {
			seen(run.StateName)
		}
		last = run.StateName
		if run.Terminal() {
			return run, nil
		}
		select {
		case <-ctx.Done():
			return run, fmt.Errorf("run %s is still %s: %w", id, last, ctx.Err())
		case <-time.After(4 * pollEvery):
		}
	}
}

// RunLogs is what the run wrote, oldest first. Clients send their logs in batches: ask again if a line is missing.
func (p *Prefect) RunLogs(ctx context.Context, id string) ([]string, error) {
	var entries []struct {
		Message string `json:"message"`
	}
	err := p.Post(ctx, "/logs/filter", map[string]any{
		"logs":  map[string]any{"flow_run_id": map[string]any{"any_": []string{id}}},
		"sort":  "TIMESTAMP_ASC",
		"limit": 200,
	}, &entries)
	lines := make([]string, len(entries))
	for i, entry := range entries {
		lines[i] = entry.Message
	}
	return lines, err
}

// pageSize is the most that Prefect lists at once.
const pageSize = 200

// RunsOf lists the runs of a deployment, newest first. None must be made meanwhile.
func (p *Prefect) RunsOf(ctx context.Context, deploymentID string) ([]Run, error) {
	var all []Run
	for {
		var page []Run
		if err := p.Post(ctx, "/flow_runs/filter", map[string]any{
			"flow_runs": map[string]any{"deployment_id": map[string]any{"any_": []string{deploymentID}}},
			"sort":      "EXPECTED_START_TIME_DESC",
			"limit":     pageSize,
			"offset":    len(all),
		}, &page); err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < pageSize {
			return all, nil
		}
	}
}

// DeploymentID looks a deployment up by flow and deployment name, as in nightly-report/prod.
func (p *Prefect) DeploymentID(ctx context.Context, name string) (string, error) {
	var deployment struct {
		ID string `json:"id"`
	}
	err := p.Get(ctx, "/deployments/name/"+name, &deployment)
	return deployment.ID, err
}
