package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// prefectReadyLimit is far above what a start takes (5 to 20 s on two busy cores).
const prefectReadyLimit = 120 * time.Second

// PrefectOptions says which Prefect to start.
type PrefectOptions struct {
	// Venv is the virtual environment that test/requirements.txt was installed into. Required.
	Venv string
	// UI serves Prefect's web pages too, which costs a second or two at the start.
	UI bool
	// UIAPIURL is where those pages look for the API. Default: the server itself.
	UIAPIURL string
	// Open is a server without an auth string: whoever reaches it may do everything.
	Open bool
	// DatabaseURL is where the server keeps its data, such as [Postgres.PrefectURL]; it makes its tables there. Default:
	// SQLite.
	DatabaseURL string
}

// VenvFromEnv is the folder that PREFECT_VENV names, or fallback.
func VenvFromEnv(fallback string) string {
	if venv := os.Getenv("PREFECT_VENV"); venv != "" {
		return venv
	}
	return fallback
}

// Prefect is a running Prefect server, behind its one shared auth string.
type Prefect struct {
	dir  string
	venv string
	port int
	auth string
	proc *process
	env  []string
	opts PrefectOptions
}

// NewPrefect starts `prefect server start` and returns at once; Ready waits for it.
func NewPrefect(opts PrefectOptions) (*Prefect, error) {
	venv, err := filepath.Abs(opts.Venv)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kong-prefect-server-")
	if err != nil {
		return nil, err
	}
	p := &Prefect{dir: dir, venv: venv, port: port, auth: "admin:" + rand.Text(), opts: opts}
	p.env = append(baseEnv(dir),
		"PREFECT_HOME="+dir,
		"PREFECT_SERVER_ANALYTICS_ENABLED=false",
		"DO_NOT_TRACK=1",
		"PREFECT_CLI_PROMPT=false",
	)
	if err := errors.Join(p.seed(), p.launch(opts)); err != nil {
		p.proc.stop()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

// seed copies the empty database that the Makefile keeps in the virtual environment: creating the schema takes Prefect
// three times as long as the rest of its start. Without one the server makes its own.
func (p *Prefect) seed() error {
	empty, err := os.ReadFile(filepath.Join(p.venv, "prefect-empty.db"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "prefect.db"), empty, 0o600)
}

func (p *Prefect) launch(opts PrefectOptions) error {
	ui := opts.UIAPIURL
	if ui == "" {
		ui = p.APIURL()
	}
	env := append(p.env[:len(p.env):len(p.env)],
		"PREFECT_UI_API_URL="+ui,
		fmt.Sprintf("PREFECT_UI_ENABLED=%t", opts.UI))
	if opts.Open {
		// Off by default: the logs that `--watch` shows.
		env = append(env, "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED=true", "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED=true")
	} else {
		env = append(env, "PREFECT_SERVER_API_AUTH_STRING="+p.auth)
	}
	if opts.DatabaseURL != "" {
		env = append(env, "PREFECT_API_DATABASE_CONNECTION_URL="+opts.DatabaseURL)
	}
	var err error
	p.proc, err = command{
		name: "prefect-server",
		path: p.bin("prefect"),
		args: []string{"server", "start", "--host", "127.0.0.1", "--port", fmt.Sprint(p.port)},
		env:  env,
		dir:  p.dir,
	}.start()
	return err
}

// Ready waits until the server answers for its database.
func (p *Prefect) Ready(ctx context.Context) error {
	return p.proc.await(ctx, prefectReadyLimit, func(ctx context.Context) error {
		var healthy bool
		if err := p.Get(ctx, "/health", &healthy); err != nil {
			return err
		}
		if !healthy {
			return errors.New("GET /api/health is not true")
		}
		return nil
	})
}

// URL is the server's root, where its pages are.
func (p *Prefect) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", p.port) }

// APIURL is the address of the API, as PREFECT_API_URL wants it.
func (p *Prefect) APIURL() string { return p.URL() + "/api" }

// AuthString is the shared credential, as PREFECT_API_AUTH_STRING wants it.
func (p *Prefect) AuthString() string { return p.auth }

// Logs is what the server wrote.
func (p *Prefect) Logs() string { return p.proc.log() }

// Stop ends the server and removes its folder.
func (p *Prefect) Stop() {
	if p == nil {
		return
	}
	p.proc.stop()
	_ = os.RemoveAll(p.dir)
}

func (p *Prefect) bin(name string) string { return filepath.Join(p.venv, "bin", name) }

// clientEnv is the environment of Prefect's own clients: the CLI, a worker, a flow.
func (p *Prefect) clientEnv(home string) []string {
	return append(baseEnv(home),
		"PREFECT_HOME="+home,
		"PREFECT_API_URL="+p.APIURL(),
		"PREFECT_API_AUTH_STRING="+p.auth,
		"PREFECT_SERVER_ANALYTICS_ENABLED=false",
		"DO_NOT_TRACK=1",
		"PREFECT_CLI_PROMPT=false",
	)
}

// Get reads path (below /api) into out.
func (p *Prefect) Get(ctx context.Context, path string, out any) error {
	return p.call(ctx, http.MethodGet, path, nil, out)
}

// Post sends body to path (below /api) and reads the answer into out.
func (p *Prefect) Post(ctx context.Context, path string, body, out any) error {
	return p.call(ctx, http.MethodPost, path, body, out)
}

// Patch sends body to path (below /api).
func (p *Prefect) Patch(ctx context.Context, path string, body any) error {
	return p.call(ctx, http.MethodPatch, path, body, nil)
}

// Delete deletes what is at path (below /api).
func (p *Prefect) Delete(ctx context.Context, path string) error {
	return p.call(ctx, http.MethodDelete, path, nil, nil)
}

// Command is a program of Prefect's virtual environment, with the environment of Prefect's own clients and its files
// in home.
func (p *Prefect) Command(ctx context.Context, home, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.bin(program), args...)
	cmd.Env, cmd.Dir = p.clientEnv(home), home
	return cmd
}

// call makes one request, and again on a 503: SQLite answers "database is locked" under two writers, and the product
// under test is not the one to be blamed for it here.
func (p *Prefect) call(ctx context.Context, method, path string, body, out any) error {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return err
		}
	}
	for attempt := 1; ; attempt++ {
		status, answer, err := p.send(ctx, method, path, payload)
		switch {
		case err != nil:
			return err
		case status == http.StatusServiceUnavailable && attempt < 8:
			time.Sleep(time.Duration(attempt) * pollEvery)
			continue
		case status >= 300:
			return fmt.Errorf("prefect: %s %s: %d %.500s", method, path, status, answer)
		case out == nil:
			return nil
		}
		return json.Unmarshal(answer, out)
	}
}

func (p *Prefect) send(ctx context.Context, method, path string, payload []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.APIURL()+path, bytes.NewReader(payload))
	if err != nil {
		return 0, nil, err
	}
	// The scheme's name is case-sensitive for Prefect.
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.auth)))
	req.Header.Set("Content-Type", "application/json")
	// After a 503 Prefect closes the connection without saying so: never reuse one.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// baseEnv is what any program needs, and nothing of the developer's own settings.
func baseEnv(home string) []string {
	// Flows run from the repository: no __pycache__ there.
	env := []string{"HOME=" + home, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"}
	for _, name := range []string{"PATH", "TMPDIR", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
