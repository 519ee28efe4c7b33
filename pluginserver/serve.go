package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

// errUnknownInstance closes the connection before anything was done: Kong then
// starts the instance anew and asks again. It is the one error for which that
// is right, since Kong repeats whatever ends in a closed connection.
var errUnknownInstance = errors.New("unknown instance id")

// serveLink runs the commands of one connection until Kong closes it.
func (s *Server) serveLink(l *link) {
	owed := 0 // empty answers to queued calls of the event before
	for {
		l.in.reset()
		err := l.drain(owed)
		var frame []byte
		if err == nil {
			frame, err = l.in.next()
		}
		if err != nil {
			s.logEnd(err)
			return
		}
		if !s.begin(l) {
			return
		}
		owed, err = s.command(l, frame)
		if err != nil {
			s.logEnd(err)
			return
		}
		s.end(l)
	}
}

func (s *Server) logEnd(err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
	case errors.Is(err, errUnknownInstance):
		s.options.Log.Info("instance unknown, closing so that kong starts it anew", "error", err)
	default:
		s.options.Log.Error("connection from kong ended", "error", err)
	}
}

// command runs one command. It returns the number of empty answers that Kong
// still owes.
func (s *Server) command(l *link, frame []byte) (owed int, err error) {
	sequence, instance, phase, isEvent, err := decodeEvent(frame)
	if err != nil {
		return 0, fmt.Errorf("reading a command: %w", err)
	}
	if !isEvent {
		return 0, s.manage(l, frame)
	}
	owed, err = s.event(l, instance, phase)
	if err != nil {
		return 0, err
	}
	if !l.exited { // else Kong closes; reading on finds that out
		var at int
		l.out, at = beginFrame(l.out)
		l.out = endFrame(appendIntField(l.out, returnSequence, sequence), at)
	}
	return owed, l.flush()
}

// manage starts or closes an instance.
func (s *Server) manage(l *link, frame []byte) error {
	call := new(kong_plugin_protocol.RpcCall)
	if err := proto.Unmarshal(frame, call); err != nil {
		return fmt.Errorf("reading a command: %w", err)
	}
	ret := &kong_plugin_protocol.RpcReturn{Sequence: call.GetSequence()}
	switch cmd := call.GetCall().(type) {
	case *kong_plugin_protocol.RpcCall_CmdStartInstance:
		name := cmd.CmdStartInstance.GetName()
		plugin := s.plugins[name]
		if plugin == nil {
			return fmt.Errorf("kong asks for plugin %q, which this process doesn't host", name)
		}
		ret.Return = &kong_plugin_protocol.RpcReturn_InstanceStatus{InstanceStatus: &kong_plugin_protocol.InstanceStatus{
			Name:       name,
			InstanceId: s.instances.start(plugin, cmd.CmdStartInstance.GetConfig()),
			StartedAt:  time.Now().Unix(),
		}}
	case *kong_plugin_protocol.RpcCall_CmdCloseInstance:
		s.instances.close(cmd.CmdCloseInstance.GetInstanceId())
	default:
		// Kong 3.9 sends no other command; plugins are described by dump.
		return fmt.Errorf("unknown command %T", cmd)
	}
	data, err := proto.Marshal(ret)
	if err != nil {
		return fmt.Errorf("encoding the return: %w", err)
	}
	l.out = appendFrame(l.out, data)
	return l.flush()
}

// event runs a handler: the declared reads in one flight before it, all it
// queued in one flight after it.
func (s *Server) event(l *link, id int32, phase string) (owed int, err error) {
	inst := s.instances.find(id)
	if inst == nil {
		return 0, fmt.Errorf("%w: %d", errUnknownInstance, id)
	}
	e := &Event{Phase: phase, link: l, plugin: inst.plugin, first: make([]reply, len(inst.plugin.Reads))}
	e.ctx.Context, e.ctx.deadline = l.ctx, time.Now().Add(s.options.EventTimeout)
	defer e.ctx.end()
	if err := e.ask(&e.ctx, inst.plugin.Reads, e.first); err != nil {
		return 0, err
	}
	e.reads, e.reply = inst.plugin.Reads, e.first

	l.watchdog.watch(e)
	s.run(&e.ctx, e, inst.handler)
	l.watchdog.unwatch()
	if err := e.failure(); err != nil {
		s.failed(e, err)
	}
	return e.finish(), nil
}

// failed refuses a request that its handler would have let pass.
func (s *Server) failed(e *Event, err error) {
	reason := ReasonUnreadable
	if errors.Is(err, errArgument) {
		reason = ReasonUnsendable
	}
	s.options.Log.Error("an event failed; the request is refused", "plugin", e.plugin.Name, "reason", reason, "request_id", e.requestID(), "error", err)
	s.refuse(e, reason)
}

// run calls the handler and turns a panic into a refusal of this request.
func (s *Server) run(ctx context.Context, e *Event, h Handler) {
	defer func() {
		if cause := recover(); cause != nil {
			s.logPanic("a handler panicked; the request is refused", e.plugin, cause, "request_id", e.requestID())
			s.refuse(e, ReasonPanic)
		}
	}()
	h.Access(ctx, e)
}

// compile makes a configuration's handler. Where that panics, the routes of
// this configuration refuse and the others go on.
func (s *Server) compile(p *Plugin, config []byte) (h Handler) {
	defer func() {
		if cause := recover(); cause != nil {
			s.logPanic("compiling a configuration panicked; its routes refuse every request", p, cause)
			h = uncompiled{s}
		}
	}()
	return p.Compile(config)
}

// uncompiled stands for a configuration whose Compile panicked.
type uncompiled struct{ server *Server }

// Access refuses.
func (u uncompiled) Access(_ context.Context, e *Event) { u.server.refuse(e, ReasonPanic) }

// Broken says that it refuses everything.
func (u uncompiled) Broken() bool { return true }

func (s *Server) logPanic(message string, p *Plugin, cause any, more ...any) {
	s.options.Log.With(more...).Error(message, "plugin", p.Name, "reason", ReasonPanic, "panic", cause, "stack", string(debug.Stack()))
}

// overdue answers for a handler that takes too long, while it still runs.
func (s *Server) overdue(e *Event) {
	s.options.Log.Error("a handler took too long; the request is refused",
		"plugin", e.plugin.Name, "reason", ReasonTimeout, "request_id", e.requestID(), "timeout", s.options.EventTimeout)
	s.refuse(e, ReasonTimeout)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.link.flush(); err != nil {
		s.options.Log.Error("answering for an overdue handler", "error", err)
	}
}

// refuse drops what the handler queued and exits with the server's answer.
func (s *Server) refuse(e *Event, reason string) {
	s.options.Refused(e.plugin.Name, reason)
	e.discard()
	a := s.options.Refusal(reason)
	if checkAnswer(a) != nil {
		a = Answer{Status: 500}
	}
	e.exit(a)
}

// finish ends the event and returns how many answers Kong owes.
func (e *Event) finish() (owed int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.link.out = appendFrame(e.link.out, "") // the end of the event
	}
	e.over = true
	return e.queued
}
