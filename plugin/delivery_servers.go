package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// keptServers is the name under which the outbox keeps how to reach the
// Prefects that requests were accepted for.
const keptServers = "prefect servers"

// keptServersLimit is for what the disk, or Redis, needs.
const keptServersLimit = 10 * time.Second

// holdsSecret tells a configuration that must not be kept: one with a
// credential in it. What only says where a credential is holds none.
func (c PrefectConfig) holdsSecret() bool {
	return c.AuthString != "" || c.AuthStringNext != "" || c.APIKey != "" || c.APIKeyNext != "" || c.OAuth != nil && c.OAuth.ClientSecret != ""
}

// rememberServer keeps how a server is reached, so that a process that starts
// later can deliver before a request tells it. A way that holds a secret isn't
// kept, and what is kept goes where no route of this process has another: which
// of two routes is met first decides nothing. That it can't stops nobody.
func (p *Process) rememberServer(ctx context.Context, c PrefectConfig) {
	p.deliveries.remembering.Lock()
	defer p.deliveries.remembering.Unlock()
	ctx, cancel := context.WithTimeout(ctx, keptServersLimit)
	defer cancel()
	known, err := p.knownServers(ctx)
	if err != nil {
		return // the log was told
	}
	before, err := json.Marshal(known)
	if err == nil {
		switch {
		case !c.holdsSecret():
			known[c.APIURL] = c
		case !p.deliveries.reachesOpenly(c.APIURL):
			delete(known, c.APIURL)
		}
		var after []byte
		if after, err = json.Marshal(known); err == nil && !bytes.Equal(before, after) {
			err = p.Outbox.Keep(ctx, keptServers, after)
		}
	}
	if err != nil {
		p.log.Error("a Prefect server can't be remembered for deliveries", "prefect", c.APIURL, "error", err)
	}
}

func (p *Process) knownServers(ctx context.Context) (map[string]PrefectConfig, error) {
	known := map[string]PrefectConfig{}
	data, err := p.Outbox.Kept(ctx, keptServers)
	if err == nil && data != nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil && ctx.Err() == nil {
		p.log.Error("the Prefect servers of deliveries can't be had", "error", err)
	}
	return known, err
}

// ResumeDelivery delivers to the servers that processes before this one knew.
// One that can't be reached without a secret waits for the first request of a
// route that has it.
func (p *Process) ResumeDelivery() {
	p.deliveries.begin(func(ctx context.Context) {
		limited, cancel := context.WithTimeout(ctx, keptServersLimit)
		defer cancel()
		known, err := p.knownServers(limited)
		if err != nil {
			return
		}
		for server, c := range known {
			if p.deliveries.has(server) {
				continue // a route was faster, and knows better
			}
			if _, err := p.prefect(c); err != nil {
				p.log.Error("what was accepted can't be delivered before a route names its server", "prefect", c.APIURL, "error", err)
				continue
			}
			p.deliverTo(server)
		}
	})
}
