package stack

import (
	"context"
	"syscall"
)

// Kill ends the server as a crash does: nothing is told, nothing is finished. Its database stays.
func (p *Prefect) Kill() {
	_ = syscall.Kill(-p.proc.pid, syscall.SIGKILL)
	p.proc.stop()
}

// Restart starts the server again on its address and database, after Kill or while it runs, and waits until it answers.
func (p *Prefect) Restart(ctx context.Context) error {
	p.proc.stop()
	if err := p.launch(p.opts); err != nil {
		return err
	}
	return p.Ready(ctx)
}

// SetAuthString is what the server asks for from its next Restart on.
func (p *Prefect) SetAuthString(auth string) { p.auth = auth }
