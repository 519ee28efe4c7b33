package stack

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// KillPlugin kills the plugin server, as the kernel does when memory runs out. The gateway starts another one.
func (g *Gateway) KillPlugin() error {
	pid, err := g.PluginPID()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// PID is the gateway's own process: devgateway, or nginx's master.
func (g *Gateway) PID() int { return g.proc.pid }

// PluginPID is the process that serves the plugins of this gateway.
func (g *Gateway) PluginPID() (int, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range processes {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args := bytes.Split(line, []byte{0})
		if len(args) > 3 && string(args[0]) == g.opts.Plugin && string(args[1]) == "serve" && bytes.Contains(line, []byte(g.prefix)) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, errors.New("the plugin server doesn't run")
}
