package devgateway

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// recorder is a scripted plugin server: each configuration lists the calls its
// events make. It notes what came back.
type recorder struct {
	socket    string
	listener  net.Listener
	readLimit time.Duration // of the gateway; "@sleep" is measured by it

	mu        sync.Mutex
	instances map[int32]*recorderScript
	closedOn  map[string]int // misbehaviours done, by case
	nextID    int32
	events    []*recordedEvent
	starts    []recordedStart
	closes    []int32
}

type recorderScript struct {
	plugin    string
	Case      string         `json:"case"`
	Calls     []scriptedCall `json:"calls"`
	Pipeline  bool           `json:"pipeline"`
	Misbehave string         `json:"misbehave"`
	Times     int            `json:"times"`
}

type scriptedCall struct {
	Method  string `json:"method"`
	Args    string `json:"args"`
	ArgsB64 string `json:"args_b64"`
	Phase   string `json:"phase"`
}

type recordedEvent struct {
	Plugin string
	Phase  string
	Calls  []recordedCall
	End    string
	done   bool
}

type recordedCall struct {
	Method string
	Reply  []byte
	None   bool // no reply: the connection ended
}

type recordedStart struct {
	plugin string
	config map[string]any
}

func newRecorder(t testing.TB, dir string) *recorder {
	t.Helper()
	r := &recorder{socket: filepath.Join(dir, "rec.socket"), instances: map[int32]*recorderScript{}, closedOn: map[string]int{}, nextID: 1}
	l, err := net.Listen("unix", r.socket)
	require.NoError(t, err)
	r.listener = l
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return r
}

// plugins of the recorder: name, priority, phases.
var recorderPlugins = map[string]struct {
	priority int
	phases   []string
}{
	"rec-hi":   {1050, []string{"access"}},
	"rec-lo":   {750, []string{"access"}},
	"rec-log":  {740, []string{"access", "log"}},
	"rec-resp": {730, []string{"access", "response", "log"}},
}

// servers writes each plugin's dump and gives the settings that name it.
func (r *recorder) servers(t testing.TB, dir string) []PluginServer {
	t.Helper()
	var out []PluginServer
	for _, name := range sortedKeys(recorderPlugins) {
		p := recorderPlugins[name]
		dump := map[string]any{"Protocol": "ProtoBuf:1", "Plugins": []any{map[string]any{
			"Name": name, "Priority": p.priority, "Version": "1.0.0", "Phases": p.phases,
			"Schema": map[string]any{"name": name, "fields": []any{map[string]any{"config": map[string]any{
				"type": "record", "fields": []any{
					map[string]any{"case": map[string]any{"type": "string"}},
					map[string]any{"calls": map[string]any{"type": "array", "elements": map[string]any{"type": "record", "fields": []any{
						map[string]any{"method": map[string]any{"type": "string"}},
						map[string]any{"args": map[string]any{"type": "string"}},
						map[string]any{"args_b64": map[string]any{"type": "string"}},
						map[string]any{"phase": map[string]any{"type": "string"}},
					}}}},
					map[string]any{"pipeline": map[string]any{"type": "boolean", "default": false}},
					map[string]any{"misbehave": map[string]any{"type": "string"}},
					map[string]any{"times": map[string]any{"type": "integer", "default": 0}},
				}}}}},
		}}}
		raw, err := json.Marshal(dump)
		require.NoError(t, err)
		path := filepath.Join(dir, name+".dump.json")
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		out = append(out, PluginServer{Name: name, Socket: r.socket, QueryCmd: "cat " + path})
	}
	return out
}

// take gives and forgets what was noted since the last take, once want events
// have ended.
func (r *recorder) take(want int) ([]*recordedEvent, []recordedStart, []int32) {
	deadline := time.Now().Add(3 * time.Second)
	for {
		r.mu.Lock()
		done := 0
		for _, e := range r.events {
			if e.done {
				done++
			}
		}
		if (done == len(r.events) && done >= want) || time.Now().After(deadline) {
			defer r.mu.Unlock()
			events, starts, closes := r.events, r.starts, r.closes
			r.events, r.starts, r.closes = nil, nil, nil
			return events, starts, closes
		}
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func (r *recorder) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		frame, err := readTestFrame(c)
		if err != nil {
			return
		}
		call := &kong_plugin_protocol.RpcCall{}
		if proto.Unmarshal(frame, call) != nil {
			return
		}
		ok := true
		switch cmd := call.Call.(type) {
		case *kong_plugin_protocol.RpcCall_CmdStartInstance:
			ok = r.start(c, call.Sequence, cmd.CmdStartInstance)
		case *kong_plugin_protocol.RpcCall_CmdCloseInstance:
			r.mu.Lock()
			r.closes = append(r.closes, cmd.CmdCloseInstance.InstanceId)
			r.mu.Unlock()
			ok = sendReturn(c, &kong_plugin_protocol.RpcReturn{Sequence: call.Sequence})
		case *kong_plugin_protocol.RpcCall_CmdHandleEvent:
			ok = r.event(c, call.Sequence, cmd.CmdHandleEvent)
		}
		if !ok {
			return
		}
	}
}

func (r *recorder) start(c net.Conn, seq int64, cmd *kong_plugin_protocol.CmdStartInstance) bool {
	s := &recorderScript{plugin: cmd.Name}
	var config map[string]any
	if json.Unmarshal(cmd.Config, s) != nil || json.Unmarshal(cmd.Config, &config) != nil {
		return false
	}
	r.mu.Lock()
	id := r.nextID
	r.nextID++
	if s.Misbehave == "start_id_zero" {
		id = 0
	}
	r.instances[id] = s
	r.starts = append(r.starts, recordedStart{cmd.Name, config})
	r.mu.Unlock()
	ret := &kong_plugin_protocol.RpcReturn{Sequence: seq}
	status := &kong_plugin_protocol.InstanceStatus{Name: cmd.Name, InstanceId: id, StartedAt: time.Now().Unix()}
	switch {
	case s.Misbehave == "start_no_status":
		return sendReturn(c, ret)
	case s.Misbehave == "start_close" && r.still(s):
		return false
	case s.Misbehave == "start_id_only":
		status = &kong_plugin_protocol.InstanceStatus{InstanceId: id}
	}
	ret.Return = &kong_plugin_protocol.RpcReturn_InstanceStatus{InstanceStatus: status}
	return sendReturn(c, ret)
}

// still counts a misbehaviour that is to be done a number of times.
func (r *recorder) still(s *recorderScript) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closedOn[s.Case]++
	return r.closedOn[s.Case] <= s.Times
}

func (r *recorder) event(c net.Conn, seq int64, cmd *kong_plugin_protocol.CmdHandleEvent) bool {
	r.mu.Lock()
	s := r.instances[cmd.InstanceId]
	r.mu.Unlock()
	if s == nil {
		return false
	}
	e := &recordedEvent{Plugin: s.plugin, Phase: cmd.EventName}
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	end, keep := r.play(c, s, e, seq)
	r.mu.Lock()
	e.End, e.done = end, true
	r.mu.Unlock()
	return keep
}
