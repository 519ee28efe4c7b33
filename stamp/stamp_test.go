package stamp

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
)

var alice = claims.Identity{
	Subject: "5d1a", Issuer: "https://idp.example.com", Kind: claims.User, Name: "Alice Ä",
	Email: "alice@example.com", Client: "portal", Groups: []string{"data-team"}, Scopes: []string{"openid"},
}

func TestStamp(t *testing.T) {
	t.Parallel()
	s := New(Cause{Caller: alice, Roles: []string{"runner"}, Rule: "allow_roles:runner", RequestID: "r1", Team: "reporting", BusinessFunction: "finance"})
	context, err := json.Marshal(s.Context)
	require.NoError(t, err)
	require.JSONEq(t, `{"kong_prefect":{"version":1,"roles":["runner"],"rule":"allow_roles:runner","request_id":"r1",
		"team":"reporting","business_function":"finance",
		"caller":{"subject":"5d1a","issuer":"https://idp.example.com","kind":"user","name":"Alice Ä","email":"alice@example.com","client":"portal"}}}`, string(context))
	require.Equal(t, "Alice Ä <alice@example.com>", s.CreatedByName)
	require.Equal(t, []string{"caller:Alice Ä", "team:reporting", "function:finance"}, s.Tags)
	require.Equal(t, map[string]any{
		"kong-prefect.subject": "5d1a", "kong-prefect.issuer": "https://idp.example.com", "kong-prefect.kind": "user",
		"kong-prefect.client": "portal", "kong-prefect.request-id": "r1",
	}, s.Labels)
}

func TestActorIsShown(t *testing.T) {
	t.Parallel()
	id := alice
	id.Actors = []claims.Actor{{Subject: "agent-planner"}, {Subject: "portal"}}
	s := New(Cause{Caller: id})
	require.Equal(t, "Alice Ä <alice@example.com> by agent-planner", s.CreatedByName)
	require.Equal(t, id.Actors, s.Context[ContextKey].(Context).Actors)
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
		IdempotencyKey(alice, one, "k", "r1"), IdempotencyKey(bob, one, "k", "r1"), IdempotencyKey(alice, two, "k", "r1"),
		IdempotencyKey(alice, one, "k2", "r1"), IdempotencyKey(alice, one, "", "k"), IdempotencyKey(alice, one, "", "r2"),
	} {
		require.False(t, keys[key])
		keys[key] = true
	}
	require.Equal(t, IdempotencyKey(alice, one, "k", "r1"), IdempotencyKey(alice, one, "k", "r2"), "the caller's key counts, whatever the request")
}

func TestTagsAreCutBetweenRunes(t *testing.T) {
	t.Parallel()
	for n := 180; n < 220; n++ {
		id := alice
		id.Name = strings.Repeat("a", n) + strings.Repeat("Ä", 50)
		tag := New(Cause{Caller: id}).Tags[0]
		require.LessOrEqual(t, len(tag), maxTagBytes)
		require.True(t, utf8.ValidString(tag))
		require.True(t, strings.HasSuffix(tag, "…"))
	}
}
