package guard_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

func venv() string { return stack.VenvFromEnv("../../build/venv") }

// python runs router.py with the Prefect that is installed.
func python(t testing.TB, args ...string) *exec.Cmd {
	path, err := filepath.Abs(filepath.Join(venv(), "bin", "python"))
	require.NoError(t, err)
	cmd := exec.Command(path, append([]string{"router.py"}, args...)...)
	cmd.Env = append(os.Environ(), "PREFECT_HOME="+t.TempDir(), "PREFECT_SERVER_ANALYTICS_ENABLED=false", "DO_NOT_TRACK=1", "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// tableOf are the routes of the table as "METHOD PATH".
func tableOf() []string {
	var list []string
	for _, r := range guard.Routes() {
		list = append(list, r.Method+" "+r.Path)
	}
	slices.Sort(list)
	return list
}

// notAnAPI are routes that FastAPI adds to describe the others. They stay refused.
var notAnAPI = []string{"/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc"}

// A route that Prefect adds, drops or changes the form of must be seen here: until somebody has thought about it, the
// guard refuses it.
func TestTableIsPrefectsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Prefect")
	}
	out, err := python(t, "routes").Output()
	require.NoError(t, err)
	var theirs []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if _, path, _ := strings.Cut(line, " "); !slices.Contains(notAnAPI, path) {
			theirs = append(theirs, line)
		}
	}
	slices.Sort(theirs)
	require.Equal(t, theirs, tableOf())
}

// prefectRouter is Prefect's own router, with uvicorn's decoding before it.
type prefectRouter struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Scanner
}

func newPrefectRouter(t testing.TB) *prefectRouter {
	if testing.Short() {
		t.Skip("needs Prefect")
	}
	cmd := python(t)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	r := &prefectRouter{in: in, out: bufio.NewScanner(out)}
	require.True(t, r.out.Scan())
	require.Equal(t, "ready", r.out.Text())
	return r
}

func (r *prefectRouter) route(t testing.TB, method, target string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(r.in, "%s %s\n", method, target)
	require.NoError(t, err)
	require.True(t, r.out.Scan(), "%s %q", method, target)
	return r.out.Text()
}

// ours is what the guard makes of the same line.
func ours(method, target string) string {
	path, err := url.PathUnescape(target)
	if err != nil {
		return "-"
	}
	below, ok := strings.CutPrefix(path, "/api")
	if !ok {
		return "-"
	}
	r, _, ok := guard.Match(method, below)
	if !ok {
		return "-"
	}
	return r.Method + " " + r.Path
}

// requireSame: what the guard takes for a route is that route for Prefect, and what Prefect would route the guard
// knows, but for control characters and broken escapes, which it refuses.
func requireSame(t *testing.T, r *prefectRouter, method, target string) {
	want, got := r.route(t, method, target), ours(method, target)
	if got == "-" && want != "-" {
		path, err := url.PathUnescape(target)
		odd := err != nil || strings.ToValidUTF8(path, "") != path || strings.ContainsFunc(path, func(c rune) bool {
			return c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029
		})
		require.True(t, odd || slices.ContainsFunc(notAnAPI, func(p string) bool { return strings.HasSuffix(want, p) }),
			"Prefect routes %s %q to %s, the guard to none", method, target, want)
		return
	}
	require.Equal(t, want, got, "%s %q", method, target)
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, guard.Websocket}

var example = strings.NewReplacer(":uuid", "", "{id}", "0f3c1f5a-9d2b-4b1e-8a77-0d4c0b1f2e3d", "{schedule_id}", "0f3c1f5a9d2b4b1e8a770d4c0b1f2e3d")

var pieces = []string{
	"/", "//", "%2f", "%2F", "%252f", "%61", "a", "A", ".", "..", "/..", "/.", "..;", ";x", "%00", "%0a", "%0d%0a", "%20", "?", "%3f", "%23", "%",
	"%zz", "%c3%a9", "é", "%ff", "\\", "filter", "name", "queues", "/api", "api/", "0f3c1f5a-9d2b-4b1e-8a77-0d4c0b1f2e3d", "{id}", "-", "+", "%2b", "~", "*", "%e2%80%a8",
}

func mutate(rnd *rand.Rand, target string) string {
	for range rnd.IntN(3) {
		at := rnd.IntN(len(target) + 1)
		switch rnd.IntN(4) {
		case 0:
			target = target[:at] + pieces[rnd.IntN(len(pieces))] + target[at:]
		case 1:
			end := at + rnd.IntN(len(target)-at+1)
			target = target[:at] + target[end:]
		case 2:
			if at < len(target) {
				target = target[:at] + fmt.Sprintf("%%%02x", target[at]) + target[at+1:]
			}
		case 3:
			target = target[:at] + strings.ToUpper(target[at:])
		}
	}
	return strings.ReplaceAll(target, "\n", "")
}

// TestMatchingIsPrefects throws thousands of crooked paths, made of the real ones, at both.
func TestMatchingIsPrefects(t *testing.T) {
	router := newPrefectRouter(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	list := guard.Routes()
	for _, r := range list {
		requireSame(t, router, r.Method, "/api"+example.Replace(r.Path))
	}
	matched := 0
	for range 8_000 {
		r := list[rnd.IntN(len(list))]
		method := r.Method
		if rnd.IntN(4) == 0 {
			method = methods[rnd.IntN(len(methods))]
		}
		target := mutate(rnd, "/api"+example.Replace(r.Path))
		requireSame(t, router, method, target)
		if ours(method, target) != "-" {
			matched++
		}
	}
	t.Logf("of 8000 paths %d are a route", matched)
	require.Greater(t, matched, 1000)
}

// FuzzMatch is the same for whatever the fuzzer finds.
func FuzzMatch(f *testing.F) {
	router := newPrefectRouter(f)
	for _, r := range guard.Routes() {
		f.Add(r.Method, "/api"+example.Replace(r.Path))
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		if !slices.Contains(methods, method) || strings.ContainsFunc(target, func(c rune) bool { return c <= 0x20 || c > 0x7e }) {
			t.Skip("no request line holds that")
		}
		requireSame(t, router, method, target)
	})
}
