package devgateway

import "time"

// drainLimit is how long a request may hold the workers from before a reload.
const drainLimit = 60 * time.Second

// Reload is `kong reload`: the configuration is read again, new workers take
// new connections, and every plugin server gets a new process at once on the
// same path, while the old one lives until the old workers have ended. A
// configuration that can't be honoured changes nothing.
func (gw *Gateway) Reload() error {
	gen, err := gw.load()
	if err != nil {
		return err
	}
	gw.mu.Lock()
	old, oldWorkers := gw.supervisors, gw.workers
	for _, s := range old {
		s.retired.Store(true)
	}
	gw.supervisors = gw.startServers()
	gw.workers = gw.newWorkers()
	gw.generation = gen
	for _, w := range oldWorkers {
		w.retired.Store(true)
		w.pool.retire()
	}
	for c := range gw.conns {
		if c.idle.Load() { // nginx closes idle connections of a worker that ends
			_ = c.net.SetReadDeadline(time.Unix(1, 0))
		}
	}
	gw.mu.Unlock()
	gw.background(func() { gw.retire(old, oldWorkers) })
	return nil
}

// retire ends what a reload replaced, once no request uses it any more.
func (gw *Gateway) retire(servers []*supervisor, workers []*worker) {
	select {
	case <-time.After(gw.settings.ReloadOverlap):
	case <-gw.ctx.Done():
	}
	drained := make(chan struct{})
	go func() { // ends with the connections, which Close ends
		defer close(drained)
		for _, w := range workers {
			w.clients.Wait()
		}
	}()
	select {
	case <-drained:
	case <-time.After(drainLimit):
	case <-gw.ctx.Done():
	}
	for _, s := range servers {
		s.close()
	}
	for _, w := range workers {
		w.pool.close()
	}
}
