// Package provider is a real OpenID provider for the tests and the demo: zitadel/oidc's, over HTTP on 127.0.0.1, with
// accounts of our own and JWT access tokens as RFC 9068 describes them.
//
// It refuses to hand out a token without its own flow: service accounts get theirs by client credentials, people by
// authorization code with PKCE through a login form. What an attacker would make instead is called what it is: [Forgery].
//
// Read [New], then [Provider.ServiceToken] and [Provider.PersonToken].
package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// Options says who has an account and what their tokens hold.
type Options struct {
	// Audience is put into every access token that the account has no own audience for. Required.
	Audience []string
	// Services are the accounts that get tokens by client credentials.
	Services []Service
	// People are the accounts that log in.
	People []Person
	// TokenLifetime of access tokens. Default: 10 minutes.
	TokenLifetime time.Duration
}

// Provider is the running provider.
type Provider struct {
	addr    string
	issuer  string
	storage *storage
	handler http.Handler

	mu     sync.Mutex
	server *http.Server  // nil while stopped
	served chan struct{} // closed when the port is

	issuedMu sync.Mutex
	issued   []string // tokens
}

// New starts a provider on a free port of 127.0.0.1.
func New(opts Options) (*Provider, error) {
	if len(opts.Audience) == 0 {
		return nil, errors.New("provider: an audience is required")
	}
	if opts.TokenLifetime == 0 {
		opts.TokenLifetime = 10 * time.Minute
	}
	storage, err := newStorage(opts)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	p := &Provider{addr: addr, issuer: "http://" + addr, storage: storage}
	if p.handler, err = p.routes(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p.serve(listener)
	return p, nil
}

// routes puts the login form beside zitadel's endpoints.
func (p *Provider) routes() (http.Handler, error) {
	config := &op.Config{
		CodeMethodS256: true,
		AuthMethodPost: true,
		CryptoKey:      newSecret(), CryptoKeyId: "opaque", // encrypts opaque tokens
	}
	openID, err := op.NewProvider(config, p.storage, op.StaticIssuer(p.issuer), op.WithAllowInsecure())
	if err != nil {
		return nil, err
	}
	login := loginForm{storage: p.storage, callback: op.AuthCallbackURL(openID)}
	issuer := op.NewIssuerInterceptor(openID.IssuerFromRequest)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+loginPath, login.show)
	mux.HandleFunc("POST "+loginPath, issuer.HandlerFunc(login.check))
	mux.Handle("/", p.remember(openID))
	return mux, nil
}

func (p *Provider) serve(listener net.Listener) {
	server := &http.Server{
		Handler:           p.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	served := make(chan struct{})
	p.mu.Lock()
	p.server, p.served = server, served
	p.mu.Unlock()
	go func() { // ends with Stop
		defer close(served)
		_ = server.Serve(listener)
	}()
}

// Issuer is the provider's issuer identifier and address.
func (p *Provider) Issuer() string { return p.issuer }

// Stop closes the port and every connection. Keys and accounts stay, for Resume.
func (p *Provider) Stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		_ = p.server.Close()
		<-p.served
		p.server = nil
	}
}

// Resume opens the same port again after Stop.
func (p *Provider) Resume(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp4", p.addr)
	if err != nil {
		return fmt.Errorf("provider: back on %s: %w", p.addr, err)
	}
	p.serve(listener)
	return nil
}
