package main

import "github.com/kong-prefect/kong-prefect/plugin"

// openOutbox gives the plugins the outbox, where there is to be one, and goes
// on with what processes before this one accepted.
func openOutbox(o serveOptions, process *plugin.Process) (closeOutbox func(), err error) {
	store, err := o.outbox.open()
	if err != nil || store == nil {
		return func() {}, err
	}
	process.Outbox = store
	process.ResumeDelivery()
	return func() {
		process.EndDelivery()
		if err := store.Close(); err != nil {
			o.log.Error("closing the outbox", "error", err)
		}
	}, nil
}
