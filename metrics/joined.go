package metrics

import (
	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/token"
)

// issuerKeys joins the sources of each issuer: of two, what is worse counts.
// One that nobody asked for yet says nothing.
func issuerKeys(p *plugin.Process) map[string]token.KeyStats {
	issuers := map[string]token.KeyStats{}
	for _, k := range p.Keys.Stats() {
		if k.Fetched+k.Failed == 0 {
			continue
		}
		joined, again := issuers[k.Issuer]
		if again {
			k.Keys = min(k.Keys, joined.Keys)
			k.Age = max(k.Age, joined.Age)
			k.Failing = max(k.Failing, joined.Failing)
			k.Fetched, k.Failed = k.Fetched+joined.Fetched, k.Failed+joined.Failed
		}
		issuers[k.Issuer] = k
	}
	return issuers
}

// prefectServer is all API addresses at one server: Prefect Cloud has one for
// each workspace.
type prefectServer struct {
	breakers              map[string]int // by state
	calls, waiting, limit int
}

func prefectServers(p *plugin.Process) map[string]*prefectServer {
	servers := map[string]*prefectServer{}
	for _, c := range p.PrefectStats() {
		s := servers[c.Server]
		if s == nil {
			s = &prefectServer{breakers: map[string]int{}}
			for _, state := range prefectclient.BreakerStates {
				s.breakers[state] = 0
			}
			servers[c.Server] = s
		}
		s.breakers[c.Breaker]++
		s.calls += c.Calls
		s.waiting += c.Waiting
		s.limit += c.Limit
	}
	return servers
}
