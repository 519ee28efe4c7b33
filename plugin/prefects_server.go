package plugin

import (
	"slices"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// prefectServer is a Prefect server and all that this process reaches it with.
type prefectServer struct {
	// clients are one for each configuration, oldest first. They share the
	// breaker and the slots.
	clients []*prefectclient.Client
	// watcher is the one subscription; nil: nobody waited yet.
	watcher *prefectclient.Watcher
}

// client is the one to use where any will do: a route with a wrong
// credential must not keep from the server what another route's can reach.
// nil: there is none.
func (s *prefectServer) client() *prefectclient.Client {
	return prefectclient.Accepted(s.clients...)
}

// drop takes out a client. The last one stays: breaker and slots are found
// again by it.
func (s *prefectServer) drop(client *prefectclient.Client) {
	if len(s.clients) > 1 {
		s.clients = slices.DeleteFunc(s.clients, func(c *prefectclient.Client) bool { return c == client })
	}
}

// serverOf gives the server at an API's address, however it is written; one
// that isn't known is new. The caller holds mu.
func (p *Process) serverOf(apiURL string) *prefectServer {
	if s := p.servers[prefectclient.NormalURL(apiURL)]; s != nil {
		return s
	}
	return &prefectServer{}
}

// clientOf gives a client for what no route asks: deliveries, and what the
// audit wants to know. nil: no configuration named the server.
func (p *Process) clientOf(apiURL string) *prefectclient.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serverOf(apiURL).client()
}

// watcher gives the watcher of the server, which takes the client anew each
// time that it asks.
func (p *Process) watcher(apiURL string) (*prefectclient.Watcher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.serverOf(apiURL)
	if s.watcher != nil {
		return s.watcher, nil
	}
	watcher, err := prefectclient.NewWatcher(prefectclient.WatcherOptions{
		Client: s.client(), Choose: func() *prefectclient.Client { return p.clientOf(apiURL) },
	})
	if err != nil {
		return nil, err
	}
	s.watcher = watcher
	return watcher, nil
}

// takeWatchers gives the watchers to who ends them.
func (p *Process) takeWatchers() (watchers []*prefectclient.Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		if s.watcher != nil {
			watchers = append(watchers, s.watcher)
			s.watcher = nil
		}
	}
	return watchers
}
