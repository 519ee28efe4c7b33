package stack

import (
	"bytes"
	"errors"
	"fmt"
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

// PluginPID is the process that serves the plugins of this gateway: the newest, where a reload leaves two.
func (g *Gateway) PluginPID() (int, error) {
	newest, began := 0, uint64(0)
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
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return 0, err
			}
			if at := startOf(pid); at >= began {
				newest, began = pid, at
			}
		}
	}
	if newest == 0 {
		return 0, errors.New("the plugin server doesn't run")
	}
	return newest, nil
}

// startOf is when a process began, in ticks since the machine did; 0: it has ended (proc_pid_stat(5), field 22).
func startOf(pid int) uint64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses is field 2, and may hold spaces.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	at, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return at
}
