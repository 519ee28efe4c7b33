package devgateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

// errExited ends the phase: the plugin answered the request.
var errExited = errors.New("the plugin answered")

// errClosed is a socket that the plugin server closed. Kong starts the
// instance anew and runs the event again.
var errClosed = errors.New("closed")

// pool keeps idle connections to one socket, as nginx's cosockets do.
type pool struct {
	socket string
	mu     sync.Mutex
	idle   []*rpcConn
	seq    int64
}

// maxIdle is lua_socket_pool_size.
const maxIdle = 30

type rpcConn struct {
	net.Conn
	in *bufio.Reader
}

func newPool(socket string) *pool { return &pool{socket: socket} }

func (p *pool) get() (c *rpcConn, seq int64, err error) {
	p.mu.Lock()
	p.seq++
	seq = p.seq
	if n := len(p.idle); n > 0 {
		c = p.idle[n-1]
		p.idle = p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, seq, nil
	}
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		return nil, 0, err
	}
	return &rpcConn{Conn: conn, in: bufio.NewReader(conn)}, seq, nil
}

func (p *pool) put(c *rpcConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}

func (c *rpcConn) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errClosed
		}
		return nil, err
	}
	data := make([]byte, binary.LittleEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.in, data); err != nil {
		return nil, err
	}
	return data, nil
}

func (c *rpcConn) send(data []byte) error {
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(data)))
	_, err := c.Write(append(frame, data...))
	return err
}

// call sends one command and, for an event, answers the plugin's PDK calls
// until it says that it is done.
func (h *hosted) call(limit time.Duration, cmd *kong_plugin_protocol.RpcCall, answer func(method string, args []byte) ([]byte, error)) (*kong_plugin_protocol.RpcReturn, error) {
	c, seq, err := h.pool.get()
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() {
		if !kept {
			_ = c.Close()
		}
	}()
	cmd.Sequence = seq
	data, err := proto.Marshal(cmd)
	if err != nil {
		return nil, err
	}
	// The limit is for each read, as lua_socket_read_timeout is.
	_ = c.SetDeadline(time.Now().Add(limit))
	if err := c.send(data); err != nil {
		return nil, errClosed
	}
	for answer != nil {
		method, err := c.frame()
		if err != nil {
			return nil, err
		}
		if len(method) == 0 {
			break
		}
		args, err := c.frame()
		if err != nil {
			return nil, err
		}
		reply, err := answer(string(method), args)
		if err != nil {
			return nil, err
		}
		_ = c.SetDeadline(time.Now().Add(limit))
		if err := c.send(reply); err != nil {
			return nil, err
		}
	}
	data, err = c.frame()
	if err != nil {
		return nil, err
	}
	ret := new(kong_plugin_protocol.RpcReturn)
	if err := proto.Unmarshal(data, ret); err != nil {
		return nil, err
	}
	if ret.Sequence != seq {
		return nil, fmt.Errorf("sequence %d answered as %d", seq, ret.Sequence)
	}
	kept = true
	h.pool.put(c)
	return ret, nil
}

// instance is a plugin configuration that the server knows.
type instance struct {
	id  int32
	seq int64
}

// drop forgets all instances of the plugin, as Kong does for one closed socket.
func (h *hosted) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.instances)
	h.pool.closeIdle()
}

// instanceOf gives the instance of a configured plugin, starting it where it
// is needed.
func (h *hosted) instanceOf(g *Gateway, p *Plugin) (int32, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, known := h.instances[p.ID]
	if known && old.seq == p.Seq {
		return old.id, nil
	}
	config, err := g.instanceConfig(p)
	if err != nil {
		return 0, err
	}
	ret, err := h.call(g.settings.ReadTimeout, &kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: h.name, Config: config},
	}}, nil)
	if err != nil {
		// Not errClosed: Kong doesn't repeat a start.
		return 0, fmt.Errorf("starting instance: %v", err)
	}
	status := ret.GetInstanceStatus()
	if status == nil {
		return 0, errors.New("starting instance: no instance status")
	}
	h.instances[p.ID] = instance{id: status.GetInstanceId(), seq: p.Seq}
	if known {
		_, _ = h.call(g.settings.ReadTimeout, &kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdCloseInstance{
			CmdCloseInstance: &kong_plugin_protocol.CmdCloseInstance{InstanceId: old.id},
		}}, nil)
	}
	return status.GetInstanceId(), nil
}

// workspace is Kong's default workspace in this process.
const workspace = "0dc6f45b-8f8d-40d2-a504-473544ee190b"

// instanceConfig is what Kong sends: the configuration with its references
// resolved, and Kong's own keys beside it.
func (g *Gateway) instanceConfig(p *Plugin) ([]byte, error) {
	config, _ := toJSON(g.vault.resolveRecord(p.schema, p.Config)).(map[string]any)
	if config == nil {
		return nil, errors.New("configuration is no record")
	}
	config["__seq__"] = p.Seq
	config["__plugin_id"] = p.ID
	config["__ws_id"] = workspace
	config["__key__"] = "plugins:" + p.Name + ":" + routeID(p.Route) + ":" + serviceID(p.Service) + ":::" + workspace
	if p.Route != nil {
		config["route_id"] = p.Route.ID
	}
	if p.Service != nil {
		config["service_id"] = p.Service.ID
	}
	return json.Marshal(config)
}

// run runs a plugin's access phase.
func (x *exchange) run(ctx context.Context, p *Plugin) error {
	h := x.gw.hosted[p.Name]
	for reruns := 0; ; reruns++ {
		id, err := h.instanceOf(x.gw, p)
		if err != nil {
			return err
		}
		_, err = h.call(x.gw.settings.ReadTimeout, &kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
			CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: id, EventName: "access"},
		}}, x.pdk)
		switch {
		case errors.Is(err, errExited):
			return nil
		case !errors.Is(err, errClosed):
			return err
		case reruns == x.gw.settings.MaxReruns || ctx.Err() != nil:
			return fmt.Errorf("gave up after %d runs that ended in a closed socket; Kong would go on for ever", reruns+1)
		}
		x.gw.log.kong("warn", "[%s] closed", p.Name)
		h.drop()
	}
}
