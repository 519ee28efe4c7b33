package bench

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// benchIssuer is never asked: the keys are in a file.
const benchIssuer = "https://idp.example.com/realms/acme"

// typical are the claims of a Keycloak access token for a person.
func typical() map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": benchIssuer, "aud": []string{"kong-prefect", "account"}, "sub": "4f3b1c9e-1d0f-4a57-9b52-2f5d8c1c7a10",
		"typ": "Bearer", "azp": "cli", "sid": "2f5d8c1c", "jti": "0b9e4a57", "acr": "1", "scope": "openid email profile",
		"exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "email_verified": true, "name": "Alice Ä",
		"preferred_username": "alice", "given_name": "Alice", "family_name": "Ä", "email": "alice@example.com",
		"realm_access":    map[string]any{"roles": []string{"offline_access", "uma_authorization", "default-roles-acme"}},
		"resource_access": map[string]any{"account": map[string]any{"roles": []string{"manage-account", "view-profile"}}},
		"groups":          []string{"/data-team", "/finance", "/all"},
	}
}

// benchClaims is what the others decode into: the fields a gateway needs.
type benchClaims struct {
	jwt.RegisteredClaims
	Type     string   `json:"typ"`
	Party    string   `json:"azp"`
	Scope    string   `json:"scope"`
	Name     string   `json:"name"`
	Username string   `json:"preferred_username"`
	Email    string   `json:"email"`
	Groups   []string `json:"groups"`
	Realm    struct {
		Roles []string `json:"roles"`
	} `json:"realm_access"`
	Resource map[string]struct {
		Roles []string `json:"roles"`
	} `json:"resource_access"`
}

// tokenRows puts the verification of one RS256 token, from the compact form to
// typed claims, beside the bare signature and the other libraries, all in
// turns in one run.
func tokenRows(b *bench) []row {
	key := tokentest.NewKey(b, "k", "RS256")
	compact := key.Sign(b, map[string]any{"typ": "JWT"}, typical())
	public := key.Private.Public().(*rsa.PublicKey)
	ways := []struct {
		name   string
		verify func() error
	}{
		{"crypto-rsa", cryptoRSA(b, public, compact)},
		{"uncached", verifier(b, key, -1, compact)},
		{"cached", verifier(b, key, 0, compact)},
		{"golang-jwt", golangJWT(public, compact)},
		{"go-oidc", goOIDC(public, compact)},
		{"go-jose", goJOSE(public, compact)},
		{"jwx", jwx(b, public, compact)},
	}
	// Many short turns, and the least of each: another program on the machine
	// only adds, and in some turn it didn't run.
	rounds, turn := 150, 5*time.Millisecond
	if b.quick {
		rounds, turn = 1, 0
	}
	least := map[string]time.Duration{}
	for range rounds {
		for _, w := range ways {
			took := timeOf(b, w.verify, turn)
			if before, measured := least[w.name]; !measured || took < before {
				least[w.name] = took
			}
		}
	}
	var rows []row
	for _, w := range ways {
		r := figure("token/verify-rs256/"+w.name, micros(least[w.name]), "µs")
		if w.name == "cached" {
			r = r.atMost(4)
		}
		rows = append(rows, r)
	}
	return append(rows, figure("token/verify-rs256/uncached-of-crypto-rsa", float64(least["uncached"])/float64(least["crypto-rsa"]), "ratio").atMost(1.7))
}

// timeOf is what one call takes, on average over a turn.
func timeOf(b *bench, verify func() error, turn time.Duration) time.Duration {
	b.Helper()
	calls := 0
	began := time.Now()
	for calls == 0 || time.Since(began) < turn {
		for range 10 {
			if err := verify(); err != nil {
				b.Fatal(err)
			}
		}
		calls += 10
	}
	return time.Since(began) / time.Duration(calls)
}

func cryptoRSA(b *bench, public *rsa.PublicKey, compact string) func() error {
	dot := strings.LastIndexByte(compact, '.')
	signature, err := base64.RawURLEncoding.DecodeString(compact[dot+1:])
	require.NoError(b, err)
	return func() error {
		sum := sha256.Sum256([]byte(compact[:dot]))
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature)
	}
}

// verifier is ours; without entries its cache is off.
func verifier(b *bench, key *tokentest.Key, entries int, compact string) func() error {
	path := filepath.Join(b.TempDir(), "keys.json")
	raw, err := json.Marshal(map[string]any{"keys": []any{key.JWK()}})
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(path, raw, 0o600))
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	b.Cleanup(keys.Close)
	v, err := token.NewVerifier(token.Options{
		Keys: keys, Cache: token.CacheOptions{MaxEntries: entries},
		Issuers: []token.Issuer{{URL: benchIssuer, Audiences: []string{"kong-prefect"}, JWKSFile: path}},
	})
	require.NoError(b, err)
	return func() error {
		_, err := v.Verify(context.Background(), compact)
		return err
	}
}

func golangJWT(public *rsa.PublicKey, compact string) func() error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(benchIssuer), jwt.WithAudience("kong-prefect"), jwt.WithExpirationRequired())
	return func() error {
		_, err := parser.ParseWithClaims(compact, &benchClaims{}, func(*jwt.Token) (any, error) { return public, nil })
		return err
	}
}

func goOIDC(public *rsa.PublicKey, compact string) func() error {
	v := oidc.NewVerifier(benchIssuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{public}}, &oidc.Config{ClientID: "kong-prefect"})
	return func() error {
		t, err := v.Verify(context.Background(), compact)
		if err != nil {
			return err
		}
		return t.Claims(&benchClaims{})
	}
}

func goJOSE(public *rsa.PublicKey, compact string) func() error {
	return func() error {
		t, err := josejwt.ParseSigned(compact, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			return err
		}
		var registered josejwt.Claims
		if err := t.Claims(public, &registered, &benchClaims{}); err != nil {
			return err
		}
		return registered.Validate(josejwt.Expected{Issuer: benchIssuer, AnyAudience: []string{"kong-prefect"}})
	}
}

func jwx(b *bench, public *rsa.PublicKey, compact string) func() error {
	k, err := jwk.Import(public)
	require.NoError(b, err)
	return func() error {
		_, err := jwxjwt.Parse([]byte(compact), jwxjwt.WithKey(jwa.RS256(), k), jwxjwt.WithIssuer(benchIssuer), jwxjwt.WithAudience("kong-prefect"))
		return err
	}
}
