package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// flowLimit bounds a whole flow against this provider.
const flowLimit = 30 * time.Second

func (p *Provider) endpoint() oauth2.Endpoint {
	return oauth2.Endpoint{AuthURL: p.issuer + "/authorize", TokenURL: p.issuer + "/oauth/token"}
}

// ServiceToken is an access token for a service account, by client credentials (RFC 6749, section 4.4).
func (p *Provider) ServiceToken(ctx context.Context, id string, scopes ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, flowLimit)
	defer cancel()
	config := clientcredentials.Config{
		ClientID:     id,
		ClientSecret: p.storage.services[id].Secret,
		TokenURL:     p.endpoint().TokenURL,
		Scopes:       scopes,
		AuthStyle:    oauth2.AuthStyleInHeader,
	}
	token, err := config.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("client credentials of %s: %w", id, err)
	}
	return token.AccessToken, nil
}

// PersonToken is what a person gets by logging in: the access token and, below "id_token" in its extras, the ID token.
// It is the authorization code flow with PKCE (RFC 7636), with an HTTP client in the browser's place.
func (p *Provider) PersonToken(ctx context.Context, username string) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, flowLimit)
	defer cancel()
	config := oauth2.Config{
		ClientID:    PeopleClient,
		Endpoint:    p.endpoint(),
		RedirectURL: redirectURI,
		Scopes:      []string{"openid", "profile", "email"},
	}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	verifier := oauth2.GenerateVerifier()
	code, err := p.logIn(ctx, config.AuthCodeURL("a-state", oauth2.S256ChallengeOption(verifier)), username)
	if err != nil {
		return nil, fmt.Errorf("log in as %s: %w", username, err)
	}
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, fmt.Errorf("log in as %s: %w", username, err)
	}
	return token, nil
}

// logIn goes where a browser would go, fills the form and returns the code that is sent to the redirect URI.
func (p *Provider) logIn(ctx context.Context, authURL, username string) (string, error) {
	var password string
	for _, person := range p.storage.people {
		if person.Username == username {
			password = person.Password
		}
	}
	browser := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURI) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	form, err := send(ctx, browser, http.MethodGet, authURL, nil)
	if err != nil {
		return "", err
	}
	answer, err := send(ctx, browser, http.MethodPost, p.issuer+loginPath, url.Values{
		"id": {form.Request.URL.Query().Get("id")}, "username": {username}, "password": {password},
	})
	if err != nil {
		return "", err
	}
	back, err := answer.Location()
	if err != nil {
		return "", fmt.Errorf("no redirect after the form: %s", answer.Status)
	}
	code := back.Query().Get("code")
	if code == "" {
		return "", errors.New("no code in " + back.String())
	}
	return code, nil
}

// send makes one request and discards the body.
func send(ctx context.Context, client *http.Client, method, address string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp, resp.Body.Close()
}
