package stack

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// StartLimit bounds the start of a suite's parts, which takes a minute on a quiet machine.
const StartLimit = 8 * time.Minute

// Options says what to start.
type Options struct {
	Prefect PrefectOptions
	// FlowsDir holds the example flows, or those that Flows names. Required.
	FlowsDir string
	// Flows are entrypoints like file.py:function. Default: the example flows.
	Flows []string
	// WorkerEnv is added to the worker's environment, and so to the flows'.
	WorkerEnv []string
	Provider  provider.Options
	// Notice (optional) is told of every part that is up, with the time since Start. It may be called concurrently.
	Notice func(part string, after time.Duration)
}

// Stack is everything but the gateway.
type Stack struct {
	Prefect  *Prefect
	Worker   *Worker
	Provider *provider.Provider
}

// Start starts the parts side by side and waits until the server answers, the flows are deployed and the worker is
// ONLINE. On an error nothing is left running.
func Start(ctx context.Context, opts Options) (s *Stack, err error) {
	s = &Stack{}
	defer func() {
		if err != nil {
			s.Stop()
			s = nil
		}
	}()
	began := time.Now()
	notice := func(part string) {
		if opts.Notice != nil {
			opts.Notice(part, time.Since(began))
		}
	}
	if s.Prefect, err = NewPrefect(opts.Prefect); err != nil {
		return s, err
	}
	if s.Worker, err = NewWorker(s.Prefect, WorkerOptions{FlowsDir: opts.FlowsDir, Flows: opts.Flows, Env: opts.WorkerEnv}); err != nil {
		return s, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if s.Provider, err = provider.New(opts.Provider); err == nil {
			notice("OpenID provider at " + s.Provider.Issuer())
		}
		return err
	})
	group.Go(func() error {
		if err := s.Prefect.Ready(ctx); err != nil {
			return err
		}
		notice("Prefect server at " + s.Prefect.URL())
		if err := s.Worker.Deployed(ctx); err != nil {
			return err
		}
		notice("flows deployed")
		if err := s.Worker.Ready(ctx); err != nil {
			return err
		}
		notice("process worker online")
		return nil
	})
	return s, group.Wait()
}

// Stop ends everything. Safe on nil.
func (s *Stack) Stop() {
	if s == nil {
		return
	}
	s.Provider.Stop()
	s.Worker.Stop()
	s.Prefect.Stop()
}
