package stack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// loginForm is where Keycloak's own page sends the password.
var loginForm = regexp.MustCompile(`<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"`)

// PersonTokens are those of a person who signs in as a browser does: on Keycloak's page, by the authorization code
// grant of a public client with PKCE (RFC 7636).
func (k *Keycloak) PersonTokens(ctx context.Context, client, redirect, username, password string) (t Tokens, err error) {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	jar, err := cookiejar.New(nil)
	if err != nil {
		return t, err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	page, _, err := browse(ctx, browser, http.MethodGet, k.Issuer()+"/protocol/openid-connect/auth?"+url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {"openid profile email"}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode(), nil)
	if err != nil {
		return t, err
	}
	form := loginForm.FindStringSubmatch(page)
	if form == nil {
		return t, fmt.Errorf("keycloak shows no login page: %s", page)
	}
	page, location, err := browse(ctx, browser, http.MethodPost, html.UnescapeString(form[1]), url.Values{"username": {username}, "password": {password}})
	if err != nil {
		return t, err
	}
	if location == nil || location.Query().Get("code") == "" {
		return t, errors.New("keycloak lets nobody in: " + page)
	}
	return k.tokens(ctx, k.realm, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "redirect_uri": {redirect},
		"code": {location.Query().Get("code")}, "code_verifier": {verifier},
	})
}

func browse(ctx context.Context, browser *http.Client, method, address string, form url.Values) (page string, location *url.URL, err error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(resp.Body)
	if location, locationErr := resp.Location(); locationErr == nil {
		return string(body), location, err
	}
	return string(body), nil, err
}
