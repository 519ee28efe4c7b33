package token_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

func withIntrospection(i *token.Issuer, _ *token.Options) {
	i.Introspection = &token.Introspection{
		URL: i.URL + tokentest.IntrospectionPath, ClientID: tokentest.ClientID, ClientSecret: tokentest.ClientSecret,
	}
}

func opaqueAnswer(s *setup, change map[string]any) map[string]any {
	answer := map[string]any{
		"sub": "f:alice", "aud": tokentest.Audience, "client_id": "cli", "scope": "runs", "token_type": "Bearer",
		"exp": s.clock.Now().Add(5 * time.Minute).Unix(), "iat": s.clock.Now().Unix(),
	}
	for k, v := range change {
		answer[k] = v
	}
	return answer
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	s := newSetup(t, withIntrospection)
	for name, c := range map[string]struct {
		change map[string]any
		reason string
	}{
		"good":                   {nil, ""},
		"right issuer":           {map[string]any{"iss": s.issuer.URL}, ""},
		"no exp":                 {map[string]any{"exp": tokentest.Absent}, ""},
		"audience list":          {map[string]any{"aud": []string{"x", tokentest.Audience}}, ""},
		"another issuer":         {map[string]any{"iss": "https://other.example"}, token.ReasonIssuer},
		"expired":                {map[string]any{"exp": s.clock.Now().Add(-time.Minute).Unix()}, token.ReasonExpired},
		"exp as string":          {map[string]any{"exp": "1"}, token.ReasonClaims},
		"not yet valid":          {map[string]any{"nbf": s.clock.Now().Add(time.Minute).Unix()}, token.ReasonNotYetValid},
		"another audience":       {map[string]any{"aud": "other"}, token.ReasonAudience},
		"no audience":            {map[string]any{"aud": tokentest.Absent}, token.ReasonAudience},
		"nobody":                 {map[string]any{"sub": tokentest.Absent, "client_id": tokentest.Absent}, token.ReasonClaims},
		"refresh token":          {map[string]any{"token_type": "refresh_token"}, token.ReasonType},
		"keycloak refresh token": {map[string]any{"typ": "Refresh"}, token.ReasonType},
		"active as string":       {map[string]any{"active": "true"}, token.ReasonInactive},
		"active as number":       {map[string]any{"active": 1}, token.ReasonInactive},
		"bound, unproven":        {map[string]any{"cnf": map[string]any{"jkt": strings.Repeat("A", 43)}}, token.ReasonProofMissing},
	} {
		t.Run(name, func(t *testing.T) {
			compact := "opaque-" + strings.ReplaceAll(name, " ", "-")
			compact = strings.ReplaceAll(compact, ",", "")
			s.issuer.Opaque(compact, opaqueAnswer(s, c.change))
			if c.reason != "" {
				s.refuses(t, c.reason, compact)
				return
			}
			v := s.accepts(t, compact)
			require.True(t, v.Opaque())
			require.Equal(t, "f:alice", v.Subject())
			require.Equal(t, s.issuer.URL, v.Issuer())
			scope, _ := v.Claim("scope")
			require.Equal(t, "runs", scope)
			_, ok := v.Claim("active")
			require.False(t, ok)
		})
	}
	t.Run("signed tokens are still verified here", func(t *testing.T) {
		asked := s.issuer.IntrospectionRequests()
		s.accepts(t, s.issuer.Mint(t, nil))
		require.Equal(t, asked, s.issuer.IntrospectionRequests())
	})
	t.Run("encrypted tokens are opaque", func(t *testing.T) {
		s.issuer.Opaque("a.b.c.d.e", opaqueAnswer(s, nil))
		s.accepts(t, "a.b.c.d.e")
	})
	t.Run("the subject of a client is the client", func(t *testing.T) {
		s.issuer.Opaque("of-a-client", opaqueAnswer(s, map[string]any{"sub": tokentest.Absent}))
		require.Equal(t, "cli", s.accepts(t, "of-a-client").Subject())
	})
}

func TestIntrospectionIsCachedWithItsScopeAndNeverBeyondExp(t *testing.T) {
	t.Parallel()
	s := newSetup(t, withIntrospection, func(i *token.Issuer, _ *token.Options) {
		i.Introspection.CacheFor, i.Leeway = time.Minute, -1
	})
	s.issuer.Opaque("tok", opaqueAnswer(s, map[string]any{"exp": s.clock.Now().Add(90 * time.Second).Unix()}))
	scope := func() any {
		v, err := s.verify("tok")
		require.NoError(t, err)
		got, _ := v.Claim("scope")
		return got
	}
	for range 10 {
		require.Equal(t, "runs", scope())
	}
	require.Equal(t, 1, s.issuer.IntrospectionRequests())
	s.issuer.Opaque("tok", opaqueAnswer(s, map[string]any{"scope": "none", "exp": s.clock.Now().Add(90 * time.Second).Unix()}))
	s.clock.Advance(time.Minute)
	require.Equal(t, "none", scope())
	s.clock.Advance(30 * time.Second) // cached for 30 s more, but expired
	s.refuses(t, token.ReasonExpired, "tok")
}

func TestInactiveTokensAreRememberedShortly(t *testing.T) {
	t.Parallel()
	s := newSetup(t, withIntrospection)
	for range 10 {
		_, err := s.verify("made-up")
		requireReason(t, token.ReasonInactive, err)
	}
	require.Equal(t, 1, s.issuer.IntrospectionRequests())
	s.issuer.Opaque("made-up", opaqueAnswer(s, nil))
	s.clock.Advance(10 * time.Second)
	s.accepts(t, "made-up")
}

func TestIntrospectionIsCoalesced(t *testing.T) {
	t.Parallel()
	s := newSetup(t, withIntrospection)
	s.issuer.Opaque("tok", opaqueAnswer(s, nil))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := s.verify("tok")
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Less(t, s.issuer.IntrospectionRequests(), 10)
}

func TestIntrospectionFailsClosed(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]http.HandlerFunc{
		"500":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", http.StatusInternalServerError) },
		"401":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", http.StatusUnauthorized) },
		"html":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"twice": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"active":false,"active":true}`)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"active":true,"x":"` + strings.Repeat("x", 2<<20) + `"}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, withIntrospection)
			s.issuer.Opaque("tok", opaqueAnswer(s, nil))
			s.issuer.Fault(tokentest.IntrospectionPath, fault)
			_, err := s.verify("tok")
			requireReason(t, token.ReasonIntrospectionUnavailable, err)
			require.ErrorIs(t, err, token.ErrIntrospectionUnavailable)
			require.NotContains(t, err.Error(), tokentest.ClientSecret)
			s.issuer.Up()
			s.accepts(t, "tok")
		})
	}
}

func TestSeveralIntrospectingIssuers(t *testing.T) {
	t.Parallel()
	second := tokentest.New(t, "ES256")
	s := newSetup(t, withIntrospection, func(_ *token.Issuer, o *token.Options) {
		i := token.Issuer{URL: second.URL, Audiences: []string{tokentest.Audience}}
		withIntrospection(&i, nil)
		o.Issuers = append(o.Issuers, i)
	})
	second.Opaque("of-second", opaqueAnswer(s, nil))
	require.Equal(t, second.URL, s.accepts(t, "of-second").Issuer())
	s.refuses(t, token.ReasonInactive, "of-none")

	s.issuer.Down() // is no reason to refuse the other's callers; whose a token is that nobody else knows can't be told
	second.Opaque("also-of-second", opaqueAnswer(s, nil))
	require.Equal(t, second.URL, s.accepts(t, "also-of-second").Issuer())
	s.refuses(t, token.ReasonIntrospectionUnavailable, "perhaps-of-first")
}

func TestOpaqueTokensWithoutIntrospection(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.refuses(t, token.ReasonMalformed, "opaque")
}

func TestIntrospectionOfManyTokensAtOnceIsBounded(t *testing.T) {
	t.Parallel()
	s := newSetup(t, withIntrospection)
	hold := make(chan struct{})
	s.issuer.Fault(tokentest.IntrospectionPath, func(http.ResponseWriter, *http.Request) { <-hold })
	results := make(chan error, 200)
	for n := range 200 {
		go func() {
			_, err := s.verifier.Verify(context.Background(), fmt.Sprintf("made-up-%d", n))
			results <- err
		}()
	}
	for range 200 - 32 { // the rest is told so at once
		requireReason(t, token.ReasonIntrospectionUnavailable, <-results)
	}
	require.LessOrEqual(t, s.issuer.IntrospectionRequests(), 32)
	close(hold)
	for range 32 {
		require.Error(t, <-results)
	}
}
