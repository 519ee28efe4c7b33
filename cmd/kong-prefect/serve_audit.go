package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/plugin"
)

const (
	// followAgain is when what follows the audit is begun again after an error
	// (a full disk, a file that can't be read): each knows its place. It may
	// read the whole log for that, so it waits twice as long each time.
	followAgain  = 10 * time.Second
	followAtMost = 10 * time.Minute
	// followEnd bounds how long it may take to end: standard output may be
	// blocked.
	followEnd = 5 * time.Second
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
		following.Go(func() { keepFollowing(ctx, o.log, what, followAgain, run) })
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
		ended := make(chan struct{})
		go func() { following.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(followEnd):
			o.log.Warn("what follows the audit doesn't end, a sink that takes nothing perhaps; the next process goes on from there")
		}
		if err := log.Close(); err != nil {
			o.log.Error("closing the audit", "error", err)
		}
	}, nil
}

// keepFollowing runs until ctx ends, and begins again after an error.
func keepFollowing(ctx context.Context, log *slog.Logger, what string, after time.Duration, run func() error) {
	for {
		if err := run(); err != nil && ctx.Err() == nil {
			log.Error("the audit can't be followed now; it is tried again", "by", what, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(after):
			after = min(2*after, followAtMost)
		}
	}
}
