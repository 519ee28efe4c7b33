package plugin

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/quota"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token"
)

// Version of the plugins, as Kong wants it: x.y.z.
const Version = "0.1.0"

// Names and priorities. Identity is established where Kong's own OpenID
// plugin does it, before acl (950) and rate-limiting (910); the functions run
// after these, at aws-lambda's place.
const (
	IdentityName     = "prefect-identity"
	IdentityPriority = 1050
	TriggerName      = "prefect-trigger"
	TriggerPriority  = 750
	GuardName        = "prefect-guard"
	GuardPriority    = 750
)

// DefaultRealm is named in challenges where no configuration names one.
const DefaultRealm = "kong-prefect"

// varRequestID is the id in X-Kong-Request-Id and in Kong's logs.
const varRequestID = "kong_request_id"

// Process is what all plugins of the process share: the issuers' keys and the
// connections to Prefect exist once, however many routes use them.
type Process struct {
	Keys   *token.KeyCache
	Proofs *token.ProofMemory
	// Signing are the gateway's own keys. Without them nothing is signed, and
	// routes that must sign refuse.
	Signing *signing.Keys
	// Audit is where decisions are put on record. Without it there is no
	// record, and routes that demand one refuse.
	Audit *audit.Log
	// Outbox is where requests are accepted while Prefect is away. Without it
	// routes that want that refuse.
	Outbox outbox.Store
	// Withhold, where set, keeps requests back from Prefect, as
	// [prefectclient.Options] has it: for processes that only look.
	Withhold func(prefectclient.Request) bool
	// Notices, where set, gives what an operator must see to an event's
	// kong.log: what the process itself writes Kong logs where nobody looks.
	Notices func(log func(level, line string))
	// Hooks are told what happens. They are set before the first event.
	Hooks Hooks
	log   *slog.Logger

	tokenCache token.CacheCounters
	waiters    atomic.Int64 // answers that wait for a run's end
	deliveries deliveries
	consumers  *consumers

	mu      sync.Mutex
	clients map[prefectKey]*prefectclient.Client
	// servers are by the normal form of their API's address.
	servers map[string]*prefectServer
	// policies are the triggers', by their text: routes with the same one
	// share it.
	policies map[string]*policy.Policy
	// counts are where runs are counted, for the quotas.
	counts map[countsKey]*quota.Counts
}

// NewProcess returns the shared parts. Close ends them.
func NewProcess(log *slog.Logger) *Process {
	p := &Process{
		Proofs: token.NewProofMemory(token.ProofMemoryOptions{}),
		log:    log,

		consumers: newConsumers(),
		clients:   map[prefectKey]*prefectclient.Client{},
		servers:   map[string]*prefectServer{},
	}
	p.Keys = token.NewKeyCache(token.KeyCacheOptions{Logger: log, OnChange: p.keysChanged})
	return p
}

// TokenCacheStats counts what the caches of verified tokens of all
// configurations did since the process began.
func (p *Process) TokenCacheStats() token.CacheStats { return p.tokenCache.Stats() }

// Close stops delivering and fetching keys, and closes idle connections.
func (p *Process) Close() {
	p.EndDelivery()
	p.Keys.Close()
	for _, w := range p.takeWatchers() {
		w.Close() // it asks for a client meanwhile, so mu must be free
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.Close()
	}
	for _, c := range p.counts {
		_ = c.Close() // what is open of it ends with the process
	}
}

// Plugins are what the process hosts.
func (p *Process) Plugins() []*pluginserver.Plugin {
	return []*pluginserver.Plugin{
		hosted(p, IdentityName, IdentityPriority, IdentityConfig{}, identityReads, compileIdentity),
		hosted(p, TriggerName, TriggerPriority, TriggerConfig{}, triggerReads, compileTrigger),
		hosted(p, GuardName, GuardPriority, GuardConfig{}, guardReads, compileGuard),
	}
}

// hosted is one plugin. What its configurations compile to is audited, and
// refuses where they can't work.
func hosted[H pluginserver.Handler](p *Process, name string, priority int, config any, reads []pluginserver.Read, compile func(*Process, []byte) (H, error)) *pluginserver.Plugin {
	return &pluginserver.Plugin{
		Name: name, Version: Version, Priority: priority, Schema: Schema(name, config), Reads: reads,
		Compile: func(data []byte) pluginserver.Handler {
			var h pluginserver.Handler
			h, err := compile(p, data)
			if err != nil {
				h = p.broken(name, err)
			}
			return p.audited(name, data, reflect.TypeOf(config), h)
		},
	}
}

// broken refuses every request of a route whose configuration can't work: the
// other routes go on, and the log names the field.
type broken struct {
	plugin string
	err    error
}

func (p *Process) broken(plugin string, err error) *broken {
	p.log.Error("a configuration can't work; its routes refuse every request", "plugin", plugin, "error", err)
	return &broken{plugin, err}
}

// Access refuses.
func (b *broken) Access(ctx context.Context, e *pluginserver.Event) {
	refuse(ctx, e, DefaultRealm, &Problem{Code: CodeConfigInvalid, Cause: b.err})
}

// Refusal is the answer for what only the server itself can refuse.
func Refusal(reason string) pluginserver.Answer {
	return (&Problem{Code: reason}).Answer(DefaultRealm)
}

// refuse answers with a problem and tells the operator.
func refuse(ctx context.Context, e *pluginserver.Event, realm string, p *Problem) {
	trail := trailOf(ctx)
	reads := []pluginserver.Read{pluginserver.ReadVar(varRequestID)}
	needsAddress := trail.log != nil && trail.event.SourceAddress == ""
	if needsAddress {
		reads = append(reads, pluginserver.ReadVar(varAddress))
	}
	_ = e.Prefetch(ctx, reads...) // what can't be had fails below, each for itself
	requestID, err := e.Var(ctx, varRequestID)
	if err != nil {
		requestID = "unknown"
	}
	level, line := p.Line(requestID)
	e.Log(level, line)
	trail.way.refused(p)
	if needsAddress {
		trail.address(ctx, e)
	}
	if err := trail.refused(ctx, p, requestID); err != nil {
		e.Log(pluginserver.LevelErr, "a refusal can't be put on record: "+err.Error())
	}
	a := p.Answer(realm)
	e.Exit(a.Status, a.Body, a.Headers)
}
