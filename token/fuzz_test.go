package token_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

// FuzzVerify signs any payload with the issuer's own key. Whatever it says,
// nothing panics, every refusal is an Error with a reason, and nothing is
// accepted that an independent verifier refuses.
func FuzzVerify(f *testing.F) {
	const issuer = "https://idp.example.com"
	now := time.Unix(1_800_000_000, 0)
	key := tokentest.NewKey(f, "k", "ES256")
	path := filepath.Join(f.TempDir(), "keys.json")
	require.NoError(f, os.WriteFile(path, mustJSON(f, map[string]any{"keys": []any{key.JWK()}}), 0o600))
	keys := token.NewKeyCache(token.KeyCacheOptions{})
	f.Cleanup(keys.Close)
	v, err := token.NewVerifier(token.Options{
		Keys: keys, Now: func() time.Time { return now },
		Issuers: []token.Issuer{{URL: issuer, Audiences: []string{"a", "b"}, JWKSFile: path}},
	})
	require.NoError(f, err)
	independent := jwt.NewParser(jwt.WithIssuer(issuer), jwt.WithAudience("a", "b"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(token.DefaultLeeway), jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(func() time.Time { return now }))

	good := `{"iss":"` + issuer + `","sub":"s","aud":"a","exp":1800000060,"iat":1800000000`
	for _, s := range []string{
		good + `}`, good + `,"aud":["b"]}`, good + `,"iss":"x"}`, good + `,"nbf":1.8e9}`, good + `,"nbf":1800000031}`,
		`{"iss":"` + issuer + `","sub":"s","aud":["x","b"],"exp":1799999971.5}`, good + `,"cnf":{"jkt":"x"}}`, good + `,"ISS":"evil"}`,
		good + `,"typ":"ID"}`, `{"exp":1e400}`, `[]`, `null`, ``, `{}`, good + `,"x":{"y":[1,{"z":null}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		compact := key.SignRaw(t, []byte(`{"alg":"ES256","kid":"k"}`), payload)
		verified, err := v.Verify(context.Background(), compact)
		if err != nil {
			var e *token.Error
			if !errors.As(err, &e) || e.Reason == "" || e.Detail == "" {
				t.Fatalf("a refusal without a reason: %v", err)
			}
			if !verified.IsZero() {
				t.Fatal("a refusal with a token")
			}
			return
		}
		other, err := independent.Parse(compact, func(*jwt.Token) (any, error) { return key.Private.Public(), nil })
		if err != nil {
			t.Fatalf("accepted here, refused by golang-jwt: %v: %q", err, payload)
		}
		if sub, err := other.Claims.GetSubject(); err != nil || sub != verified.Subject() {
			t.Fatalf("the subject is %q here, %q there: %q", verified.Subject(), sub, payload)
		}
	})
}
