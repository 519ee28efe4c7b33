package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coreos/go-oidc/v3/oidc"
)

// remote says where an issuer's keys are. It is comparable: equal values share
// one key set in a [KeyCache].
type remote struct {
	issuer       string
	discoveryURL string
	jwksURL      string
	http         HTTPOptions
}

func (i Issuer) remote() remote {
	return remote{issuer: i.URL, discoveryURL: i.DiscoveryURL, jwksURL: i.JWKSURL, http: i.HTTP}
}

// fetch asks discovery (OpenID Connect Discovery section 4) for the key set's
// address, unless one is configured, and fetches the key set. Discovery is
// asked every time: issuers do move their key sets.
func (r remote) fetch(ctx context.Context, client *http.Client) (*KeySet, []Refused, error) {
	address := r.jwksURL
	if address == "" {
		var err error
		if address, err = r.discover(ctx, client); err != nil {
			return nil, nil, fmt.Errorf("discovery of %s: %w", r.issuer, err)
		}
	}
	body, err := get(ctx, client, address)
	if err != nil {
		return nil, nil, fmt.Errorf("key set of %s: %w", r.issuer, err)
	}
	set, refused, err := ParseKeySet(body)
	if err != nil {
		return nil, refused, fmt.Errorf("key set of %s: %w", r.issuer, err)
	}
	return set, refused, nil
}

func (r remote) discover(ctx context.Context, client *http.Client) (string, error) {
	ctx = oidc.ClientContext(ctx, client)
	base := r.issuer
	if r.discoveryURL != "" {
		// The address differs from the name; the name is compared below.
		ctx = oidc.InsecureIssuerURLContext(ctx, r.issuer)
		base = r.discoveryURL
	}
	provider, err := oidc.NewProvider(ctx, base)
	if err != nil {
		return "", err
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := provider.Claims(&doc); err != nil {
		return "", err
	}
	if doc.Issuer != r.issuer {
		return "", fmt.Errorf("the document is of another issuer, %q", doc.Issuer)
	}
	if doc.JWKSURI == "" {
		return "", errors.New("the document names no jwks_uri")
	}
	if err := checkURL(doc.JWKSURI, r.http.InsecureAllowHTTP); err != nil {
		return "", fmt.Errorf("jwks_uri %w", err)
	}
	return doc.JWKSURI, nil
}
