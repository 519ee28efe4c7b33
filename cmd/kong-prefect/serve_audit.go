package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// openAudit gives the plugins the audit, where there is to be one, and follows
// it: how runs end, and what the sinks are to have.
func openAudit(o serveOptions, process *plugin.Process) (sinkNames []string, closeAudit func(), err error) {
	if o.audit == "" {
		if o.sinks != "" {
			return nil, nil, fmt.Errorf("%w: --audit-sinks needs --audit", errUsage)
		}
		return nil, func() {}, nil
	}
	sinks := map[string]audit.Sink{}
	if o.sinks != "" {
		if sinks, err = audit.ReadSinks(o.sinks, os.Stdout); err != nil {
			return nil, nil, err
		}
	}
	log, err := audit.Open(audit.Options{Dir: o.audit, Signer: process.Signing, Logger: o.log})
	if err != nil {
		return nil, nil, err
	}
	process.Audit = log
	process.AuditOwnKeys()
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	follow := func(what string, run func() error) {
		following.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				o.log.Error("the audit isn't followed any more", "by", what, "error", err)
			}
		})
	}
	follow("outcomes of runs", func() error {
		return log.FollowOutcomes(ctx, process, audit.OutcomeOptions{Settle: o.settle})
	})
	follow("changes", func() error { return log.FollowChanges(ctx) })
	for name, sink := range sinks {
		follow("sink "+name, func() error { return audit.Deliver(ctx, o.audit, name, sink, o.log) })
	}
	return slices.Sorted(maps.Keys(sinks)), func() {
		cancel()
		following.Wait()
		if err := log.Close(); err != nil {
			o.log.Error("closing the audit", "error", err)
		}
	}, nil
}
