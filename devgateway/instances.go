package devgateway

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// worker is one simulated nginx worker: its own instances of every
// configuration and its own connections.
type worker struct {
	gw        *Gateway
	pool      *connPool
	retired   atomic.Bool    // of the generation before a reload
	clients   sync.WaitGroup // connections it serves
	mu        sync.Mutex
	instances map[string]*instance // by plugin id
	rpcs      map[string]*pluginRPC
}

type instance struct {
	plugin string
	id     int64
	ready  bool
	seq    int64
}

func newWorker(gw *Gateway) *worker {
	return &worker{gw: gw, pool: newConnPool(), instances: map[string]*instance{}, rpcs: map[string]*pluginRPC{}}
}

func (w *worker) rpc(name, socket string) *pluginRPC {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.rpcs[name]
	if r == nil {
		r = &pluginRPC{name: name, socket: socket, pool: w.pool, timeout: w.gw.settings.ReadTimeout}
		w.rpcs[name] = r
	}
	return r
}

func (w *worker) reset(plugin string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, i := range w.instances {
		if i.plugin == plugin {
			delete(w.instances, id)
		}
	}
}

const (
	instanceWaitStep  = 100 * time.Millisecond
	instanceWaitSteps = 100
)

// instanceID gives the instance of a configuration in this worker and starts
// it at first use; an instance of an older configuration is closed after.
func (w *worker) instanceID(p *Plugin, rpc *pluginRPC) (int64, error) {
	inst, old, err := w.claim(p)
	if err != nil || inst.ready {
		return inst.id, err
	}
	id, err := rpc.startInstance(w.gw.instanceConfig(p))
	w.mu.Lock()
	if err != nil {
		if w.instances[p.ID] == inst {
			delete(w.instances, p.ID)
		}
		w.mu.Unlock()
		w.gw.log.kong("error", "starting instance: %s", err)
		return 0, raise("%s", err)
	}
	// Others may hold inst: a finished one takes its place.
	done := &instance{plugin: p.Name, id: id, seq: p.Seq, ready: true}
	w.instances[p.ID] = done
	w.mu.Unlock()
	w.gw.log.kong("debug", "started plugin server: seq %d, instance id %d", p.Seq, id)
	if old != nil {
		_ = rpc.closeInstance(old.id) // Kong does not care either
	}
	return id, nil
}

// claim gives a ready instance, or a claim to start one and the instance it
// replaces. Others wait for the one that starts it, in steps, as Kong does.
func (w *worker) claim(p *Plugin) (inst, old *instance, err error) {
	for steps := 0; ; steps++ {
		w.mu.Lock()
		cur := w.instances[p.ID]
		if cur != nil && !cur.ready && steps < instanceWaitSteps {
			w.mu.Unlock()
			time.Sleep(instanceWaitStep)
			continue
		}
		defer w.mu.Unlock()
		switch {
		case cur != nil && !cur.ready:
			delete(w.instances, p.ID)
			return &instance{}, nil, fmt.Errorf("could not claim instance_id for %s (key: %s)", p.Name, p.ID)
		case cur != nil && cur.seq == p.Seq:
			return cur, nil, nil
		}
		inst = &instance{plugin: p.Name}
		w.instances[p.ID] = inst
		return inst, cur, nil
	}
}

// externalPlugin is a plugin that lives behind a socket.
type externalPlugin struct{ socket string }

// handleEvent runs one phase of an external plugin. A connection closed by the
// plugin server makes Kong start the instance again and run the event again.
func (e *externalPlugin) handleEvent(x *exchange, p *Plugin, ph phase) {
	rpc := x.worker.rpc(p.Name, e.socket)
	for {
		err := e.once(x, p, ph, rpc)
		switch {
		case err == nil, errors.Is(err, errExit):
			return
		case isLuaError(err):
			x.gw.log.line("error", p.Name, err.Error())
			x.crash()
			return
		case !closedByPeer(err):
			x.gw.log.kong("error", "pluginserver error: %s", err)
			if ph != phaseLog {
				x.errorAnswer(500, "", nil)
			}
			return
		}
		x.gw.resetInstances(x.worker, p.Name)
		x.gw.log.kong("warn", "%s", err)
		if x.reruns++; x.reruns >= x.gw.settings.MaxReruns || x.gw.stopping() {
			x.gw.log.kong("crit", "plugin %s closed the socket %d times in one request; Kong would go on for ever, "+
				"devgateway answers 500", p.Name, x.reruns)
			x.crash()
			return
		}
	}
}

func (e *externalPlugin) once(x *exchange, p *Plugin, ph phase, rpc *pluginRPC) error {
	id, err := x.worker.instanceID(p, rpc)
	if err != nil {
		return err
	}
	body := appendBytes(appendInt(nil, 1, id), 2, string(ph))
	// Kong abandons the connection of an event that ended early; it is closed
	// when the request is over.
	release := func(c *net.UnixConn) { x.atEnd = append(x.atEnd, func() { rpc.pool.drop(c) }) }
	_, err = rpc.call(fieldHandleEvent, body, func(method string, args []byte) ([]byte, error) {
		return x.pdk(p.Name, method, args)
	}, release)
	return err
}

func isLuaError(err error) bool {
	var l luaError
	return errors.As(err, &l)
}

// instanceConfig is the JSON an instance is started with.
func (gw *Gateway) instanceConfig(p *Plugin) dict {
	cfg := vault{gw.settings.Env, gw.log}.resolveRecord(p.schema, p.Config)
	cfg["__seq__"] = float64(p.Seq)
	cfg["__plugin_id"] = p.ID
	cfg["__ws_id"] = workspaceID
	cfg["__key__"] = "plugins:" + p.Name + ":" + routeID(p.Route) + ":" + serviceID(p.Service) + ":::" + workspaceID
	if p.Route != nil {
		cfg["route_id"] = p.Route.ID
	}
	if p.Service != nil {
		cfg["service_id"] = p.Service.ID
	}
	return cfg
}

// workspaceID is the default workspace of a database-less Kong.
const workspaceID = "0dc6f45b-8f8d-40d2-a504-473544ee190b"
