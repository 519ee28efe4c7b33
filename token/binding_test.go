package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

const target = "https://api.example.com/run/nightly"

func TestDPoP(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	holder, thief := tokentest.NewKey(t, "holder", "ES256"), tokentest.NewKey(t, "thief", "ES256")
	compact := s.issuer.Mint(t, map[string]any{"cnf": map[string]any{"jkt": holder.Thumbprint(t)}})
	other := s.issuer.Mint(t, map[string]any{"cnf": map[string]any{"jkt": holder.Thumbprint(t)}})
	now := s.clock.Now().Unix()
	proof := func(k *tokentest.Key, header, change map[string]any) []string {
		claims := map[string]any{"htm": "POST", "htu": target, "iat": now}
		for n, v := range change {
			claims[n] = v
		}
		return []string{k.Proof(t, compact, header, claims)}
	}
	private := holder.JWK()
	private["d"] = "AAAA"
	symmetric := map[string]any{"kty": "oct", "k": "AAAA"}
	used := proof(holder, nil, nil)
	for _, c := range []struct {
		name   string
		reason string
		p      token.Presentation
	}{
		{"good", "", token.Presentation{DPoP: used}},
		{"replayed", token.ReasonProofReplayed, token.Presentation{DPoP: used}},
		{"good, other spelling of the URL", "", token.Presentation{DPoP: proof(holder, nil, map[string]any{"htu": "HTTPS://API.example.com:443/run/nightly?x=1#y"})}},
		{"bearer scheme", token.ReasonProofMissing, token.Presentation{Method: "-", DPoP: proof(holder, nil, nil)}},
		{"no proof", token.ReasonProofMissing, token.Presentation{}},
		{"two proofs", token.ReasonProofInvalid, token.Presentation{DPoP: append(proof(holder, nil, nil), proof(holder, nil, nil)...)}},
		{"another key", token.ReasonProofMismatch, token.Presentation{DPoP: proof(thief, nil, nil)}},
		{"another key in the header", token.ReasonProofInvalid, token.Presentation{DPoP: proof(thief, map[string]any{"jwk": bare(holder)}, nil)}},
		{"another method", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"htm": "GET"})}},
		{"method in another case", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"htm": "post"})}},
		{"another path", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"htu": target + "/x"})}},
		{"another host", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"htu": "https://evil.example/run/nightly"})}},
		{"plain http", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"htu": "http://api.example.com/run/nightly"})}},
		{"no htu", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"htu": tokentest.Absent})}},
		{"no ath", token.ReasonProofMismatch, token.Presentation{DPoP: proof(holder, nil, map[string]any{"ath": tokentest.Absent})}},
		{"ath of another token", token.ReasonProofMismatch, token.Presentation{DPoP: []string{holder.Proof(t, other, nil, map[string]any{"htm": "POST", "htu": target, "iat": now})}}},
		{"too old", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, nil, map[string]any{"iat": now - 91})}},
		{"from the future", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, nil, map[string]any{"iat": now + 31})}},
		{"no iat", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, nil, map[string]any{"iat": tokentest.Absent})}},
		{"no jti", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, nil, map[string]any{"jti": tokentest.Absent})}},
		{"long jti", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, nil, map[string]any{"jti": strings.Repeat("j", 257)})}},
		{"typ JWT", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, map[string]any{"typ": "JWT"}, nil)}},
		{"no jwk", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, map[string]any{"jwk": tokentest.Absent}, nil)}},
		{"private jwk", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, map[string]any{"jwk": private}, nil)}},
		{"symmetric jwk", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, map[string]any{"jwk": symmetric}, nil)}},
		{"alg none", token.ReasonProofInvalid, token.Presentation{DPoP: proof(holder, map[string]any{"alg": "none"}, nil)}},
		{"garbage", token.ReasonProofInvalid, token.Presentation{DPoP: []string{"garbage"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.p.URL = target; c.p.Method == "" {
				c.p.Method, c.p.DPoPScheme = "POST", true
			}
			v, err := s.verifier.VerifyPresented(context.Background(), compact, c.p)
			if c.reason == "" {
				require.NoError(t, err)
				require.True(t, v.Bound())
				return
			}
			requireReason(t, c.reason, err)
			require.True(t, v.IsZero())
		})
	}
	t.Run("an unbound token with the DPoP scheme", func(t *testing.T) {
		_, err := s.verifier.VerifyPresented(context.Background(), s.issuer.Mint(t, nil), token.Presentation{DPoPScheme: true})
		requireReason(t, token.ReasonProofMismatch, err)
	})
}

func bare(k *tokentest.Key) map[string]any {
	jwk := k.JWK()
	delete(jwk, "kid")
	delete(jwk, "use")
	delete(jwk, "alg")
	return jwk
}

func TestOneProofIsTakenOnceHoweverManyAskAtOnce(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	holder := tokentest.NewKey(t, "holder", "EdDSA")
	compact := s.issuer.Mint(t, map[string]any{"cnf": map[string]any{"jkt": holder.Thumbprint(t)}})
	p := token.Presentation{Method: "GET", URL: target, DPoPScheme: true, DPoP: []string{
		holder.Proof(t, compact, nil, map[string]any{"htm": "GET", "htu": target, "iat": s.clock.Now().Unix()}),
	}}
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.verifier.VerifyPresented(context.Background(), compact, p); err == nil {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), taken.Load())
}

// proofUser makes and uses proofs of one subject's key.
func proofUser(t *testing.T, s *setup, subject string) (use func(change map[string]any) error) {
	holder := tokentest.NewKey(t, subject, "ES256")
	compact := s.issuer.Mint(t, map[string]any{
		"sub": subject, "cnf": map[string]any{"jkt": holder.Thumbprint(t)}, "exp": s.clock.Now().Add(time.Hour).Unix(),
	})
	return func(change map[string]any) error {
		claims := map[string]any{"htm": "GET", "htu": target, "iat": s.clock.Now().Unix()}
		maps.Copy(claims, change)
		_, err := s.verifier.VerifyPresented(context.Background(), compact, token.Presentation{
			Method: "GET", URL: target, DPoPScheme: true, DPoP: []string{holder.Proof(t, compact, nil, claims)},
		})
		return err
	}
}

func TestReplayMemoryIsBoundedAndForgetsNoProofThatCouldBeUsed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.options.Proofs = token.NewProofMemory(token.ProofMemoryOptions{MaxProofs: 3, Now: s.clock.Now})
	v, err := token.NewVerifier(s.options)
	require.NoError(t, err)
	s.verifier = v
	made := s.clock.Now().Unix()
	for n := range 3 {
		use := proofUser(t, s, fmt.Sprintf("holder-%d", n))
		require.NoError(t, use(map[string]any{"jti": "same"}), "an id belongs to one key")
	}
	late := proofUser(t, s, "late")
	requireReason(t, token.ReasonReplayMemoryFull, late(nil))
	first := proofUser(t, s, "first")
	s.clock.Advance(89 * time.Second) // the oldest could still be used
	requireReason(t, token.ReasonReplayMemoryFull, first(map[string]any{"iat": made}))
	s.clock.Advance(3 * time.Minute)
	requireReason(t, token.ReasonProofInvalid, first(map[string]any{"iat": made}))
	require.NoError(t, late(nil))
}

// A proof that was taken is refused at every moment at which it would be young
// enough, with whatever leeway.
func TestReplayIsRefusedForAsLongAsTheProofIsYoung(t *testing.T) {
	t.Parallel()
	for _, leeway := range []time.Duration{-1, 30 * time.Second, 5 * time.Minute} {
		s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.Leeway = leeway })
		s.options.Proofs = token.NewProofMemory(token.ProofMemoryOptions{Now: s.clock.Now})
		v, err := token.NewVerifier(s.options)
		require.NoError(t, err)
		s.verifier = v
		use := proofUser(t, s, "holder")
		proof := map[string]any{"jti": "once", "iat": s.clock.Now().Unix()}
		require.NoError(t, use(proof))
		for range 60 {
			s.clock.Advance(5 * time.Second)
			require.NoError(t, use(nil))
			require.Contains(t, []string{token.ReasonProofReplayed, token.ReasonProofInvalid}, token.ReasonOf(use(proof)))
		}
	}
}

// Who holds a token may not lock the others out by using up the memory.
func TestOneHolderCannotFillTheReplayMemory(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.options.Proofs = token.NewProofMemory(token.ProofMemoryOptions{MaxProofs: 100, Now: s.clock.Now})
	v, err := token.NewVerifier(s.options)
	require.NoError(t, err)
	s.verifier = v
	greedy := proofUser(t, s, "greedy")
	for range 10 {
		require.NoError(t, greedy(nil))
	}
	for _, again := range []func(map[string]any) error{greedy, proofUser(t, s, "greedy")} { // another key is the same holder
		requireReason(t, token.ReasonReplayMemoryFull, again(nil))
	}
	require.NoError(t, proofUser(t, s, "modest")(nil))
}

// What the cache holds is the token's truth, not its holder's.
func TestACachedTokenStillNeedsItsProof(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	thumbprint := strings.Repeat("A", 43)
	compact := s.issuer.Mint(t, map[string]any{"cnf": map[string]any{"x5t#S256": thumbprint}})
	for range 3 {
		_, err := s.verifier.VerifyPresented(t.Context(), compact, token.Presentation{CertificateSHA256: thumbprint})
		require.NoError(t, err)
		_, err = s.verify(compact)
		requireReason(t, token.ReasonProofMissing, err)
		_, err = s.verifier.VerifyPresented(t.Context(), compact, token.Presentation{CertificateSHA256: strings.Repeat("B", 43)})
		requireReason(t, token.ReasonProofMismatch, err)
	}
	require.Equal(t, uint64(8), s.verifier.CacheStats().Hits)
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	cert, stranger := sha256.Sum256([]byte("cert")), sha256.Sum256([]byte("stranger"))
	b64 := base64.RawURLEncoding.EncodeToString
	compact := s.issuer.Mint(t, map[string]any{"cnf": map[string]any{"x5t#S256": b64(cert[:])}})
	for name, c := range map[string]struct{ presented, reason string }{
		"base64url":     {b64(cert[:]), ""},
		"hex":           {hex.EncodeToString(cert[:]), ""},
		"HEX":           {strings.ToUpper(hex.EncodeToString(cert[:])), ""},
		"none":          {"", token.ReasonProofMissing},
		"another":       {b64(stranger[:]), token.ReasonProofMismatch},
		"another, hex":  {hex.EncodeToString(stranger[:]), token.ReasonProofMismatch},
		"64 other char": {strings.Repeat("z", 64), token.ReasonProofMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.verifier.VerifyPresented(context.Background(), compact, token.Presentation{CertificateSHA256: c.presented})
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			requireReason(t, c.reason, err)
		})
	}
}

func TestConfirmationsThatCannotBeChecked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for name, cnf := range map[string]any{
		"null": nil, "string": "x", "empty": map[string]any{}, "unknown": map[string]any{"kid": strings.Repeat("A", 43)},
		"jkt too short": map[string]any{"jkt": "x"}, "jkt empty": map[string]any{"jkt": ""}, "jkt number": map[string]any{"jkt": 1},
		"known and unknown": map[string]any{"jkt": strings.Repeat("A", 43), "jwk": map[string]any{}},
	} {
		t.Run(name, func(t *testing.T) {
			s.refuses(t, token.ReasonClaims, s.issuer.Mint(t, map[string]any{"cnf": cnf}))
		})
	}
}

func TestBindingRequired(t *testing.T) {
	t.Parallel()
	thumbprint := strings.Repeat("A", 43)
	certificate := token.Presentation{CertificateSHA256: thumbprint}
	for name, c := range map[string]struct {
		require token.Binding
		cnf     any
		reason  string
	}{
		"any, unbound":            {token.BindingAny, tokentest.Absent, token.ReasonNotBound},
		"any, certificate":        {token.BindingAny, map[string]any{"x5t#S256": thumbprint}, ""},
		"mtls, certificate":       {token.BindingMTLS, map[string]any{"x5t#S256": thumbprint}, ""},
		"mtls, DPoP key":          {token.BindingMTLS, map[string]any{"jkt": thumbprint}, token.ReasonNotBound},
		"dpop, certificate":       {token.BindingDPoP, map[string]any{"x5t#S256": thumbprint}, token.ReasonNotBound},
		"dpop, unbound":           {token.BindingDPoP, tokentest.Absent, token.ReasonNotBound},
		"dpop, both but no proof": {token.BindingDPoP, map[string]any{"jkt": thumbprint, "x5t#S256": thumbprint}, token.ReasonProofMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, func(i *token.Issuer, _ *token.Options) { i.RequireBinding = c.require })
			_, err := s.verifier.VerifyPresented(t.Context(), s.issuer.Mint(t, map[string]any{"cnf": c.cnf}), certificate)
			require.Equal(t, c.reason, token.ReasonOf(err))
		})
	}
}
