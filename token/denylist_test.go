package token_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/token"
)

func TestEntriesOfADenyList(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	issued := s.clock.Now().UTC().Format(time.RFC3339)
	later := s.clock.Now().Add(time.Second).UTC().Format(time.RFC3339)
	verified := s.accepts(t, s.issuer.Mint(t, map[string]any{"jti": "t-1"}))
	for name, c := range map[string]struct {
		list   string
		denied bool
	}{
		"nobody":                      {`{"deny":[]}`, false},
		"subject":                     {`{"deny":[{"subject":"f:alice","note":"left"}]}`, true},
		"client":                      {`{"deny":[{"client":"cli"}]}`, true},
		"id":                          {`{"deny":[{"id":"t-1"}]}`, true},
		"another id":                  {`{"deny":[{"id":"t-2"}]}`, false},
		"issued before":               {`{"deny":[{"issued_before":"` + later + `"}]}`, true},
		"issued at that very second":  {`{"deny":[{"issued_before":"` + issued + `"}]}`, false},
		"subject, issued before":      {`{"deny":[{"subject":"f:alice","issued_before":"` + later + `"}]}`, true},
		"subject, not issued before":  {`{"deny":[{"subject":"f:alice","issued_before":"` + issued + `"}]}`, false},
		"subject at another issuer":   {`{"deny":[{"subject":"f:alice","issuer":"https://other.example"}]}`, false},
		"subject at this issuer":      {`{"deny":[{"subject":"f:alice","issuer":"` + s.issuer.URL + `"}]}`, true},
		"another subject":             {`{"deny":[{"subject":"f:alic"},{"subject":"F:ALICE"}]}`, false},
		"subject, another client":     {`{"deny":[{"subject":"f:alice","client":"x"}]}`, false},
		"id and another subject":      {`{"deny":[{"id":"t-1","subject":"bob"}]}`, false},
		"second of two for a subject": {`{"deny":[{"subject":"f:alice","client":"x"},{"subject":"f:alice"}]}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := token.ParseDenyList([]byte(c.list))
			require.NoError(t, err)
			require.Equal(t, c.denied, list.Denies(verified))
		})
	}
}

// The promise is a second; how long it takes is logged, since a busy machine keeps no promises.
func TestDenyListTakesEffectOnCachedTokensToo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.json")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(`{"deny":[]}`)
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.DenyListFile = path })
	compact := s.issuer.Mint(t, nil)
	becomes := func(reason string) {
		t.Helper()
		begin := time.Now()
		require.Eventually(t, func() bool {
			_, err := s.verify(compact)
			return token.ReasonOf(err) == reason
		}, 10*time.Second, 5*time.Millisecond)
		t.Logf("%q after %s", reason, time.Since(begin).Round(time.Millisecond))
	}
	s.accepts(t, compact)
	for range 2 {
		write(`{"deny":[{"subject":"f:alice"}]}`)
		becomes(token.ReasonDenied)
		write(`{"deny":[]}`)
		becomes("")
	}
	require.Positive(t, s.verifier.CacheStats().Hits)

	write(`{"deny":[{"subject":"f:alice"}]}`)
	becomes(token.ReasonDenied)
	write(`{"deny":[`) // a broken list leaves the last one in force
	require.Never(t, func() bool {
		_, err := s.verify(compact)
		return token.ReasonOf(err) != token.ReasonDenied
	}, 600*time.Millisecond, 20*time.Millisecond)
}

// Who is denied can't go on through somebody else's token, nor by a second name.
func TestDeniedActorsAndClients(t *testing.T) {
	t.Parallel()
	delegated := map[string]any{
		"client_id": "cli", "azp": "broker",
		"act": map[string]any{"sub": "agent-1", "client_id": "planner", "act": map[string]any{"sub": "agent-0"}},
	}
	for name, c := range map[string]struct {
		entry  string
		denied bool
	}{
		"the actor":                 {`{"subject":"agent-1"}`, true},
		"an actor before":           {`{"subject":"agent-0"}`, true},
		"the actor's client":        {`{"client":"planner"}`, true},
		"the client by client_id":   {`{"client":"cli"}`, true},
		"the client by azp":         {`{"client":"broker"}`, true},
		"the actor, another client": {`{"subject":"agent-1","client":"other"}`, false},
		"nobody in it":              {`{"subject":"agent-2"}`, false},
		"an actor's name as client": {`{"client":"agent-1"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "deny.json")
			require.NoError(t, os.WriteFile(path, []byte(`{"deny":[`+c.entry+`]}`), 0o600))
			s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.DenyListFile = path })
			compact := s.issuer.Mint(t, delegated)
			if c.denied {
				s.refuses(t, token.ReasonDenied, compact)
				return
			}
			s.accepts(t, compact)
		})
	}
}

func TestDenyListThatWasNeverRead(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.DenyListFile = "/nowhere/deny.json" })
	_, err := s.verify(s.issuer.Mint(t, nil))
	requireReason(t, token.ReasonDenyListUnavailable, err)
	require.ErrorIs(t, err, token.ErrUnavailable)
}

// What is no file must not hold up the requests that ask for it.
func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, t.TempDir(), "/dev/zero"} {
		s := newSetup(t, func(_ *token.Issuer, o *token.Options) { o.DenyListFile = path })
		_, err := s.verify(s.issuer.Mint(t, nil))
		requireReason(t, token.ReasonDenyListUnavailable, err)
		s = newSetup(t, func(i *token.Issuer, _ *token.Options) { i.JWKSFile = path })
		_, err = s.verify(s.issuer.Mint(t, nil))
		requireReason(t, token.ReasonKeysUnavailable, err)
		s.options.Issuers[0].JWKSFile, s.options.Issuers[0].HTTP.CAFile = "", path
		_, err = token.NewVerifier(s.options)
		require.ErrorContains(t, err, "issuers[1].ca_file")
		s = newSetup(t, withIntrospection, func(i *token.Issuer, _ *token.Options) {
			i.Introspection.ClientSecret, i.Introspection.ClientSecretFile = "", path
		})
		_, err = s.verify("opaque")
		requireReason(t, token.ReasonIntrospectionUnavailable, err)
	}
}

func TestParseDenyListIsStrict(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty file": "", "no list": "{}", "a list": "[]", "empty entry": `{"deny":[{}]}`, "only an issuer": `{"deny":[{"issuer":"x"}]}`,
		"misspelt": `{"deny":[{"subjct":"a"}]}`, "another case": `{"deny":[{"Subject":"a"}]}`, "twice": `{"deny":[{"subject":"a","subject":"b"}]}`,
		"bad time": `{"deny":[{"issued_before":"yesterday"}]}`, "more after it": `{"deny":[]} {}`,
	} {
		_, err := token.ParseDenyList([]byte(text))
		require.Error(t, err, name)
	}
}
