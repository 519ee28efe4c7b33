package plugin

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// This file is what the audit asks of Prefect servers: how runs stand, and
// which run came of a request. A server is known once a configuration names it.

// RunStates asks a Prefect server for the states of runs, for the audit. It
// needs a route to have named the server.
func (p *Process) RunStates(ctx context.Context, server string, ids []string) (map[string]audit.RunState, error) {
	client := p.clientOf(server)
	if client == nil {
		return nil, fmt.Errorf("no route of this process calls %s", server)
	}
	known := make([]uuid.UUID, 0, len(ids))
	for _, id := range ids {
		if parsed, err := uuid.Parse(id); err == nil {
			known = append(known, parsed)
		}
	}
	states, err := client.RunStates(ctx, known)
	if err != nil {
		return nil, err
	}
	found := make(map[string]audit.RunState, len(states))
	for id, s := range states {
		found[id.String()] = audit.RunState{Type: s.Type, Final: s.Final(), At: s.Timestamp}
	}
	return found, nil
}

// RunOf asks a Prefect server for the run of an idempotency key, for the audit.
func (p *Process) RunOf(ctx context.Context, server, deploymentID, key string) (runID, requestID string, err error) {
	client := p.clientOf(server)
	if client == nil {
		return "", "", fmt.Errorf("no route of this process calls %s", server)
	}
	id := uuid.Nil
	if deploymentID != "" {
		if id, err = uuid.Parse(deploymentID); err != nil {
			return "", "", err
		}
	}
	run, found, err := client.FlowRunOfDeployment(ctx, id, key)
	if err != nil || !found {
		return "", "", err
	}
	requestID, _ = run.Labels[stamp.LabelRequest].(string)
	return run.ID.String(), requestID, nil
}

// Watch has somebody told when a run has ended, for the audit: by the server's
// events, with a look at the run behind them.
func (p *Process) Watch(server, runID string, ended func()) error {
	id, err := uuid.Parse(runID)
	if err != nil {
		return err
	}
	if p.clientOf(server) == nil {
		return fmt.Errorf("no route of this process calls %s", server)
	}
	runs, err := p.watcher(server)
	if err != nil {
		return err
	}
	_, err = runs.Notify(id, func(prefectclient.FlowRun, error) { ended() })
	return err
}
