// Package tokentest is an OpenID issuer in one process for tests: discovery,
// key set and introspection over real HTTP, and real tokens signed with real
// keys. It can rotate its keys, go down, serve nonsense, and counts what it is
// asked.
//
// It refuses nothing: what it signs is what the test says, true or not. Read
// [New] first, then [Issuer.Mint].
package tokentest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Audience is the audience of the tokens that are minted unless a test says
// otherwise.
const Audience = "kong-prefect"

// Absent, as a claim's or header parameter's value, takes it out.
var Absent = new(struct{ _ byte })

// Issuer is a running issuer. It stops with the test.
type Issuer struct {
	// URL is its name and address.
	URL string
	// Now is the clock of the tokens it mints. Default [time.Now].
	Now func() time.Time

	server        *httptest.Server
	algorithm     string
	mu            sync.Mutex
	signing       *Key
	published     []*Key
	faults        map[string]http.HandlerFunc
	opaque        map[string]map[string]any
	discovery     atomic.Int64
	keys          atomic.Int64
	introspection atomic.Int64
	ids           atomic.Int64
	made          atomic.Int64
}

// Paths that an issuer serves, to be given to [Issuer.Fault].
const (
	DiscoveryPath     = "/.well-known/openid-configuration"
	KeysPath          = "/keys"
	IntrospectionPath = "/introspect"
)

// Credentials the introspection endpoint asks for.
const (
	ClientID     = "gateway"
	ClientSecret = "gateway secret: +/%"
)

// New starts an issuer with one key of the algorithm; ES256 is the quickest.
func New(t testing.TB, algorithm string) *Issuer {
	t.Helper()
	i := &Issuer{
		algorithm: algorithm, Now: time.Now,
		faults: map[string]http.HandlerFunc{}, opaque: map[string]map[string]any{},
	}
	i.signing = NewKey(t, fmt.Sprintf("key-%d", i.made.Add(1)), algorithm)
	i.published = []*Key{i.signing}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	i.URL = i.server.URL
	t.Cleanup(i.server.Close)
	return i
}

// Key is the key it signs with now.
func (i *Issuer) Key() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signing
}

// Rotate signs with a new key from now on. With overlap the old keys stay
// published; without, they are withdrawn at once.
func (i *Issuer) Rotate(t testing.TB, overlap bool) *Key {
	t.Helper()
	k := NewKey(t, fmt.Sprintf("key-%d", i.made.Add(1)), i.algorithm)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signing = k
	if !overlap {
		i.published = nil
	}
	i.published = append(i.published, k)
	return k
}

// Publish replaces the published keys; the signing key stays what it is.
func (i *Issuer) Publish(keys ...*Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = keys
}

// Fault serves a path by the handler instead; nil repairs it.
func (i *Issuer) Fault(path string, h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if h == nil {
		delete(i.faults, path)
		return
	}
	i.faults[path] = h
}

// Down answers everything with 503 until Up.
func (i *Issuer) Down() {
	down := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) }
	for _, path := range []string{DiscoveryPath, KeysPath, IntrospectionPath} {
		i.Fault(path, down)
	}
}

// Up ends all faults.
func (i *Issuer) Up() {
	for _, path := range []string{DiscoveryPath, KeysPath, IntrospectionPath} {
		i.Fault(path, nil)
	}
}

// DiscoveryRequests, KeyRequests and IntrospectionRequests count what was asked,
// faults included.
func (i *Issuer) DiscoveryRequests() int { return int(i.discovery.Load()) }

// KeyRequests counts requests for the key set.
func (i *Issuer) KeyRequests() int { return int(i.keys.Load()) }

// IntrospectionRequests counts introspections.
func (i *Issuer) IntrospectionRequests() int { return int(i.introspection.Load()) }

// Claims are those of a good access token, with the changes applied.
func (i *Issuer) Claims(change map[string]any) map[string]any {
	now := i.Now()
	claims := map[string]any{
		"iss": i.URL, "sub": "f:alice", "aud": Audience, "client_id": "cli", "scope": "openid runs",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"jti": fmt.Sprintf("id-%d", i.ids.Add(1)),
	}
	return merge(claims, change)
}

func merge(base, change map[string]any) map[string]any {
	maps.Copy(base, change)
	maps.DeleteFunc(base, func(_ string, v any) bool { return v == Absent })
	return base
}

// Mint signs a good access token with the changes applied to its claims.
func (i *Issuer) Mint(t testing.TB, change map[string]any) string {
	t.Helper()
	return i.MintWith(t, nil, change)
}

// MintWith signs a good access token with changes to header and claims.
func (i *Issuer) MintWith(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	return i.Key().Sign(t, header, i.Claims(claims))
}

// Opaque makes an opaque token that introspection answers with these claims
// beside active; they can be changed by calling it again.
func (i *Issuer) Opaque(token string, answer map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opaque[token] = answer
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	fault := i.faults[r.URL.Path]
	i.mu.Unlock()
	switch r.URL.Path {
	case DiscoveryPath:
		i.discovery.Add(1)
	case KeysPath:
		i.keys.Add(1)
	case IntrospectionPath:
		i.introspection.Add(1)
	}
	if fault != nil {
		fault(w, r)
		return
	}
	switch r.URL.Path {
	case DiscoveryPath:
		answer(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + KeysPath, "introspection_endpoint": i.URL + IntrospectionPath,
			"authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{i.algorithm},
		})
	case KeysPath:
		answer(w, i.KeySet())
	case IntrospectionPath:
		i.serveIntrospection(w, r)
	default:
		http.NotFound(w, r)
	}
}

// KeySet is the published key set.
func (i *Issuer) KeySet() map[string]any {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := []any{}
	for _, k := range i.published {
		list = append(list, k.JWK())
	}
	return map[string]any{"keys": list}
}

func (i *Issuer) serveIntrospection(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	if id != ClientID || secret != "gateway+secret%3A+%2B%2F%25" || r.Method != http.MethodPost {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	i.mu.Lock()
	claims, known := i.opaque[r.PostFormValue("token")]
	i.mu.Unlock()
	if !known {
		answer(w, map[string]any{"active": false})
		return
	}
	answer(w, merge(map[string]any{"active": true}, claims))
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
