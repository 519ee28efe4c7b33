package ownport

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOnlyThisMachine(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:1", ":1", "192.0.2.1:1", "example.com:1", "127.0.0.1", "[::]:1", ""} {
		_, err := New(address, slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, ErrAddress, address)
	}
	for _, address := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1"} {
		_, err := New(address, slog.New(slog.DiscardHandler))
		require.NoError(t, err, address)
	}
}

// At a reload the new process comes while the old one has the address.
func TestServesWhenTheAddressIsFree(t *testing.T) {
	t.Parallel()
	old, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	address := old.Addr().String()
	port, err := New(address, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	port.Handle(KeySetPath, KeySet(func() []byte { return []byte(`{"keys":[]}`) }, "application/jwk-set+json", 600))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- port.Serve(ctx) }()
	require.NoError(t, old.Close())

	url := "http://" + address + "/.well-known/jwks.json"
	var answer *http.Response
	require.Eventually(t, func() bool {
		answer, err = http.Get(url)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, `{"keys":[]}`, string(body))
	require.Equal(t, "application/jwk-set+json", answer.Header.Get("Content-Type"))
	require.Equal(t, "public, max-age=600", answer.Header.Get("Cache-Control"))

	answer, err = http.Post(url, "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)

	cancel()
	require.NoError(t, <-ended)
	_, err = http.Get(url)
	require.Error(t, err)
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port, err := New(taken.Addr().String(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, port.Serve(ctx))
}
