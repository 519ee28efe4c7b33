package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

var _ op.TokenExchangeStorage = (*storage)(nil)

// ValidateTokenExchangeRequest lets a service account act for a person who gave it their token (RFC 8693, section 1.1):
// delegation, so the actor proves itself too. Nobody becomes somebody else here.
func (s *storage) ValidateTokenExchangeRequest(_ context.Context, request op.TokenExchangeRequest) error {
	if _, ok := s.person(request.GetExchangeSubject()); !ok {
		return oidc.ErrInvalidRequest().WithDescription("subject_token is not a person's")
	}
	if request.GetExchangeActor() == "" || request.GetExchangeActor() != request.GetClientID() {
		return oidc.ErrInvalidRequest().WithDescription("actor_token is not the client's own")
	}
	request.SetRequestedTokenType(oidc.AccessTokenType)
	return nil
}

func (s *storage) CreateTokenExchangeRequest(context.Context, op.TokenExchangeRequest) error {
	return nil
}

// GetPrivateClaimsFromTokenExchangeRequest gives the person's claims, and who acts for them (RFC 8693, section 4.1). An
// actor for whom somebody acts already goes below.
func (s *storage) GetPrivateClaimsFromTokenExchangeRequest(_ context.Context, request op.TokenExchangeRequest) (map[string]any, error) {
	person, ok := s.person(request.GetSubject())
	if !ok {
		return nil, errNotFound
	}
	claims := person.claims()
	claims["azp"] = request.GetClientID()
	act := map[string]any{"sub": request.GetExchangeActor()}
	if before := request.GetExchangeSubjectTokenClaims()["act"]; before != nil {
		act["act"] = before
	}
	claims["act"] = act
	if scopes := request.GetScopes(); len(scopes) > 0 {
		claims["scope"] = strings.Join(scopes, " ")
	}
	return claims, nil
}

func (s *storage) SetUserinfoFromTokenExchangeRequest(_ context.Context, info *oidc.UserInfo, request op.TokenExchangeRequest) error {
	return s.fill(info, request.GetSubject())
}

// DelegatedToken is what a service account gets that acts for a person, by token exchange: the person's token and its
// own go in, one that names both comes out.
func (p *Provider) DelegatedToken(ctx context.Context, actor, subjectToken string, scopes ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, flowLimit)
	defer cancel()
	own, err := p.ServiceToken(ctx, actor)
	if err != nil {
		return "", err
	}
	form := url.Values{
		"grant_type":    {string(oidc.GrantTypeTokenExchange)},
		"subject_token": {subjectToken}, "subject_token_type": {string(oidc.AccessTokenType)},
		"actor_token": {own}, "actor_token_type": {string(oidc.AccessTokenType)},
		"audience": slices.Clone(p.storage.audience),
	}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint().TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(actor), url.QueryEscape(p.storage.services[actor].Secret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	var answer struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("token exchange of %s: %s %s", actor, resp.Status, answer.Description)
	}
	return answer.AccessToken, nil
}
