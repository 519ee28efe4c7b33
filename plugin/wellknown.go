package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/signing"
)

// Paths that prefect-identity answers itself, to requests without a token, on
// a route that leads there.
const (
	metadataPath = "/.well-known/oauth-protected-resource"
	// KeySetPath is where others find the keys of assertions and stamps.
	KeySetPath = "/.well-known/kong-prefect/jwks.json"
)

// metadataCache is how long a client may keep the metadata.
const metadataCache = "public, max-age=300"

// wellKnown is what the plugin publishes.
type wellKnown struct {
	// metadataURL is named in challenges; empty: there are no metadata.
	metadataURL  string
	metadataPath string
	metadata     []byte
	keySet       func() pluginserver.Answer // nil: nothing is signed
}

// newWellKnown makes the metadata of RFC 9728, section 2. It is all from the
// configuration: a Host header decides nothing.
func newWellKnown(c ResourceConfig, issuers []string, signs bool) (wellKnown, error) {
	if c.URL == "" {
		return wellKnown{}, nil
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return wellKnown{}, errors.New("is no absolute URL")
	case u.Scheme != "https" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1":
		return wellKnown{}, errors.New("must be https")
	case u.Fragment != "" || u.RawQuery != "":
		return wellKnown{}, errors.New("must have neither query nor fragment")
	}
	origin := u.Scheme + "://" + u.Host
	// RFC 9728, section 3.1: the well-known part goes between host and path.
	path := metadataPath + strings.TrimSuffix(u.EscapedPath(), "/")
	decoded := metadataPath + strings.TrimSuffix(u.Path, "/") // as Kong gives a request's path
	document := map[string]any{
		"resource":                 c.URL,
		"authorization_servers":    issuers,
		"bearer_methods_supported": []string{"header"},
	}
	if signs {
		document["jwks_uri"] = origin + KeySetPath
	}
	if len(c.Scopes) > 0 {
		document["scopes_supported"] = c.Scopes
	}
	for name, value := range map[string]string{"resource_name": c.Name, "resource_documentation": c.Documentation} {
		if value != "" {
			document[name] = value
		}
	}
	data, err := json.Marshal(document)
	if err != nil {
		return wellKnown{}, fmt.Errorf("can't be written as JSON: %w", err)
	}
	return wellKnown{metadataURL: origin + path, metadataPath: decoded, metadata: append(data, '\n')}, nil
}

// answers a request for something published; false: it asks for nothing such.
func (w wellKnown) answers(ctx context.Context, e *pluginserver.Event) bool {
	if w.metadata == nil && w.keySet == nil {
		return false
	}
	path, err := e.Path(ctx)
	if err != nil {
		return false
	}
	var a pluginserver.Answer
	switch {
	case w.metadata != nil && path == w.metadataPath:
		a = published("application/json", metadataCache, w.metadata)
	case w.keySet != nil && path == KeySetPath:
		a = w.keySet()
	default:
		return false
	}
	e.Exit(a.Status, a.Body, a.Headers)
	return true
}

// published is an answer for everybody, pages of other origins included.
func published(mediaType, cache string, body []byte) pluginserver.Answer {
	return pluginserver.Answer{Status: http.StatusOK, Body: body, Headers: []pluginserver.Header{
		header("Content-Type", mediaType), header("Cache-Control", cache),
		header("X-Content-Type-Options", "nosniff"), header("Access-Control-Allow-Origin", "*"),
	}}
}

// keySet publishes the keys, with those that signed before and those that will
// sign next.
func keySet(keys *signing.Keys) pluginserver.Answer {
	return published(signing.MediaType, fmt.Sprintf("public, max-age=%d", signing.CacheSeconds), keys.JWKS())
}
