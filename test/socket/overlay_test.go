package socket

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	repository = "../.."
	// panicPath makes prefect-identity panic, hangPath makes it hang, whatever
	// its context says.
	panicPath = "/test-panic"
	hangPath  = "/test-hang"
	// inspectVariable names a socket on which the binary tells how it is.
	inspectVariable = "KONG_PREFECT_TEST_INSPECT"
	// eventTimeout stands in for the 50 s after which a handler is answered for. It is far longer than any handler takes
	// that doesn't hang, on a busy machine and with the race detector too.
	eventTimeout = "10 * time.Second"
)

// changes are made to the binary's source, by file: what is there, and what
// takes its place. Each must be there exactly once.
var changes = map[string][2]string{
	"plugin/identity.go": {
		"func (h *identity) Access(ctx context.Context, e *pluginserver.Event) {\n",
		"func (h *identity) Access(ctx context.Context, e *pluginserver.Event) {\n" +
			"\tswitch path, _ := e.Path(ctx); path {\n\tcase \"" + panicPath + "\":\n\t\tpanic(\"the test's\")\n\tcase \"" + hangPath + "\":\n\t\tselect {}\n\t}\n",
	},
	// Kong waits 60 s.
	"pluginserver/server.go": {"o.EventTimeout = 50 * time.Second\n", "o.EventTimeout = " + eventTimeout + "\n"},
}

// inspection is what the binary tells of itself.
type inspection struct {
	Goroutines int
	HeapBytes  uint64 // in use, after a collection
}

// inspector is a file more in package main.
const inspector = `package main

import (
	"encoding/json"
	"net"
	"os"
	"runtime"
)

func init() {
	path := os.Getenv("` + inspectVariable + `")
	if path == "" {
		return
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			for range 3 { // finalizers and cleanups run after the first
				runtime.GC()
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			_ = json.NewEncoder(conn).Encode(map[string]any{"Goroutines": runtime.NumGoroutine(), "HeapBytes": m.HeapAlloc})
			_ = conn.Close()
		}
	}()
}
`

// buildBinary builds kong-prefect with the changes, and with the race detector.
func buildBinary(dir string) (path string, err error) {
	replaced := map[string]string{}
	put := func(file, text string) error {
		target, err := filepath.Abs(filepath.Join(repository, file))
		if err != nil {
			return err
		}
		replaced[target] = filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		return os.WriteFile(replaced[target], []byte(text), 0o600)
	}
	for file, change := range changes {
		source, err := os.ReadFile(filepath.Join(repository, file))
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(source), change[0]); n != 1 {
			return "", fmt.Errorf("%s holds %q %d times: say in this test where it is now", file, change[0], n)
		}
		if err := put(file, strings.Replace(string(source), change[0], change[1], 1)); err != nil {
			return "", err
		}
	}
	if err := put("cmd/kong-prefect/inspect.go", inspector); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "kong-prefect")
	cmd := exec.Command("go", "build", "-race", "-trimpath", "-overlay", overlay, "-o", path, "./cmd/kong-prefect")
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return path, nil
}
