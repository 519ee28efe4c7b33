package prefectclient_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	// Replaced as a whole, as Kubernetes and careful editors do.
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestCredentialFile(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	start := func(t *testing.T, text string) (*prefectclient.Client, stage, *prefecttest.Server, string) {
		s, server := startFake(t)
		path := filepath.Join(t.TempDir(), "secret")
		if text != "" {
			write(t, path, text)
		}
		o := hasty(s)
		o.Credentials = prefectclient.AuthStringFile(path)
		return newClient(t, o), s, server, path
	}
	t.Run("a new secret is taken without restart", func(t *testing.T) {
		t.Parallel()
		client, s, server, path := start(t, authString+"\n")
		_, err := client.Deployment(ctx, s.first)
		require.NoError(t, err)
		server.Accept(prefecttest.Options{AuthStrings: []string{"admin:other2"}})
		write(t, path, "admin:other2\r\n")
		_, err = client.Deployment(ctx, s.first)
		require.NoError(t, err)
	})
	t.Run("a change that the file's size and time hide is found after a 401", func(t *testing.T) {
		t.Parallel()
		client, s, server, path := start(t, authString)
		_, err := client.Deployment(ctx, s.first)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		write(t, path, "admin:SECRET")
		require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		server.Accept(prefecttest.Options{AuthStrings: []string{"admin:SECRET"}})
		_, err = client.Deployment(ctx, s.first)
		require.NoError(t, err)
	})
	t.Run("a file that is missing at first heals", func(t *testing.T) {
		t.Parallel()
		client, s, server, path := start(t, "")
		_, _, err := client.CreateFlowRun(ctx, s.first, newRun())
		require.Equal(t, prefectclient.ReasonCredentialUnavailable, prefectclient.ReasonOf(err))
		require.ErrorIs(t, err, os.ErrNotExist)
		require.Empty(t, server.Requests(), "nothing goes out without the credential")
		write(t, path, authString)
		_, _, err = client.CreateFlowRun(ctx, s.first, newRun())
		require.NoError(t, err)
	})
	for name, text := range map[string]string{
		"empty": " \n"[1:], "three secrets": "a\nb\nc\n", "a control character": "a\x01b",
		"too large": string(bytes.Repeat([]byte("a"), 70<<10)),
	} {
		t.Run("the last good secret outlives a file that is bad: "+name, func(t *testing.T) {
			t.Parallel()
			client, s, _, path := start(t, authString)
			_, err := client.Deployment(ctx, s.first)
			require.NoError(t, err)
			write(t, path, text)
			_, err = client.Deployment(ctx, s.first)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			_, err = client.Deployment(ctx, s.first)
			require.NoError(t, err)
		})
		t.Run("a file that is bad from the start: "+name, func(t *testing.T) {
			t.Parallel()
			client, s, server, _ := start(t, text)
			_, err := client.Deployment(ctx, s.first)
			require.Equal(t, prefectclient.ReasonCredentialUnavailable, prefectclient.ReasonOf(err))
			require.Empty(t, server.Requests())
		})
	}
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		s, _ := startFake(t)
		o := hasty(s)
		o.Credentials = prefectclient.APIKeyFile(t.TempDir())
		_, err := newClient(t, o).Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonCredentialUnavailable, prefectclient.ReasonOf(err))
	})
}

func TestTwoSecretsDuringARotation(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	var seen recorder
	o := hasty(s)
	o.Credentials, o.OnEvent = prefectclient.AuthString("admin:new", authString), seen.add
	client := newClient(t, o)
	ask := func() int {
		before := len(server.Requests())
		_, _, err := client.CreateFlowRun(ctx, s.first, newRun())
		require.NoError(t, err)
		return len(server.Requests()) - before
	}
	require.Equal(t, 2, ask(), "the new one is refused, the old one is taken")
	require.Equal(t, 1, ask(), "and used from then on")
	server.Accept(prefecttest.Options{AuthStrings: []string{"admin:new"}})
	require.Equal(t, 2, ask())
	require.Equal(t, 1, ask())

	server.Accept(prefecttest.Options{AuthStrings: []string{"admin:third"}})
	before := len(server.Requests())
	_, _, err := client.CreateFlowRun(ctx, s.first, newRun())
	require.Equal(t, prefectclient.ReasonUnauthorized, prefectclient.ReasonOf(err))
	require.Len(t, server.Requests(), before+2, "switched once, not for ever")
	var switches int
	for _, e := range seen.events {
		if e.Kind == prefectclient.EventCredentialSwitched {
			switches++
		}
	}
	require.Equal(t, 3, switches)
}

// Many callers see the same 401; they must not switch it back and forth.
// Who passes requests on doesn't learn that the server refused one.
func TestWhichOfTwoSecretsIsPassedOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	o := hasty(s)
	o.Credentials = prefectclient.AuthString("admin:old", authString)
	client := newClient(t, o).Route("guard")
	passedOn := func() string {
		value, err := client.Authorization(ctx)
		require.NoError(t, err)
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(value, "Basic "))
		require.NoError(t, err)
		return string(secret)
	}
	// At once, unless the machine is too busy for the server's answer.
	require.Eventually(t, func() bool { return passedOn() == authString }, 20*time.Second, 10*time.Millisecond, "the server takes the second one")
	asked := len(server.Requests())
	for range 20 {
		passedOn()
	}
	require.Less(t, len(server.Requests()), asked+20, "it isn't asked for every request")
	server.Accept(prefecttest.Options{AuthStrings: []string{"admin:old"}})
	require.Eventually(t, func() bool { return passedOn() == "admin:old" }, 20*time.Second, 10*time.Millisecond)

	server.Script(prefecttest.Fault{Delay: time.Minute})
	require.Eventually(t, func() bool { return passedOn() == "admin:old" && server.Unused() == 0 }, 20*time.Second, 10*time.Millisecond,
		"a server that doesn't answer holds nobody up for long")

	o.Credentials = prefectclient.AuthString(authString)
	asked = len(server.Requests())
	_, err := newClient(t, o).Authorization(ctx)
	require.NoError(t, err)
	require.Len(t, server.Requests(), asked, "there is nothing to choose")
}

func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	o := hasty(s)
	o.Credentials = prefectclient.AuthString(authString, "admin:new")
	o.AttemptTimeout, o.Deadline = 10*time.Second, 20*time.Second
	var switches atomic.Int64
	o.OnEvent = func(e prefectclient.Event) {
		if e.Kind == prefectclient.EventCredentialSwitched {
			switches.Add(1)
		}
	}
	client := newClient(t, o)
	var failed atomic.Int64
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for j := range 20 {
				if i == 0 && j == 10 {
					server.Accept(prefecttest.Options{AuthStrings: []string{"admin:new"}})
				}
				if _, _, err := client.CreateFlowRun(context.Background(), s.first, newRun()); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	callers.Wait()
	require.Zero(t, failed.Load())
	require.EqualValues(t, 1, switches.Load(), "told once, however many were refused")
	require.Len(t, server.Runs(), 320)
}

// provider is the token endpoint of an identity provider.
type provider struct {
	*httptest.Server
	asked atomic.Int64
	away  atomic.Bool
	life  int // seconds
}

func startProvider(t *testing.T, life int) *provider {
	p := &provider{life: life}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if p.away.Load() || id != "svc" || secret != "pa55" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"geheim"}`))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token-%d", p.asked.Add(1)), "token_type": "bearer", "expires_in": p.life})
	}))
	t.Cleanup(p.Close)
	return p
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	start := func(t *testing.T, life int, secret string) (*prefectclient.Client, stage, *prefecttest.Server, *provider) {
		s, server := startFake(t)
		p := startProvider(t, life)
		server.Accept(prefecttest.Options{APIKeys: []string{"token-1", "token-2"}})
		path := filepath.Join(t.TempDir(), "secret")
		write(t, path, secret+"\n")
		o := hasty(s)
		o.Credentials = prefectclient.ClientCredentials(prefectclient.OAuthOptions{
			TokenURL: p.URL, ClientID: "svc", ClientSecretFile: path, Audience: "prefect", Scopes: []string{"runs"},
		})
		return newClient(t, o), s, server, p
	}
	t.Run("one token for all callers", func(t *testing.T) {
		t.Parallel()
		client, s, _, p := start(t, 3600, "pa55")
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() { _, _ = client.Deployment(ctx, s.first) })
		}
		callers.Wait()
		_, err := client.Deployment(ctx, s.first)
		require.NoError(t, err)
		require.EqualValues(t, 1, p.asked.Load())
	})
	t.Run("replaced before it ends", func(t *testing.T) {
		t.Parallel()
		client, s, _, p := start(t, 2, "pa55")
		require.Eventually(t, func() bool {
			_, err := client.Deployment(ctx, s.first)
			return err == nil && p.asked.Load() == 2
		}, 5*time.Second, 20*time.Millisecond)
	})
	t.Run("a provider that is away does not matter while the token lives", func(t *testing.T) {
		t.Parallel()
		client, s, _, p := start(t, 3600, "pa55")
		_, err := client.Deployment(ctx, s.first)
		require.NoError(t, err)
		p.away.Store(true)
		_, err = client.Deployment(ctx, s.first)
		require.NoError(t, err)
	})
	t.Run("refused by the provider", func(t *testing.T) {
		t.Parallel()
		client, s, server, _ := start(t, 3600, "wr0ng")
		_, err := client.Deployment(ctx, s.first)
		require.Equal(t, prefectclient.ReasonCredentialUnavailable, prefectclient.ReasonOf(err))
		require.ErrorContains(t, err, "invalid_client")
		require.NotContains(t, err.Error(), "geheim")
		require.NotContains(t, err.Error(), "wr0ng")
		require.Empty(t, server.Requests())
	})
	t.Run("a server that refuses every token causes no storm", func(t *testing.T) {
		t.Parallel()
		client, s, server, p := start(t, 3600, "pa55")
		server.Accept(prefecttest.Options{APIKeys: []string{"none"}})
		for range 10 {
			_, err := client.Deployment(ctx, s.first)
			require.Equal(t, prefectclient.ReasonUnauthorized, prefectclient.ReasonOf(err))
		}
		require.EqualValues(t, 1, p.asked.Load())
	})
}

// No way of printing or logging shows a secret.
func TestNoSecretInPrint(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "s"), "geheim")
	for name, build := range map[string]func() prefectclient.Credentials{
		"auth string": func() prefectclient.Credentials { return prefectclient.AuthString("geheim") },
		"api key":     func() prefectclient.Credentials { return prefectclient.APIKey("geheim") },
		"file":        func() prefectclient.Credentials { return prefectclient.AuthStringFile(filepath.Join(dir, "s")) },
		"oauth": func() prefectclient.Credentials {
			return prefectclient.ClientCredentials(prefectclient.OAuthOptions{TokenURL: s.url, ClientID: "a", ClientSecret: "geheim"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			credentials := build()
			var log bytes.Buffer
			logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			o := hasty(s)
			o.Credentials, o.Logger = credentials, logger
			client := newClient(t, o)
			_, err := client.Deployment(context.Background(), s.first)
			require.Error(t, err)
			text := slog.New(slog.NewTextHandler(&log, nil))
			for _, l := range []*slog.Logger{logger, text} {
				l.Info("all", "credentials", credentials, "options", o, "client", client, "error", err)
			}
			asJSON, _ := json.Marshal(credentials)
			// In a private field fmt walks through everything, past Format.
			hidden := struct{ deep any }{struct{ c prefectclient.Credentials }{build()}}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
				fmt.Fprintf(&log, strings.Repeat(verb, 5)+"\n", credentials, o, client, hidden, err)
			}
			log.Write(asJSON)
			for _, secret := range []string{"geheim", "Z2VoZWlt", fmt.Sprintf("%x", "geheim")} {
				require.False(t, strings.Contains(log.String(), secret), "a secret was printed")
			}
		})
	}
}

type brokenCredentials struct{}

func (brokenCredentials) Authorization(context.Context) (string, error) {
	return "", errors.New("vault sealed")
}
func (brokenCredentials) Rejected(context.Context, string) bool { return true }

// A caller's own implementation is asked once in each call.
func TestOwnCredentials(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	o := hasty(s)
	o.Credentials = brokenCredentials{}
	_, err := newClient(t, o).Deployment(context.Background(), s.first)
	require.Equal(t, prefectclient.ReasonCredentialUnavailable, prefectclient.ReasonOf(err))
	require.Empty(t, server.Requests())
}
