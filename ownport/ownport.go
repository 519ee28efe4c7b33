// Package ownport is the process's own HTTP server, on this machine alone: the
// key set for flows and auditors, and what other packages add to it.
//
// It refuses to listen on an address that other machines can reach: what is
// to be published beyond this machine goes through Kong, as everything else.
//
// Read [New] first.
package ownport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// retryEvery is how often a taken address is tried again: at a reload
	// Kong runs two processes for some seconds, and the old one has it.
	retryEvery   = 250 * time.Millisecond
	closeTimeout = 2 * time.Second
)

// ErrAddress says that the address can't be used.
var ErrAddress = errors.New("own port")

// Server is the HTTP server. Add what it serves with [Server.Handle] before
// [Server.Serve].
type Server struct {
	address string
	log     *slog.Logger
	mux     *http.ServeMux
}

// New checks an address like 127.0.0.1:8710, or [::1]:8710.
func New(address string, log *slog.Logger) (*Server, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w: %q is not this machine alone; use 127.0.0.1:%s", ErrAddress, address, port)
	}
	return &Server{address: address, log: log, mux: http.NewServeMux()}, nil
}

// Handle adds a handler, by a pattern of [http.ServeMux].
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Serve serves until ctx ends. While the address is taken it waits: nothing
// that matters for a request depends on this port.
func (s *Server) Serve(ctx context.Context) error {
	listener := s.listen(ctx)
	if listener == nil {
		return nil
	}
	server := &http.Server{
		Handler: s.mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("%w: %w", ErrAddress, err)
	case <-ctx.Done():
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if server.Shutdown(closing) != nil {
			_ = server.Close()
		}
		<-served
		return nil
	}
}

// listen waits for the address; it gives nil when ctx ends first.
func (s *Server) listen(ctx context.Context) net.Listener {
	var config net.ListenConfig
	told := false
	for {
		listener, err := config.Listen(ctx, "tcp", s.address)
		if err == nil {
			s.log.Info("own port", "address", listener.Addr().String())
			return listener
		}
		if !told && ctx.Err() == nil {
			s.log.Warn("the own port is taken; trying again until it is free", "address", s.address, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryEvery):
		}
	}
}

// KeySetPath is where the key set is served.
const KeySetPath = "GET /.well-known/jwks.json"

// KeySet serves a published key set; jwks is asked at every request.
func KeySet(jwks func() []byte, mediaType string, cacheSeconds int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", cacheSeconds))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(jwks())
	})
}
