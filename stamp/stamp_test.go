package stamp

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
)

var alice = claims.Identity{
	Subject: "5d1a", Issuer: "https://idp.example.com", Kind: claims.User, Name: "Alice Ä",
	Email: "alice@example.com", Client: "portal", Groups: []string{"data-team"}, Scopes: []string{"openid"},
}

var (
	when       = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	deployment = uuid.MustParse("11111111-1111-4111-8111-111111111111")
	flow       = uuid.MustParse("22222222-2222-4222-8222-222222222222")
	aRun       = Run{FlowID: flow, DeploymentID: deployment, IdempotencyKey: "k1", Parameters: map[string]any{"region": "emea"}}
)

func newKeys(t *testing.T) *signing.Keys {
	t.Helper()
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	return keys
}

func newStamp(t *testing.T, keys *signing.Keys, c Cause) Stamp {
	t.Helper()
	s, err := New(c, Options{Signer: keys, Now: func() time.Time { return when }})
	require.NoError(t, err)
	return s
}

func TestStamp(t *testing.T) {
	t.Parallel()
	s := newStamp(t, newKeys(t), Cause{
		Caller: alice, Roles: []string{"runner"}, Rule: "allow_roles:runner", RequestID: "r1", Team: "reporting", BusinessFunction: "finance",
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Run: aRun,
	})
	context := asJSON(t, s.Context)[ContextKey].(map[string]any)
	delete(context, "stamp")
	text, err := json.Marshal(context)
	require.NoError(t, err)
	require.JSONEq(t, `{"version":1,"roles":["runner"],"rule":"allow_roles:runner","request_id":"r1",
		"team":"reporting","business_function":"finance",
		"caller":{"subject":"5d1a","issuer":"https://idp.example.com","kind":"user","name":"Alice Ä","email":"alice@example.com","client":"portal"}}`, string(text))
	require.Equal(t, "Alice Ä <alice@example.com>", s.CreatedByName)
	require.Equal(t, []string{"caller:Alice Ä", "team:reporting", "function:finance"}, s.Tags)
	require.Equal(t, map[string]any{
		"kong-prefect.subject": "5d1a", "kong-prefect.issuer": "https://idp.example.com", "kong-prefect.kind": "user",
		"kong-prefect.client": "portal", "kong-prefect.request-id": "r1",
		"__OTEL_TRACEPARENT": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}, s.Labels)
}

func TestWhatIsWrittenIsAChoice(t *testing.T) {
	t.Parallel()
	cause := Cause{Caller: alice, Run: aRun, Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	empty := func(p Part, s Stamp) bool {
		switch p {
		case PartContext:
			return s.Context == nil
		case PartCreatedBy:
			return s.CreatedByID == uuid.Nil && s.CreatedByName == "" && s.Claims.CreatedBy == nil
		case PartTags:
			return s.Tags == nil
		case PartLabels:
			return s.Labels["kong-prefect.subject"] == nil
		default:
			return s.Labels[LabelTrace] == nil
		}
	}
	for _, omitted := range Parts {
		keys := newKeys(t)
		s, err := New(cause, Options{Signer: keys, Omit: []Part{omitted}})
		require.NoError(t, err)
		for _, p := range Parts {
			require.Equal(t, p == omitted, empty(p, s), "%s without %s", p, omitted)
		}
		if omitted != PartContext {
			_, findings := Examine(storedRun(t, s, aRun), keys)
			require.Empty(t, findings, "what wasn't written isn't missed: %s", omitted)
		}
	}
	_, err := New(cause, Options{})
	require.ErrorIs(t, err, ErrNotSigned, "no key, no run")
	_, err = New(cause, Options{Omit: []Part{PartContext}})
	require.NoError(t, err)
}

func TestActorIsShown(t *testing.T) {
	t.Parallel()
	id := alice
	id.Actors = []claims.Actor{{Subject: "agent-planner", Kind: claims.Agent}, {Client: "portal"}}
	s := newStamp(t, newKeys(t), Cause{Caller: id, Run: aRun})
	require.Equal(t, "Alice Ä <alice@example.com> by agent-planner", s.CreatedByName)
	require.Equal(t, []Actor{{Subject: "agent-planner", Kind: claims.Agent}, {Client: "portal"}}, s.Claims.Actors)
	require.Equal(t, []string{"caller:Alice Ä", "actor:agent-planner", "actor:portal"}, s.Tags)
}

func TestTraceContext(t *testing.T) {
	t.Parallel()
	const ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for header, want := range map[string]string{
		"00-" + ids: "00-" + ids, "cc-" + ids + "-more": "00-" + ids, "00-" + ids + "-more": "", "ff-" + ids: "", "": "", ids: "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01": "", "00-" + ids + "\n": "", " 00-" + ids: "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": "", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": "",
	} {
		require.Equal(t, want, traceLabel(header), header)
	}
}

func TestReserved(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{"caller:root", "Caller:root", " caller :root", "caller\u200b:root", "ｃaller：root", "team:a", "function:", "actor:x"} {
		require.True(t, ReservedTag(tag), "%q", tag)
	}
	for _, tag := range []string{"callers:root", "caller", "nightly", "", "my-team:a"} {
		require.False(t, ReservedTag(tag), "%q", tag)
	}
	for _, label := range []string{"kong-prefect.subject", "Kong-Prefect.x", "prefect.deployment.id", "__OTEL_TRACEPARENT"} {
		require.True(t, ReservedLabel(label), "%q", label)
	}
	require.False(t, ReservedLabel("kong-prefecture"))
}

func TestCallerIDIsTheCallers(t *testing.T) {
	t.Parallel()
	renamed := alice
	renamed.Name, renamed.Email, renamed.Groups = "Alice B", "", nil
	require.Equal(t, CallerID(alice), CallerID(renamed))
	elsewhere := alice
	elsewhere.Issuer = "https://other.example.com"
	require.NotEqual(t, CallerID(alice), CallerID(elsewhere))
	somebody := alice
	somebody.Subject = "5d1b"
	require.NotEqual(t, CallerID(alice), CallerID(somebody))
}

func TestIdempotencyKeysAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	one, two := uuid.New(), uuid.New()
	bob := alice
	bob.Subject = "b"
	keys := map[string]bool{}
	for _, key := range []string{
		IdempotencyKey(alice, nil, one, "k", "r1"), IdempotencyKey(bob, nil, one, "k", "r1"), IdempotencyKey(alice, nil, two, "k", "r1"),
		IdempotencyKey(bob, chainOf("5d1a"), one, "k", "r1"), IdempotencyKey(bob, chainOf("5d1b"), one, "k", "r1"),
		IdempotencyKey(alice, nil, one, "k2", "r1"), IdempotencyKey(alice, nil, one, "", "k"), IdempotencyKey(alice, nil, one, "", "r2"),
	} {
		require.False(t, keys[key])
		keys[key] = true
	}
	require.Equal(t, IdempotencyKey(alice, nil, one, "k", "r1"), IdempotencyKey(alice, nil, one, "k", "r2"), "the caller's key counts, whatever the request")
}

func chainOf(subject string) *Claims {
	return &Claims{Context: Context{Caller: Caller{Subject: subject, Issuer: alice.Issuer}}}
}

func TestTagsAreCutBetweenRunes(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	for n := 180; n < 220; n++ {
		id := alice
		id.Name = strings.Repeat("a", n) + strings.Repeat("Ä", 50)
		tag := newStamp(t, keys, Cause{Caller: id, Run: aRun}).Tags[0]
		require.LessOrEqual(t, len(tag), maxTagBytes)
		require.True(t, utf8.ValidString(tag))
		require.True(t, strings.HasSuffix(tag, "…"))
	}
}
