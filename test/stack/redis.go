package stack

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// redisReadyLimit is far above what a start takes (0.1 s).
const redisReadyLimit = 15 * time.Second

// Durable are settings of a Redis that writes each change to its disk before it answers.
var Durable = []string{"appendonly yes", "appendfsync always"}

// Redis is a running redis-server with a password and, by default, nothing on disk: what it held is gone after a restart.
type Redis struct {
	path     string
	dir      string
	port     int
	password string
	proc     *process
}

// StartRedis starts Debian's redis-server, with further lines of its configuration, and waits until it answers. Without
// one installed the error is [ErrNotInstalled].
func StartRedis(ctx context.Context, further ...string) (*Redis, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: redis-server (on Debian: apt-get install redis-server)", ErrNotInstalled)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kong-prefect-redis-")
	if err != nil {
		return nil, err
	}
	r := &Redis{path: path, dir: dir, port: port, password: rand.Text()}
	// In a file: what stands on a command line everybody on the machine can read.
	settings := fmt.Sprintf("bind 127.0.0.1\nport %d\nrequirepass %s\ndir %s\nsave \"\"\nappendonly no\n", port, r.password, dir)
	settings += strings.Join(further, "\n") + "\n" // the last of a name counts
	if err = os.WriteFile(r.settings(), []byte(settings), 0o600); err == nil {
		err = r.Restart(ctx)
	}
	if err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

func (r *Redis) settings() string { return filepath.Join(r.dir, "redis.conf") }

// Addr is its address, host:port.
func (r *Redis) Addr() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

// Password is what AUTH wants, for the user "default".
func (r *Redis) Password() string { return r.password }

// URL is its address with the password, as Redis clients take it.
func (r *Redis) URL() string { return "redis://:" + r.password + "@" + r.Addr() + "/0" }

// Halt ends the server. Restart brings it back, with what is on its disk, at the same address.
func (r *Redis) Halt() { r.proc.stop() }

// Kill ends the server as a crash does: nothing is told, nothing is finished.
func (r *Redis) Kill() {
	_ = syscall.Kill(-r.proc.pid, syscall.SIGKILL)
	r.proc.stop()
}

// Restart starts the server, after Halt, and waits until it answers.
func (r *Redis) Restart(ctx context.Context) (err error) {
	r.proc, err = command{name: "redis", path: r.path, args: []string{r.settings()}, env: baseEnv(r.dir), dir: r.dir}.start()
	if err != nil {
		return err
	}
	return r.proc.await(ctx, redisReadyLimit, r.ping)
}

// ping speaks Redis' inline commands: no client library for one question.
func (r *Redis) ping(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", r.Addr())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was only asked
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n", r.password); err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	for _, want := range []string{"+OK", "+PONG"} {
		line, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.TrimSpace(line) != want {
			return fmt.Errorf("redis answers %q", line)
		}
	}
	return nil
}

// Logs is what the server wrote.
func (r *Redis) Logs() string { return r.proc.log() }

// Stop ends the server and removes its folder. Safe on nil.
func (r *Redis) Stop() {
	if r == nil {
		return
	}
	r.proc.stop()
	_ = os.RemoveAll(r.dir)
}
