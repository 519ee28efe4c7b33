package stack

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	workPool         = "local"
	deployLimit      = 180 * time.Second
	workerReadyLimit = 90 * time.Second
)

//go:embed deploy.py
var deployScript []byte

// WorkerOptions says what the worker runs.
type WorkerOptions struct {
	// FlowsDir holds the flows. Required.
	FlowsDir string
	// Flows are entrypoints like file.py:function. Default: the example flows.
	Flows []string
	// Env is added to the worker's environment, and so to the flows'.
	Env []string
}

// Worker is a real process worker on the work pool that the example flows are deployed to.
type Worker struct {
	prefect *Prefect
	env     []string
	dir     string
	deploy  *process
	proc    *process
}

// NewWorker begins to deploy the flows: the script's imports run while the server is still starting.
func NewWorker(prefect *Prefect, opts WorkerOptions) (*Worker, error) {
	flowsDir, err := filepath.Abs(opts.FlowsDir)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kong-prefect-worker-")
	if err != nil {
		return nil, err
	}
	w := &Worker{prefect: prefect, env: append(prefect.clientEnv(dir), opts.Env...), dir: dir}
	script := filepath.Join(dir, "deploy.py")
	if err = os.WriteFile(script, deployScript, 0o600); err == nil {
		w.deploy, err = command{
			name: "prefect-deploy",
			path: prefect.bin("python"),
			args: append([]string{script, flowsDir, workPool}, opts.Flows...),
			env:  w.env,
			dir:  dir,
		}.start()
	}
	if err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// Ready waits for the deployments, starts the worker and waits until the server calls it ONLINE.
func (w *Worker) Ready(ctx context.Context) error {
	if err := w.Deployed(ctx); err != nil {
		return err
	}
	var err error
	w.proc, err = command{
		name: "prefect-worker",
		path: w.prefect.bin("prefect"),
		args: []string{"worker", "start", "--pool", workPool, "--type", "process", "--name", "worker-1",
			"--install-policy", "never"},
		env: append(slices.Clone(w.env),
			"PREFECT_WORKER_QUERY_SECONDS=1",
			// Clients send a run's logs in batches; the default of 2 s would be waited for by every reader.
			"PREFECT_LOGGING_TO_API_BATCH_INTERVAL=0.5"),
		dir: w.dir,
	}.start()
	if err != nil {
		return err
	}
	return w.proc.await(ctx, workerReadyLimit, func(ctx context.Context) error {
		var workers []struct {
			Status string `json:"status"`
		}
		if err := w.prefect.Post(ctx, "/work_pools/"+workPool+"/workers/filter", map[string]any{}, &workers); err != nil {
			return err
		}
		for _, worker := range workers {
			if worker.Status == "ONLINE" {
				return nil
			}
		}
		return errors.New("no worker is ONLINE")
	})
}

// Deployed waits until the flows are deployed.
func (w *Worker) Deployed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deployLimit)
	defer cancel()
	select {
	case <-w.deploy.done:
	case <-ctx.Done():
		return w.deploy.fail(ctx.Err())
	}
	if w.deploy.exitErr != nil {
		return w.deploy.fail(fmt.Errorf("deploying the example flows: %w", w.deploy.exitErr))
	}
	return nil
}

// Logs is what the worker and its flows wrote.
func (w *Worker) Logs() string { return w.deploy.log() + w.proc.log() }

// Stop ends the worker with the flows it runs, and removes its folder.
func (w *Worker) Stop() {
	if w == nil {
		return
	}
	w.deploy.stop()
	w.proc.stop()
	_ = os.RemoveAll(w.dir)
}
