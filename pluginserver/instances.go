package pluginserver

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Handler is one configuration of a plugin, ready to run. It is shared by all
// instances with that configuration, and its Access may run many times at
// once.
type Handler interface {
	Access(ctx context.Context, e *Event)
}

// Plugin is what a server hosts under one name.
type Plugin struct {
	// Name as in kong.yml.
	Name string
	// Version is x.y.z; Kong refuses any other form.
	Version string
	// Priority is the plugin's place in Kong's order: higher runs first.
	Priority int
	// Schema is the plugin's schema as Kong's query_cmd wants it, JSON.
	Schema any
	// Reads are asked for in one flight before each Access.
	Reads []Read
	// Compile makes a handler of an instance's configuration, the JSON object
	// that Kong sends without Kong's own keys. It must return at once and
	// can't fail: a configuration that can't work compiles to a handler that
	// refuses, because Kong answers a failed start with 500s that nobody can
	// explain, and holds up other requests meanwhile. Should it panic all the
	// same, the requests of its routes are refused.
	Compile func(config []byte) Handler
}

// maxInstances bounds the table of instances. Kong never closes the instances
// of workers that ended or of plugins that were removed, so a server that
// outlives its Kong would collect them; one that is dropped by mistake is
// started again by Kong, at the price of one closed connection.
const maxInstances = 1 << 16

// instances holds what Kong started, and one handler for each distinct
// configuration.
type instances struct {
	compile  func(p *Plugin, config []byte) Handler
	mu       sync.Mutex
	byID     map[int32]*instance
	handlers map[digest]*sharedHandler
	lastID   int32
	now      func() time.Time
}

type digest [sha256.Size]byte

// sharedHandler is compiled by the first instance that needs it, outside the
// table's lock: a thousand routes that start at once must not queue behind it.
type sharedHandler struct {
	compile func() Handler
	uses    int
}

type instance struct {
	plugin  *Plugin
	handler Handler
	digest  digest
	used    atomic.Int64 // unix seconds of the last event
}

func newInstances(compile func(p *Plugin, config []byte) Handler, now func() time.Time) *instances {
	return &instances{
		compile:  compile,
		byID:     map[int32]*instance{},
		handlers: map[digest]*sharedHandler{},
		lastID:   firstID(now()),
		now:      now,
	}
}

// idsPerMilli is how far the ids of two processes lie apart for each
// millisecond between their starts. The range comes round after 2^31/3277 ms,
// eleven minutes, and then by steps that are no multiple of it.
const idsPerMilli = 3277

// firstID gives each process ids of its own: at a reload the workers of the
// old generation reach the new process with ids of the old one, and must not
// hit another configuration. Milliseconds, for a process that ends at once is
// followed by the next within the same second.
func firstID(t time.Time) int32 {
	return int32((t.UnixMilli() * idsPerMilli) & math.MaxInt32)
}

// start makes an instance and returns its id.
func (s *instances) start(p *Plugin, config []byte) int32 {
	config = withoutKongKeys(config)
	d := digestOf(p.Name, config)

	inst := &instance{plugin: p, digest: d}
	inst.used.Store(s.now().Unix())
	inst.handler = s.share(d, func() Handler { return s.compile(p, config) })

	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= maxInstances {
		s.evictIdle()
	}
	id := s.nextID()
	s.byID[id] = inst
	return id
}

// share returns the handler of a configuration, compiling it where it is the
// first, and counts one more use of it.
func (s *instances) share(d digest, compile func() Handler) Handler {
	s.mu.Lock()
	shared := s.handlers[d]
	if shared == nil {
		shared = &sharedHandler{compile: sync.OnceValue(compile)}
		s.handlers[d] = shared
	}
	shared.uses++
	s.mu.Unlock()
	return shared.compile()
}

func (s *instances) nextID() int32 {
	for {
		s.lastID++
		if s.lastID <= 0 {
			s.lastID = 1
		}
		if _, taken := s.byID[s.lastID]; !taken {
			return s.lastID
		}
	}
}

// find returns the instance, or nil for an id this process never gave or has
// closed.
func (s *instances) find(id int32) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst := s.byID[id]
	if inst != nil {
		inst.used.Store(s.now().Unix())
	}
	return inst
}

// close drops an instance and, with the last of its configuration, the
// handler. Events that run with it go on undisturbed.
func (s *instances) close(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(id)
}

func (s *instances) drop(id int32) {
	inst := s.byID[id]
	if inst == nil {
		return
	}
	delete(s.byID, id)
	shared := s.handlers[inst.digest]
	if shared.uses--; shared.uses == 0 {
		delete(s.handlers, inst.digest)
	}
}

// evictIdle drops instances of the older half of the time since the oldest was
// used, and never more than half of them all.
func (s *instances) evictIdle() {
	room := len(s.byID) / 2
	oldest, newest := int64(1<<62), int64(0)
	for _, inst := range s.byID {
		used := inst.used.Load()
		oldest, newest = min(oldest, used), max(newest, used)
	}
	middle := oldest + (newest-oldest)/2
	for id, inst := range s.byID {
		if room > 0 && inst.used.Load() <= middle {
			s.drop(id)
			room--
		}
	}
}

// kongKeys are what Kong adds to a plugin's configuration. They differ from
// worker to worker and from route to route, so they are no part of what the
// configuration says. Source: kong/runloop/plugins_iterator.lua.
var kongKeys = []string{"__seq__", "__key__", "__plugin_id", "__ws_id", "route_id", "service_id", "consumer_id", "plugin_instance_name"}

// withoutKongKeys also brings the keys into one order: Kong's encoder follows
// a hash table, and workers with the same configuration send it differently.
// Bytes that are no JSON object stay as they are, for Compile to refuse.
func withoutKongKeys(config []byte) []byte {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil || fields == nil {
		return append([]byte(nil), config...)
	}
	for _, key := range kongKeys {
		delete(fields, key)
	}
	canonical, err := json.Marshal(fields)
	if err != nil {
		return append([]byte(nil), config...)
	}
	return canonical
}

func digestOf(name string, config []byte) digest {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write(config)
	return digest(h.Sum(nil))
}
