package provider

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// errNotFound is told to zitadel's provider, which answers as the protocol wants.
var errNotFound = errors.New("not found")

// storage is what zitadel's provider keeps its state in: accounts, keys, logins under way.
type storage struct {
	audience []string
	lifetime time.Duration
	services map[string]Service
	people   []Person

	mu       sync.Mutex
	keys     []signingKey // the first one signs
	requests map[string]*authRequest
	codes    map[string]string // authorization code to request id
	opaque   map[string]opaqueToken
}

var (
	_ op.Storage                        = (*storage)(nil)
	_ op.ClientCredentialsStorage       = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest      = (*storage)(nil)
	_ op.CanGetPrivateClaimsFromRequest = (*storage)(nil)
)

func newStorage(opts Options) (*storage, error) {
	key, err := newSigningKey()
	if err != nil {
		return nil, err
	}
	s := &storage{
		audience: opts.Audience,
		lifetime: opts.TokenLifetime,
		services: map[string]Service{},
		people:   opts.People,
		keys:     []signingKey{key},
		requests: map[string]*authRequest{},
		codes:    map[string]string{},
		opaque:   map[string]opaqueToken{},
	}
	for _, service := range opts.Services {
		s.services[service.ID] = service
	}
	return s, nil
}

// Clients.

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id == PeopleClient {
		return client{id: id}, nil
	}
	if service, ok := s.services[id]; ok {
		return client{id: id, service: &service}, nil
	}
	return nil, errNotFound
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	service, ok := s.services[id]
	if !ok || subtle.ConstantTimeCompare([]byte(service.Secret), []byte(secret)) != 1 {
		return errNotFound
	}
	return nil
}

func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

func (s *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	service, ok := s.services[id]
	if !ok {
		return nil, errNotFound
	}
	return &serviceRequest{service: service, audience: s.audienceOf(service), scopes: scopes}, nil
}

func (s *storage) audienceOf(service Service) []string {
	if len(service.Audience) > 0 {
		return service.Audience
	}
	return s.audience
}

// serviceRequest is a client credentials request that was accepted.
type serviceRequest struct {
	service  Service
	audience []string
	scopes   []string
}

func (r *serviceRequest) GetSubject() string    { return r.service.ID }
func (r *serviceRequest) GetAudience() []string { return r.audience }
func (r *serviceRequest) GetScopes() []string   { return r.scopes }

// What tokens hold.

func (s *storage) CreateAccessToken(_ context.Context, request op.TokenRequest) (string, time.Time, error) {
	id, expiry := uuid.NewString(), time.Now().Add(s.lifetime)
	if r, ok := request.(*serviceRequest); ok && r.service.Opaque {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opaque[id] = opaqueToken{serviceRequest: r, expiry: expiry}
	}
	return id, expiry, nil
}

// GetPrivateClaimsFromRequest gives the claims of an access token beside the registered ones.
func (s *storage) GetPrivateClaimsFromRequest(_ context.Context, request op.TokenRequest, _ []string) (map[string]any, error) {
	claims := map[string]any{}
	if scopes := request.GetScopes(); len(scopes) > 0 {
		claims["scope"] = strings.Join(scopes, " ")
	}
	switch request := request.(type) {
	case *serviceRequest:
		claims["azp"] = request.service.ID
		for name, value := range request.service.Claims {
			claims[name] = value
		}
	case *authRequest:
		claims["azp"] = request.GetClientID()
		person, ok := s.person(request.GetSubject())
		if !ok {
			return nil, errNotFound
		}
		for name, value := range person.claims() {
			claims[name] = value
		}
	}
	return claims, nil
}

// SetUserinfoFromRequest fills an ID token.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, request op.IDTokenRequest, _ []string) error {
	return s.fill(info, request.GetSubject())
}

// SetUserinfoFromToken fills the userinfo endpoint's answer.
func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, _, subject, _ string) error {
	return s.fill(info, subject)
}

func (s *storage) fill(info *oidc.UserInfo, subject string) error {
	person, ok := s.person(subject)
	if !ok {
		return errNotFound
	}
	info.Subject = person.Subject
	for name, value := range person.claims() {
		info.AppendClaims(name, value)
	}
	return nil
}

func (s *storage) person(subject string) (Person, bool) {
	i := slices.IndexFunc(s.people, func(p Person) bool { return p.Subject == subject })
	if i < 0 {
		return Person{}, false
	}
	return s.people[i], true
}

// Keys.

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[0], nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]op.Key, len(s.keys))
	for i, key := range s.keys {
		keys[i] = verifyKey{key}
	}
	return keys, nil
}

func (s *storage) Health(context.Context) error { return nil }
