package socket

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/test/kongside"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// keysName is the file of the signing keys in Kong's prefix.
const keysName = "kong-prefect-keys.json"

// timeStep is how often a condition is looked at.
const timeStep = 2 * time.Millisecond

// code is the reason code of a refusal.
func (o outcome) code(t *testing.T) string {
	t.Helper()
	var problem struct{ Code string }
	require.NoError(t, json.Unmarshal(o.exit(t).Body, &problem))
	return problem.Code
}

// One request gets 500 with a code, the log the stack, and the others go on.
func TestPanicOfAHandler(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t))
	good, id := dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	for range 3 {
		c, err := kongside.Dial(p.socket)
		require.NoError(t, err)
		o, err := event(c, id, requestOf(issuer.Mint(t, nil), panicPath))
		require.NoError(t, err)
		require.Equal(t, int32(500), o.exit(t).Status)
		require.Equal(t, "plugin_panic", o.code(t))
		require.NotContains(t, o.calls, "kong.service.request.set_headers")
	}
	o, err := event(good, id, requestOf(issuer.Mint(t, nil), "/"))
	require.NoError(t, err)
	require.False(t, o.exited, "the others go on")
	require.True(t, p.lives())
	require.Contains(t, p.logs(), "the test's")
	require.Contains(t, p.logs(), "plugin.(*identity).Access", "the stack")
}

// A handler that hangs is answered for, before Kong's own patience ends.
func TestHandlerThatHangs(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t))
	c, id := dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	o, err := event(c, id, requestOf(issuer.Mint(t, nil), hangPath))
	require.NoError(t, err)
	require.Equal(t, int32(504), o.exit(t).Status)
	require.Equal(t, "plugin_timeout", o.code(t))
	c, id = dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	o, err = event(c, id, requestOf(issuer.Mint(t, nil), "/"))
	require.NoError(t, err)
	require.False(t, o.exited)
}

// An id that this process never gave is answered by closing, before anything
// was asked or told; the process and its other connections go on.
func TestUnknownInstance(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t))
	good, id := dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	for name, unknown := range map[string]int32{"next": id + 1, "none": 0, "negative": -1, "another process's": id + 1<<16} {
		c, err := kongside.Dial(p.socket)
		require.NoError(t, err)
		o, err := event(c, unknown, requestOf("", "/"))
		require.ErrorIs(t, err, io.EOF, name)
		require.Empty(t, o.calls, name)
	}
	_, err := event(good, id, requestOf(issuer.Mint(t, nil), "/"))
	require.NoError(t, err)
}

// Kong's umask is 0: the mode is the process's own care.
func TestSocketIsForKongsUserAndGroup(t *testing.T) {
	t.Parallel()
	p := start(t, prefix(t))
	info, err := os.Stat(p.socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
}

// Run by systemd or as a sidecar: SIGTERM ends the running events first, idle
// connections at once, and leaves the path alone.
func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t))
	idle, _ := dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	busy, id := dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	r := requestOf(issuer.Mint(t, nil), "/")
	told := false
	ended, err := busy.Event(id, func(method string, _ []byte) []byte {
		if !told { // in the middle of the event
			told = true
			p.signal(syscall.SIGTERM)
			_, err := idle.Return()
			require.Error(t, err, "the idle connection is closed")
			require.True(t, p.lives())
		}
		return r[method]
	})
	require.NoError(t, err)
	require.False(t, ended.Exited)
	require.NoError(t, busy.Close())
	require.NoError(t, idle.Close())
	require.Zero(t, p.exit(), "%s", p.logs())
	_, err = os.Stat(p.socket)
	require.NoError(t, err, "never unlinked: it may be the next process's")
}

// An event that never ends holds up nobody's end for longer than --drain.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	p := start(t, prefix(t), "--drain", "100ms")
	c, id := dial(t, p.socket, plugin.IdentityName, identityConfig(t, issuer, 0))
	_, err := c.Event(id, func(string, []byte) []byte {
		p.signal(syscall.SIGTERM)
		p.exit()
		return nil
	})
	require.Error(t, err)
}

// Kong stops by SIGTERM and, 10 to 100 ms later, SIGKILL. What matters is on
// disk: the next process signs with the same keys, continues the audit, and
// finds the path as it needs it.
func TestSIGTERMThenSIGKILL(t *testing.T) {
	t.Parallel()
	issuer := tokentest.New(t, "ES256")
	dir := prefix(t)
	trail := filepath.Join(dir, "audit")
	setting := newSetting(plugin.IdentityName, identityConfig(t, issuer, 0))
	var keys []byte
	for range 4 {
		p := start(t, dir, "--audit", trail)
		l, ctx := newLoad(t)
		for range 4 { // a refusal each, for the record
			l.add(ctx, &worker{socket: p.socket, setting: setting}, requestOf("", "/"), refusedWith(401))
		}
		l.wait(t, 50)
		p.kill()
		l.end() // what it met after the kill is not its fault
		now, err := os.ReadFile(filepath.Join(dir, keysName))
		require.NoError(t, err)
		if keys != nil {
			require.Equal(t, string(keys), string(now))
		}
		keys = now
	}
	p := start(t, dir, "--audit", trail)
	c, id := dial(t, p.socket, plugin.IdentityName, setting.now.Load().text)
	o, err := event(c, id, requestOf("", plugin.KeySetPath))
	require.NoError(t, err)
	published := filepath.Join(dir, "published.json")
	require.NoError(t, os.WriteFile(published, o.exit(t).Body, 0o600))
	out, err := exec.Command(binary, "audit", "verify", trail, "--keys", published).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func refusedWith(status int32) func(outcome) bool {
	return func(o outcome) bool {
		args := new(kong_plugin_protocol.ExitArgs)
		return o.exited && proto.Unmarshal(o.told[kongside.MethodExit], args) == nil && args.Status == status
	}
}

func passed(o outcome) bool { return !o.exited }

// A reload: the next process takes the path while the one before it serves, and
// both live for a time. No request fails.
func TestTwoProcessesOverlapUnderLoad(t *testing.T) {
	t.Parallel()
	const reloads = 5
	// As under systemd: the old process drains while its workers go on asking
	// it. None of its events is done in halves.
	t.Run("the old one drains", func(t *testing.T) {
		t.Parallel()
		g := newGeneration(t)
		l := g.startLoad(t)
		for range reloads {
			l.wait(t, 100)
			old := g.process
			g.process = start(t, g.dir)
			l.waitUntilRepeated(t)
			l.wait(t, 200) // both serve
			old.signal(syscall.SIGTERM)
			require.Zero(t, old.exit(), "%s", old.logs())
		}
		l.wait(t, 200)
		l.end()
		require.Empty(t, l.failures())
		require.Zero(t, l.cut.Load())
	})
	// As Kong does: the old workers end first, and then the old process is
	// killed, drained or not.
	t.Run("the old one is killed", func(t *testing.T) {
		t.Parallel()
		g := newGeneration(t)
		l := g.startLoad(t)
		for range reloads {
			l.wait(t, 100)
			old, oldLoad := g.process, l
			g.process = start(t, g.dir)
			l = g.startLoad(t)
			l.wait(t, 100)
			oldLoad.waitUntilRepeated(t) // both serve the old workers
			oldLoad.end()
			old.kill()
			require.Empty(t, oldLoad.failures())
		}
		l.wait(t, 100)
		l.end()
		require.Empty(t, l.failures())
	})
}

// generation is a process with the configuration and the token of its load.
type generation struct {
	dir     string
	setting *setting
	token   string
	process *process
}

func newGeneration(t *testing.T) *generation {
	issuer := tokentest.New(t, "ES256")
	dir := prefix(t)
	return &generation{dir, newSetting(plugin.IdentityName, identityConfig(t, issuer, 0)), issuer.Mint(t, nil), start(t, dir)}
}

// startLoad has workers that keep their connections, and some whose requests
// are refused: these need a new one each time.
func (g *generation) startLoad(t *testing.T) *load {
	l, ctx := newLoad(t)
	for range 3 {
		l.add(ctx, &worker{socket: g.process.socket, setting: g.setting}, requestOf(g.token, "/"), passed)
		l.add(ctx, &worker{socket: g.process.socket, setting: g.setting}, requestOf("", "/"), refusedWith(401))
	}
	return l
}

// kill ends a process as Kong does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	time.Sleep(10 * time.Millisecond) // Kong takes 10 to 100 ms
	p.signal(syscall.SIGKILL)
	p.exit()
}
