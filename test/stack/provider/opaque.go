package provider

import (
	"context"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// opaqueToken is what an opaque access token stands for.
type opaqueToken struct {
	*serviceRequest
	expiry time.Time
}

// SetIntrospectionFromToken answers a resource server's question (RFC 7662). A JWT that verifies is not looked up, and
// so is not active here.
func (s *storage) SetIntrospectionFromToken(_ context.Context, answer *oidc.IntrospectionResponse, id, subject, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.opaque[id]
	if !ok || token.GetSubject() != subject || time.Now().After(token.expiry) {
		return errNotFound
	}
	answer.Subject, answer.ClientID = subject, token.service.ID
	answer.Audience, answer.Scope = token.audience, token.scopes
	answer.Expiration = oidc.FromTime(token.expiry)
	answer.TokenType = oidc.BearerToken
	answer.Claims = token.service.Claims
	return nil
}

// Withdraw makes every opaque token of a service account inactive.
func (p *Provider) Withdraw(service string) {
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	for id, token := range p.storage.opaque {
		if token.service.ID == service {
			delete(p.storage.opaque, id)
		}
	}
}

// IntrospectionURL is where resource servers ask about opaque tokens, with a service account's id and secret.
func (p *Provider) IntrospectionURL() string { return p.issuer + "/oauth/introspect" }
