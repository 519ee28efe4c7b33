package prefectclient

// Stats is how a client stands with its server.
type Stats struct {
	// Server is the host and port of the API.
	Server string
	// Breaker is one of [BreakerStates].
	Breaker string
	// Calls hold a slot now, Waiting wait for one, and Limit is how many slots
	// there are.
	Calls, Waiting, Limit int
}

// BreakerStates are the states of a breaker: the server is used, probed, or
// left alone.
var BreakerStates = []string{"closed", "half-open", "open"}

// Stats tells how it stands now.
func (c *Client) Stats() Stats {
	held, waiting := c.slots.load()
	return Stats{
		Server: c.base.Host, Breaker: c.breaker.circuit.State().String(),
		Calls: held, Waiting: waiting, Limit: c.options.MaxConcurrent,
	}
}
