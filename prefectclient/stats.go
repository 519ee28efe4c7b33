package prefectclient

// Stats is how a server stands with its clients, all that share its breaker
// and slots ([Options].Beside).
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
	held, waiting, limit := c.shared.load()
	return Stats{
		Server: c.base.Host, Breaker: c.shared.breaker.circuit.State().String(),
		Calls: held, Waiting: waiting, Limit: limit,
	}
}
