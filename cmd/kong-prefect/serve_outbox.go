package main

import "github.com/kong-prefect/kong-prefect/plugin"

// openOutbox gives the plugins the outbox, where there is to be one.
func openOutbox(o serveOptions, process *plugin.Process) (closeOutbox func(), err error) {
	store, err := o.outbox.open()
	if err != nil || store == nil {
		return func() {}, err
	}
	process.Outbox = store
	return func() {
		process.EndDelivery()
		if err := store.Close(); err != nil {
			o.log.Error("closing the outbox", "error", err)
		}
	}, nil
}
