package stamp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
)

// asJSON gives a value as it comes back from Prefect.
func asJSON(t *testing.T, value any) (back map[string]any) {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&back))
	return back
}

func storedRun(t *testing.T, s Stamp, r Run) Stored {
	t.Helper()
	stored := Stored{
		FlowID: r.FlowID, DeploymentID: r.DeploymentID, IdempotencyKey: r.IdempotencyKey,
		Parameters: asJSON(t, r.Parameters), Context: asJSON(t, s.Context), Tags: append([]string{"of the deployment", "team:platform"}, s.Tags...),
		Labels: map[string]any{"prefect.flow.id": "x"}, At: when.Add(time.Hour),
	}
	if s.CreatedByID != uuid.Nil {
		stored.CreatedBy = &CreatedBy{ID: s.CreatedByID, DisplayValue: s.CreatedByName}
	}
	maps.Copy(stored.Labels, s.Labels)
	return stored
}

func codes(findings []Finding) (list []string) {
	for _, f := range findings {
		list = append(list, f.Code)
	}
	return list
}

// forgery is a change of a run, and what is found of it.
type forgery struct {
	change func(*Stored)
	want   []string
}

// forgeries are the ways to make a run say something else, on a run with a
// genuine stamp.
func forgeries(t *testing.T, keys, strangers *signing.Keys) (Stamp, map[string]forgery) {
	t.Helper()
	cause := Cause{Caller: alice, Roles: []string{"runner"}, Rule: "r", RequestID: "q", Team: "reporting", Run: aRun}
	genuine := newStamp(t, keys, cause)
	other := cause
	other.Run.DeploymentID, other.Run.IdempotencyKey = flow, "k2"
	root := cause
	root.Caller = claims.Identity{Subject: "root", Issuer: alice.Issuer, Kind: claims.User}

	inContext := func(change func(stamped map[string]any)) func(*Stored) {
		return func(s *Stored) { change(s.Context[ContextKey].(map[string]any)) }
	}
	// resigned has in the genuine stamp's place what the gateway's key signed for something else.
	resigned := func(typ string, change func(*Claims)) func(*Stored) {
		c := genuine.Claims
		change(&c)
		compact, err := keys.Sign(c, typ)
		require.NoError(t, err)
		return inContext(func(m map[string]any) { m["stamp"] = compact })
	}
	// headed has another header before the genuine payload and signature.
	headed := func(change func(header map[string]any)) func(*Stored) {
		return inContext(func(m map[string]any) {
			encoded, rest, _ := strings.Cut(m["stamp"].(string), ".")
			data, err := base64.RawURLEncoding.DecodeString(encoded)
			require.NoError(t, err)
			header := map[string]any{}
			require.NoError(t, json.Unmarshal(data, &header))
			change(header)
			data, err = json.Marshal(header)
			require.NoError(t, err)
			m["stamp"] = base64.RawURLEncoding.EncodeToString(data) + "." + rest
		})
	}
	filled := cause
	filled.Run.ServerParameters = []string{"secret"}

	return genuine, map[string]forgery{
		"signed for another purpose":   {resigned("kong-prefect-assertion+jwt", func(*Claims) {}), []string{"malformed"}},
		"of another issuer":            {resigned(Type, func(c *Claims) { c.Issuer = "https://gateway.example.com" }), []string{"issuer"}},
		"of another version":           {resigned(Type, func(c *Claims) { c.Version = Version + 1 }), []string{"version"}},
		"a header that asks for more":  {headed(func(h map[string]any) { h["crit"] = []string{"x"} }), []string{"malformed"}},
		"another algorithm":            {headed(func(h map[string]any) { h["alg"] = "HS256" }), []string{"forged"}},
		"no algorithm":                 {headed(func(h map[string]any) { h["alg"] = "none" }), []string{"forged"}},
		"a line break after the stamp": {inContext(func(m map[string]any) { m["stamp"] = m["stamp"].(string) + "\n" }), []string{"malformed"}},
		"what the server fills in": {func(s *Stored) {
			s.Context, s.Parameters["secret"] = asJSON(t, newStamp(t, keys, filled).Context), "of the server"
		}, nil},
		"genuine":                   {func(*Stored) {}, nil},
		"no stamp":                  {func(s *Stored) { s.Context = map[string]any{} }, []string{"absent"}},
		"no context":                {func(s *Stored) { s.Context = nil }, []string{"absent"}},
		"not an object":             {func(s *Stored) { s.Context[ContextKey] = "root" }, []string{"malformed"}},
		"identity without a stamp":  {inContext(func(m map[string]any) { delete(m, "stamp") }), []string{"absent"}},
		"a stamp that is none":      {inContext(func(m map[string]any) { m["stamp"] = "a.b.c" }), []string{"malformed"}},
		"context says another":      {inContext(func(m map[string]any) { m["caller"].(map[string]any)["subject"] = "root" }), []string{"context"}},
		"context says more roles":   {inContext(func(m map[string]any) { m["roles"] = []any{"runner", "owner"} }), []string{"context"}},
		"context has something new": {inContext(func(m map[string]any) { m["approved"] = true }), []string{"context"}},
		"signed with another key":   {func(s *Stored) { s.Context = asJSON(t, newStamp(t, strangers, root).Context) }, []string{"key_unknown"}},
		"another payload": {inContext(func(m map[string]any) {
			a, b := strings.Split(m["stamp"].(string), "."), strings.Split(newStamp(t, strangers, root).Context[ContextKey].(written).Signed, ".")
			m["stamp"] = a[0] + "." + b[1] + "." + a[2]
		}), []string{"forged"}},
		"copied from another run":          {func(s *Stored) { s.Context = asJSON(t, newStamp(t, keys, other).Context) }, []string{"deployment", "idempotency_key"}},
		"another flow":                     {func(s *Stored) { s.FlowID = deployment }, []string{"flow"}},
		"without a key":                    {func(s *Stored) { s.IdempotencyKey = "" }, []string{"idempotency_key"}},
		"other parameters":                 {func(s *Stored) { s.Parameters["region"] = "all" }, []string{"parameters"}},
		"one more parameter":               {func(s *Stored) { s.Parameters["dry_run"] = false }, []string{"parameters"}},
		"no parameters":                    {func(s *Stored) { s.Parameters = nil }, []string{"parameters"}},
		"expired":                          {func(s *Stored) { s.At = when.Add(DefaultLifetime + time.Second) }, []string{"expired"}},
		"created by somebody else":         {func(s *Stored) { s.CreatedBy.DisplayValue = "root" }, []string{"created_by"}},
		"created by another of that name":  {func(s *Stored) { s.CreatedBy.ID = flow }, []string{"created_by"}},
		"created by nobody":                {func(s *Stored) { s.CreatedBy = nil }, []string{"created_by"}},
		"a tag is gone":                    {func(s *Stored) { s.Tags = s.Tags[:3] }, []string{"tags"}},
		"a caller was added":               {func(s *Stored) { s.Tags = append(s.Tags, "caller:root") }, []string{"tags"}},
		"a caller was added, another case": {func(s *Stored) { s.Tags = append(s.Tags, "CALLER: root") }, []string{"tags"}},
		"another tag is nobody's business": {func(s *Stored) { s.Tags = append(s.Tags, "seen") }, nil},
		"the order of tags is no matter":   {func(s *Stored) { slices.Reverse(s.Tags) }, nil},
		"a label was rewritten":            {func(s *Stored) { s.Labels["kong-prefect.subject"] = "root" }, []string{"labels"}},
		"a label of ours was added":        {func(s *Stored) { s.Labels["kong-prefect.approved"] = true }, []string{"labels"}},
		"labels are gone":                  {func(s *Stored) { s.Labels = nil }, []string{"labels"}},
		"all at once": {func(s *Stored) { s.Labels, s.Tags, s.Parameters, s.DeploymentID = nil, nil, nil, uuid.Nil },
			[]string{"deployment", "parameters", "tags", "tags", "labels"}},
	}
}

func TestExamine(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	genuine, all := forgeries(t, keys, newKeys(t))
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := storedRun(t, genuine, aRun)
			c.change(&run)
			signed, findings := Examine(run, keys)
			require.Equal(t, c.want, codes(findings), "%v", findings)
			if signed != nil && name != "copied from another run" {
				require.Equal(t, "5d1a", signed.Caller.Subject)
			}
		})
	}
}

func TestWhatTheServerFillsInIsNotSigned(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	r := aRun
	r.ServerParameters = []string{"secret"}
	run := storedRun(t, newStamp(t, keys, Cause{Caller: alice, Run: r}), r)
	run.Parameters["secret"] = "of the server"
	_, findings := Examine(run, keys)
	require.Empty(t, findings)
}

func TestAChainOfRunsKeepsItsFirstCaller(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	service := func(name string) claims.Identity {
		return claims.Identity{Subject: name, Issuer: alice.Issuer, Kind: claims.Service, Client: name}
	}
	first := newStamp(t, keys, Cause{Caller: alice, Roles: []string{"viewer", "runner"}, RequestID: "q1", Run: aRun})
	next := func(s Stamp, caller claims.Identity, requestID, key string, roles ...string) Stamp {
		parent, err := Parent(keysAt{keys, when}, []string{s.Context[ContextKey].(written).Signed})
		require.NoError(t, err)
		r := aRun
		r.IdempotencyKey = key
		return newStamp(t, keys, Cause{Caller: caller, Roles: roles, RequestID: requestID, Parent: parent, Run: r})
	}
	second := next(first, service("svc-flows"), "q2", "k2", "owner", "runner")
	third := next(second, service("svc-late"), "q3", "k3", "owner", "viewer", "runner")

	require.Equal(t, "5d1a", third.Claims.Caller.Subject)
	require.Equal(t, []string{"svc-late", "svc-flows"}, []string{third.Claims.Actors[0].Subject, third.Claims.Actors[1].Subject})
	require.Equal(t, []string{"runner"}, second.Claims.Roles)
	require.Equal(t, []string{"runner"}, third.Claims.Roles, "a role lost on the way doesn't come back")
	require.Equal(t, []Link{{deployment, "k2", "q2"}, {deployment, "k1", "q1"}}, third.Claims.Via)
	require.Equal(t, first.CreatedByID, third.CreatedByID)
	require.Equal(t, "Alice Ä <alice@example.com> by svc-late", third.CreatedByName)
	require.Equal(t, []string{"caller:Alice Ä", "actor:svc-late", "actor:svc-flows"}, third.Tags)
	r := aRun
	r.IdempotencyKey = "k3"
	_, findings := Examine(storedRun(t, third, r), keys)
	require.Empty(t, findings)

	// Somebody else starts Alice's run once more: both are shown.
	bob := claims.Identity{Subject: "b0b", Issuer: alice.Issuer, Kind: claims.User, Name: "Bob"}
	again := next(first, bob, "q4", "k4", "runner")
	require.Equal(t, "Alice Ä <alice@example.com> by Bob", again.CreatedByName)
	require.Equal(t, "5d1a", again.Claims.Caller.Subject)
	require.Equal(t, "b0b", again.Claims.Actors[0].Subject)

	for range maxLinks - 2 {
		third = next(third, service("svc-loop"), "q", "k", "runner")
	}
	_, err := Parent(keysAt{keys, when}, []string{third.Context[ContextKey].(written).Signed})
	require.ErrorIs(t, err, ErrParent, "a run that starts itself ends")
}

func TestParentIsRefused(t *testing.T) {
	t.Parallel()
	keys, strangers := newKeys(t), newKeys(t)
	good := newStamp(t, keys, Cause{Caller: alice, Run: aRun}).Context[ContextKey].(written).Signed
	foreign := newStamp(t, strangers, Cause{Caller: alice, Run: aRun}).Context[ContextKey].(written).Signed
	none, err := Parent(keys, nil)
	require.NoError(t, err)
	require.Nil(t, none)
	for name, c := range map[string]struct {
		values []string
		at     time.Time
	}{
		"two": {[]string{good, good}, when}, "empty": {[]string{""}, when}, "text": {[]string{"alice"}, when},
		"a stranger's": {[]string{foreign}, when}, "expired": {[]string{good}, when.Add(DefaultLifetime + time.Second)},
	} {
		_, err := Parent(keysAt{keys, c.at}, c.values)
		require.ErrorIs(t, err, ErrParent, name)
	}
	_, err = Parent(nil, []string{good})
	require.ErrorIs(t, err, ErrParent)
}

func TestRolesNeverGrow(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"a", "b"}, Roles([]string{"a", "b"}, nil))
	require.Equal(t, []string{"b"}, Roles([]string{"a", "b"}, &Claims{Context: Context{Roles: []string{"b", "c"}}}))
	require.Empty(t, Roles([]string{"a"}, &Claims{}))
	require.Empty(t, Roles(nil, &Claims{Context: Context{Roles: []string{"a"}}}))
}
