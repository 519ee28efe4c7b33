package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// knownDeployments remembers deployments beside the outbox, so that requests
// can be checked and stamped while Prefect is away: by a process that was
// started meanwhile, too.
type knownDeployments struct {
	store  outbox.Store
	server string
	log    *slog.Logger

	mu   sync.Mutex
	last map[string]kept
}

type kept struct {
	data  []byte
	found *resolved
}

// keptDeployment is how a deployment is kept.
type keptDeployment struct {
	prefectclient.Deployment
	FlowName string `json:"flow_name"`
}

// find resolves a deployment for a request. Where Prefect is away a route that
// accepts requests goes by what it knew last.
func (h *trigger) find(ctx context.Context, name string) (*resolved, *Problem) {
	if h.durable == nil {
		return h.selection.find(ctx, name)
	}
	trying, cancel := context.WithTimeout(ctx, h.durable.after)
	defer cancel()
	found, problem := h.selection.find(trying, name)
	if problem == nil {
		h.durable.known.keep(ctx, name, found)
		return found, nil
	}
	if ctx.Err() == nil && (trying.Err() != nil || problem.Cause != nil && isAway(problem.Cause)) {
		if found := h.durable.known.find(ctx, name); found != nil {
			return found, nil
		}
		if !isAway(problem.Cause) {
			problem = &Problem{Code: CodePrefectUnavailable, RetryAfter: unavailableRetryAfter, Cause: problem.Cause}
		}
	}
	return nil, problem
}

func (k *knownDeployments) name(deployment string) string { return k.server + " " + deployment }

// keep remembers a deployment. That it can't stops nobody.
func (k *knownDeployments) keep(ctx context.Context, name string, found *resolved) {
	k.mu.Lock()
	last := k.last[name]
	k.mu.Unlock()
	if last.found == found {
		return
	}
	data, err := json.Marshal(keptDeployment{found.found, found.found.FlowName})
	if err == nil && !bytes.Equal(data, last.data) {
		err = k.store.Keep(ctx, k.name(name), data)
	}
	if err != nil {
		k.log.Error("a deployment can't be remembered for the time when Prefect is away", "deployment", name, "error", err)
		return
	}
	k.put(name, kept{data, found})
}

func (k *knownDeployments) put(name string, one kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil || len(k.last) >= maxDeployments {
		k.last = map[string]kept{}
	}
	k.last[name] = one
}

// find is nil for a deployment that nobody has seen yet.
func (k *knownDeployments) find(ctx context.Context, name string) *resolved {
	k.mu.Lock()
	last := k.last[name]
	k.mu.Unlock()
	if last.found != nil {
		return last.found
	}
	data, err := k.store.Kept(ctx, k.name(name))
	if err == nil && data == nil {
		return nil
	}
	var found *resolved
	if err == nil {
		found, err = readKept(data)
	}
	if err != nil {
		k.log.Error("a deployment that was remembered can't be read", "deployment", name, "error", err)
		return nil
	}
	k.put(name, kept{data, found})
	return found
}

func readKept(data []byte) (*resolved, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var one keptDeployment
	if err := d.Decode(&one); err != nil {
		return nil, errors.New("not a deployment") // the error may quote its parameters
	}
	one.Deployment.FlowName = one.FlowName
	return newResolved(one.Deployment)
}
