package devgateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// queryLimit bounds a query_cmd.
	queryLimit = 10 * time.Second
	// killAfter is what Kong leaves a plugin server between SIGTERM and
	// SIGKILL: 10 to 100 ms were measured.
	killAfter = 50 * time.Millisecond
	// respawnAfter is the least time between two starts of a server.
	respawnAfter = time.Second
)

// hosted is a plugin of an external server.
type hosted struct {
	name     string
	priority int
	schema   *pluginSchema
	pool     *pool

	mu        sync.Mutex
	instances map[string]instance // by plugin id
}

// query runs a query_cmd and reads what it says of its plugin.
func query(s PluginServer) (*hosted, error) {
	fail := func(err error) (*hosted, error) {
		return nil, fmt.Errorf("pluginserver %s: query_cmd %q: %w", s.Name, s.QueryCmd, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "exec "+s.QueryCmd)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fail(fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes())))
	}
	var dump struct {
		Protocol string
		Plugins  []struct {
			Name     string
			Phases   []string
			Priority int
			Version  string
			Schema   json.RawMessage
		}
	}
	if err := json.Unmarshal(out, &dump); err != nil {
		return fail(fmt.Errorf("prints no JSON: %w", err))
	}
	if dump.Protocol != "ProtoBuf:1" || len(dump.Plugins) != 1 || dump.Plugins[0].Name != s.Name {
		return fail(errors.New("must describe this one plugin in protocol ProtoBuf:1"))
	}
	p := dump.Plugins[0]
	for _, phase := range p.Phases {
		if phase != "access" {
			return fail(fmt.Errorf("phase %q is not done here", phase))
		}
	}
	schema, err := parsePluginSchema(p.Schema)
	if err != nil {
		return fail(err)
	}
	return &hosted{name: p.Name, priority: p.Priority, schema: schema, pool: newPool(s.Socket), instances: map[string]instance{}}, nil
}

// process keeps one plugin server running.
type process struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

func (p *process) stop() {
	p.cancel()
	<-p.ended
}

func (g *Gateway) startProcesses() []*process {
	var started []*process
	for _, s := range g.settings.PluginServers {
		if s.StartCmd == "" {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		p := &process{cancel: cancel, ended: make(chan struct{})}
		go func() {
			defer close(p.ended)
			g.supervise(ctx, s)
		}()
		started = append(started, p)
	}
	return started
}

// supervise starts the server again whenever it ends, at most once a second.
func (g *Gateway) supervise(ctx context.Context, s PluginServer) {
	for {
		begun := time.Now()
		err := g.runServer(ctx, s)
		if ctx.Err() != nil {
			return
		}
		g.log.kong("notice", "external pluginserver '%s' terminated: %v", s.Name, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(respawnAfter - time.Since(begun)):
		}
	}
}

// runServer runs the command as Kong does: exec'ed by a shell, umask 0, and an
// environment that holds nothing but PWD and what nginx_main_env names.
func (g *Gateway) runServer(ctx context.Context, s PluginServer) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "umask 0; exec "+s.StartCmd)
	cmd.Env = append([]string{"PWD=" + g.settings.Prefix}, g.mainEnv()...)
	cmd.Dir = g.settings.Prefix
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	out, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return errors.Join(err, out.Close(), w.Close())
	}
	_ = w.Close()
	copied := make(chan struct{})
	go func() { // ends with the process, which holds the other end
		defer close(copied)
		g.copyLog(s.Name, out)
	}()
	err = cmd.Wait()
	<-copied
	return errors.Join(err, out.Close())
}

// copyLog logs a server's output at info, where Kong puts it.
func (g *Gateway) copyLog(name string, r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		g.log.line("info", name, lines.Text())
	}
	_, _ = io.Copy(io.Discard, r)
}

func (g *Gateway) mainEnv() []string {
	var env []string
	for _, e := range g.settings.MainEnv {
		if name, _, given := bytes.Cut([]byte(e), []byte("=")); given {
			env = append(env, e)
		} else if v, ok := g.settings.Env(string(name)); ok {
			env = append(env, e+"="+v)
		}
	}
	return env
}
