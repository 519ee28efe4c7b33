package stack_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

// refusing needs no provider: whoever brings no token is refused before one is asked.
const refusing = `_format_version: "3.0"
plugins:
- name: prefect-identity
  config:
    issuers:
    - {issuer: "https://idp.invalid", audiences: [kong-prefect]}
services:
- name: none
  host: upstream.invalid
  routes:
  - {name: all, paths: [/]}
`

// gatewayOf has two workers.
func gatewayOf(t *testing.T, kongYML string) *stack.Gateway {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, stack.BuildBinaries(t.Context(), "../..", dir))
	config := filepath.Join(dir, "kong.yml")
	require.NoError(t, os.WriteFile(config, []byte(kongYML), 0o600))
	gateway, err := stack.StartGateway(t.Context(), stack.GatewayOptions{
		Binaries: dir, Config: config, Workers: 2, Admin: true,
	})
	require.NoError(t, err)
	t.Cleanup(gateway.Stop)
	return gateway
}

// load keeps asking a gateway, each time on a connection of its own: one that is kept alive may be closed by the gateway
// at any time, and a client then sends its request again.
type load struct {
	answered atomic.Int64
	wrong    sync.Map
	stop     func()
	clients  sync.WaitGroup
}

func startLoad(t *testing.T, url string) *load {
	ctx, stop := context.WithCancel(t.Context()) // the test's end is the load's
	l := &load{stop: stop}
	for range 4 {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if what := ask(url); what != "401 Unauthorized" {
					l.wrong.Store(what, true)
				}
				l.answered.Add(1)
			}
		})
	}
	return l
}

func ask(url string) string {
	req, err := http.NewRequest(http.MethodGet, url+"/x", nil)
	if err != nil {
		return err.Error()
	}
	req.Close = true
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close() //nolint:errcheck // not read
	return resp.Status
}

// wait returns when n more requests are answered.
func (l *load) wait(t *testing.T, n int64) {
	t.Helper()
	from := l.answered.Load()
	require.Eventually(t, func() bool { return l.answered.Load() >= from+n }, 30*time.Second, 10*time.Millisecond)
}

// end stops the load and gives every answer that was not the right one.
func (l *load) end() (wrong []string) {
	l.stop()
	l.clients.Wait()
	l.wrong.Range(func(what, _ any) bool {
		wrong = append(wrong, what.(string))
		return true
	})
	return wrong
}

// noteworthy is a log without the lines that every request leaves.
func noteworthy(log string) string {
	var lines strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "code=token_missing") {
			lines.WriteString(line)
		}
	}
	return stack.Tail(lines.String())
}

// A reload starts a new plugin server beside the old one, on the same path; the same configuration posted again replaces
// every instance. Requests that run meanwhile notice neither.
func TestReconfigurationLosesNoRequest(t *testing.T) {
	t.Parallel()
	gateway := gatewayOf(t, refusing)
	for name, reconfigure := range map[string]func(t *testing.T){
		"reload": func(t *testing.T) {
			require.NoError(t, gateway.Reload(t.Context()))
		},
		"POST /config": func(t *testing.T) {
			// Kong's workers of before a reload answer 503 while they end, and any worker 429 while another one loads.
			require.Eventually(t, func() bool {
				resp, err := http.Post(gateway.AdminURL()+"/config", "text/yaml", strings.NewReader(refusing))
				return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusCreated
			}, 30*time.Second, 20*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLoad(t, gateway.URL())
			for range 3 {
				l.wait(t, 50)
				reconfigure(t)
				l.wait(t, 150)
			}
			require.Empty(t, l.end(), "%s", noteworthy(gateway.Logs()))
		})
	}
	require.NotContains(t, gateway.Logs(), "WARNING: DATA RACE")
}

// A plugin whose process is dead must refuse: kong#8508. An upstream that needs a caller is never reached without one,
// however often the process is killed.
func TestNothingPassesWhileThePluginServerIsDead(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer upstream.Close()
	gateway := gatewayOf(t, strings.Replace(refusing, "host: upstream.invalid", "url: "+upstream.URL, 1))
	l := startLoad(t, gateway.URL())
	for range 2 {
		l.wait(t, 50)
		killed, err := gateway.PluginPID()
		require.NoError(t, err)
		require.NoError(t, gateway.KillPlugin())
		l.wait(t, 20)
		require.Eventually(t, func() bool { // Kong starts another one
			pid, err := gateway.PluginPID()
			return err == nil && pid != killed
		}, 30*time.Second, 10*time.Millisecond)
	}
	for _, what := range l.end() {
		require.Equal(t, "500 Internal Server Error", what)
	}
	require.Zero(t, reached.Load())
	require.Eventually(t, func() bool { return ask(gateway.URL()) == "401 Unauthorized" }, 30*time.Second, 10*time.Millisecond, "it answers again")
}
