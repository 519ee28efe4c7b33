package prefectclient_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

// beside are two clients of one server: the second shares the first's breaker
// and slots. Requests are sent once, and three failures open the breaker.
func beside(t *testing.T, second func(*prefectclient.Options)) (a, b *prefectclient.Client, s stage, server *prefecttest.Server, seen *recorder) {
	s, server = startFake(t)
	seen = &recorder{}
	o := hasty(s)
	o.MaxAttempts, o.BreakerFailures, o.BreakerOpenFor, o.OnEvent = 1, 3, time.Minute, seen.add
	a = newClient(t, o)
	o.Beside = a
	second(&o)
	return a, newClient(t, o), s, server, seen
}

func TestClientsOfAServerShareItsBreaker(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	t.Run("what one saw spares the other", func(t *testing.T) {
		t.Parallel()
		a, b, s, server, seen := beside(t, func(o *prefectclient.Options) { o.Deadline = 2 * time.Second })
		server.Script(repeated(prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway))[:3]...)
		for _, client := range []*prefectclient.Client{a, b, a} {
			_, err := client.Deployment(ctx, s.first)
			require.Error(t, err)
		}
		_, err := b.Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonUnavailable, prefectclient.ReasonOf(err))
		require.Len(t, server.Requests(), 3, "an open breaker sends nothing")
		require.Equal(t, []string{"open"}, seen.states(), "told once")
		require.Equal(t, a.Stats(), b.Stats())
	})
	for name, wrong := range map[string]prefectclient.Credentials{
		"a wrong credential": prefectclient.AuthString("admin:wrong"),
		"none":               nil,
		"a missing file":     prefectclient.AuthStringFile("/nowhere/auth"),
	} {
		t.Run("one's credential is not the other's trouble: "+name, func(t *testing.T) {
			t.Parallel()
			a, b, s, _, seen := beside(t, func(o *prefectclient.Options) { o.Credentials = wrong })
			for range 20 {
				_, err := b.Deployment(ctx, s.first)
				require.Contains(t, []string{prefectclient.ReasonUnauthorized, prefectclient.ReasonCredentialUnavailable}, prefectclient.ReasonOf(err))
			}
			_, err := a.Deployment(ctx, s.first)
			require.NoError(t, err)
			require.Empty(t, seen.states())
		})
	}
	t.Run("one that has no patience neither opens it nor takes failures back", func(t *testing.T) {
		t.Parallel()
		a, b, s, server, seen := beside(t, func(o *prefectclient.Options) { o.Deadline = 20 * time.Millisecond })
		away, slow := prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway), prefecttest.Fault{Delay: time.Minute}
		server.Script(slow, slow, slow, away, away, slow, away)
		for _, client := range []*prefectclient.Client{b, b, b, a, a, b} {
			_, err := client.Deployment(ctx, s.first)
			require.Error(t, err)
			require.Empty(t, seen.states())
		}
		_, err := a.Deployment(ctx, s.first)
		require.Error(t, err)
		require.Equal(t, []string{"open"}, seen.states())
	})
}

func TestClientsOfAServerShareItsSlots(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limit int // of the second; the first has 2
		want  string
	}{
		"of the same number": {2, prefectclient.ReasonBusy},
		"another number":     {1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, server := startFake(t)
			o := hasty(s)
			o.MaxConcurrent, o.MaxWait, o.AttemptTimeout = 2, 50*time.Millisecond, time.Minute
			a := newClient(t, o)
			o.MaxConcurrent, o.Beside = test.limit, a
			b := newClient(t, o)
			ctx, cancel := context.WithCancel(context.Background())
			server.Script(repeated(prefecttest.Fault{Delay: time.Minute})[:2]...)
			var gone sync.WaitGroup
			for range 2 {
				gone.Go(func() { _, _ = a.Deployment(ctx, s.first) })
			}
			require.Eventually(t, func() bool { return server.Unused() == 0 }, 5*time.Second, time.Millisecond)
			require.Equal(t, 2, b.Stats().Calls)
			_, err := b.Deployment(context.Background(), s.first)
			require.Equal(t, test.want, prefectclient.ReasonOf(err))
			cancel()
			gone.Wait()
			_, err = b.Deployment(context.Background(), s.first)
			require.NoError(t, err)
			require.Zero(t, b.Stats().Calls)
			require.Zero(t, b.Stats().Waiting)
		})
	}
}

func TestBesideIsOfTheSameServer(t *testing.T) {
	t.Parallel()
	a := newClient(t, prefectclient.Options{APIURL: "http://Prefect:80/api/"})
	for address, same := range map[string]bool{
		"http://prefect/api":       true,
		"HTTP://PREFECT/api//":     true,
		"http://prefect:4200/api":  false,
		"https://prefect/api":      false,
		"http://prefect/other/api": false,
	} {
		_, err := prefectclient.New(prefectclient.Options{APIURL: address, Beside: a})
		require.Equal(t, same, err == nil, address)
		require.Equal(t, same, prefectclient.NormalURL(address) == "http://prefect/api", address)
	}
	require.Equal(t, "https://p/api", prefectclient.NormalURL("https://P:443/api"))
	require.Equal(t, "https://[::1]:80/api", prefectclient.NormalURL("https://[::1]:80/api"))
	require.Equal(t, "not one", prefectclient.NormalURL("not one"))
}

func TestAcceptedClient(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	with := func(credentials prefectclient.Credentials) *prefectclient.Client {
		o := hasty(s)
		o.MaxAttempts, o.Credentials = 1, credentials
		return newClient(t, o)
	}
	ask := func(c *prefectclient.Client) { _, _ = c.Route("any").Deployment(ctx, s.first) }
	require.Nil(t, prefectclient.Accepted())

	good, wrong, missing := with(prefectclient.AuthString(authString)), with(nil), with(prefectclient.AuthStringFile("/nowhere/auth"))
	require.Same(t, missing, prefectclient.Accepted(good, wrong, missing), "nothing is known: the newest")
	ask(missing)
	require.Same(t, wrong, prefectclient.Accepted(good, wrong, missing))
	ask(wrong)
	require.Same(t, good, prefectclient.Accepted(good, wrong, missing))
	ask(good)
	newer := with(prefectclient.AuthString(authString))
	require.Same(t, good, prefectclient.Accepted(good, wrong, newer), "which is known to work")
	ask(newer)
	require.Same(t, newer, prefectclient.Accepted(good, wrong, newer))
	server.Script(prefecttest.Fault{Reset: true}, prefecttest.Proxy(prefecttest.AnyRoute, http.StatusBadGateway))
	ask(newer)
	ask(newer)
	require.Same(t, newer, prefectclient.Accepted(good, wrong, newer), "a server that is away says nothing about credentials")

	server.Accept(prefecttest.Options{AuthStrings: []string{"admin:rotated"}})
	turns := []*prefectclient.Client{}
	for range 6 {
		c := prefectclient.Accepted(good, wrong, newer)
		turns = append(turns, c)
		ask(c)
	}
	require.Subset(t, turns, []*prefectclient.Client{good, wrong, newer}, "where none is taken, each has its turn")
}

func TestWatcherTakesTheClientThatIsChosen(t *testing.T) {
	t.Parallel()
	var chosen atomic.Pointer[prefectclient.Client]
	watcher, client, s, server := watching(t, func(o *prefectclient.WatcherOptions) {
		o.PollEveryWithoutEvents, o.Choose = 10*time.Millisecond, chosen.Load
	})
	id := startRun(t, client, s)
	o := hasty(s)
	o.Credentials = prefectclient.AuthString("admin:wrong")
	chosen.Store(newClient(t, o))
	before := len(server.Requests())
	ended := waitFor(watcher, id)
	require.Eventually(t, func() bool { return len(server.Requests()) > before }, 5*time.Second, time.Millisecond)
	server.SetState(id, "COMPLETED", "Completed")
	chosen.Store(client)
	require.Equal(t, "COMPLETED", within(t, 5*time.Second, ended).State.Type)
}
