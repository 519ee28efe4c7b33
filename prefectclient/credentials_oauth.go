package prefectclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/kong-prefect/kong-prefect/smallfile"
)

// OAuthOptions configures [ClientCredentials].
type OAuthOptions struct {
	// TokenURL is the identity provider's token endpoint. Required.
	TokenURL string
	// ClientID is the client's name there. Required.
	ClientID string
	// ClientSecret, or ClientSecretFile, which is read for every new token.
	// One of them is required.
	ClientSecret, ClientSecretFile string
	// Scopes are asked for. Default: the provider's.
	Scopes []string
	// Audience is sent as the parameter of that name, which several providers
	// want. Default: not sent.
	Audience string
	// Timeout limits one request for a token. Default: 10 s.
	Timeout time.Duration
	// Transport carries those requests. Default: http.DefaultTransport.
	Transport http.RoundTripper
}

const (
	// tokenEarly is how long before its end a token is replaced.
	tokenEarly = 30 * time.Second
	// tokenMinAge is how old a refused token must be to be replaced: a server
	// that refuses every token must not become a storm at the provider.
	tokenMinAge = 30 * time.Second
)

// ClientCredentials gets bearer tokens of the company's identity provider by
// OAuth 2.0's client credentials grant (RFC 6749, section 4.4), for a Prefect
// that stands behind a gateway of its own. A token is shared by all calls,
// replaced shortly before it ends, and replaced once when the server refuses
// it. While the provider is away, a token that is still valid goes on.
func ClientCredentials(o OAuthOptions) Credentials {
	orElse(&o.Timeout, 10*time.Second)
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	secret := seal(o.ClientSecret)
	o.ClientSecret = ""
	return &oauthClient{options: o, secret: secret, http: &http.Client{
		Transport: o.Transport,
		Timeout:   o.Timeout,
		// A redirect would carry the client's secret to another address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type oauthClient struct {
	options OAuthOptions // without the secret
	secret  sealed
	http    *http.Client
	fetch   singleflight.Group

	mu    sync.Mutex
	value sealed // Authorization value; nil: none
	born  time.Time
	until time.Time // zero: no end is known
}

func (o *oauthClient) check() error {
	var problems []error
	if u, err := url.Parse(o.options.TokenURL); err != nil || u.Host == "" || u.User != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) {
		problems = append(problems, errors.New("TokenURL: not an http or https URL without credentials"))
	}
	if o.options.ClientID == "" {
		problems = append(problems, errors.New("ClientID: missing"))
	}
	if (o.secret() == "") == (o.options.ClientSecretFile == "") {
		problems = append(problems, errors.New("give one of ClientSecret and ClientSecretFile"))
	}
	if o.options.Timeout < 0 {
		problems = append(problems, errors.New("a negative Timeout"))
	}
	return errors.Join(problems...)
}

func (o *oauthClient) Authorization(ctx context.Context) (string, error) {
	value, usable, fresh := o.held()
	if fresh {
		return value, nil
	}
	// The fetch belongs to all who wait for it: one that goes away must not
	// end it, and its own timeout does.
	waiting := o.fetch.DoChan("token", func() (any, error) { return o.renew(context.WithoutCancel(ctx)) })
	if usable {
		return value, nil // the next call finds the new one
	}
	select {
	case got := <-waiting:
		if got.Err != nil {
			return "", got.Err
		}
		return got.Val.(string), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// held returns the token, whether it may still be used, and whether it need
// not be replaced yet.
func (o *oauthClient) held() (value string, usable, fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.value == nil {
		return "", false, false
	}
	left := time.Until(o.until)
	if o.until.IsZero() {
		left = time.Hour
	}
	// A token that lives for less than a minute is used for half of its life.
	early := min(tokenEarly, o.until.Sub(o.born)/2)
	return o.value(), left > 0, left > early
}

func (o *oauthClient) Rejected(_ context.Context, value string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.value == nil || o.value() != value {
		return true // replaced meanwhile
	}
	if time.Since(o.born) < tokenMinAge {
		return false
	}
	o.value = nil
	return true
}

func (o *oauthClient) renew(ctx context.Context) (string, error) {
	secret := o.secret()
	if path := o.options.ClientSecretFile; path != "" {
		var err error
		if secret, err = smallfile.Secret(path); err != nil {
			return "", err
		}
	}
	config := clientcredentials.Config{
		ClientID: o.options.ClientID, ClientSecret: secret, TokenURL: o.options.TokenURL, Scopes: o.options.Scopes,
	}
	if o.options.Audience != "" {
		config.EndpointParams = url.Values{"audience": {o.options.Audience}}
	}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, o.http))
	if err != nil {
		return "", tokenProblem(err)
	}
	if err := checkSecret(token.AccessToken); err != nil {
		return "", fmt.Errorf("the identity provider's token: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.value, o.born, o.until = seal(bearer(token.AccessToken)), time.Now(), token.Expiry
	return o.value(), nil
}

// tokenProblem keeps what the provider's answer says out of the error: it may
// hold a token.
func tokenProblem(err error) error {
	var refused *oauth2.RetrieveError
	var inURL *url.Error
	switch {
	case errors.As(err, &refused) && refused.Response != nil:
		return fmt.Errorf("the identity provider refused (status %d, error %q)", refused.Response.StatusCode, clean(refused.ErrorCode))
	case errors.As(err, &inURL):
		return fmt.Errorf("the identity provider can't be reached: %w", inURL.Err)
	}
	return errors.New("the identity provider's answer is not a token")
}

// Format keeps the secrets out of every form of printing.
func (o *oauthClient) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "prefectclient.client_credentials(redacted)")
}
