package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Client is a program that talks to Prefect with settings of its own: the command line, a worker, a script. It knows
// nothing of the server's credential.
type Client struct {
	dir  string
	proc *process
}

// StartClient starts a program of the virtual environment, prefect or python, with nothing but these settings.
func (p *Prefect) StartClient(apiURL string, settings []string, program string, args ...string) (*Client, error) {
	dir, err := os.MkdirTemp("", "kong-prefect-client-")
	if err != nil {
		return nil, err
	}
	env := append(baseEnv(dir),
		"PREFECT_HOME="+dir,
		"PREFECT_API_URL="+apiURL,
		"PREFECT_SERVER_ANALYTICS_ENABLED=false",
		"DO_NOT_TRACK=1",
		"PREFECT_CLI_PROMPT=false",
		"COLUMNS=200",
	)
	c := &Client{dir: dir}
	c.proc, err = command{
		name: filepath.Base(program), path: p.bin(program), args: args, env: append(env, settings...), dir: dir,
	}.start()
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

// Wait waits for the program's end and gives what it wrote; the error says how it ended.
func (c *Client) Wait(ctx context.Context) (string, error) {
	select {
	case <-c.proc.done:
		return c.proc.log(), c.proc.exitErr
	case <-ctx.Done():
		return c.proc.log(), fmt.Errorf("still running: %w", ctx.Err())
	}
}

// Logs is what the program has written so far.
func (c *Client) Logs() string { return c.proc.log() }

// Stop ends the program and what it started, and removes its folder.
func (c *Client) Stop() {
	if c == nil {
		return
	}
	c.proc.stop()
	_ = os.RemoveAll(c.dir)
}
