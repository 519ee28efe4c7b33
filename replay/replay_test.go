package replay_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/replay"
	"github.com/kong-prefect/kong-prefect/signing"
)

const policy = `_format_version: "3.0"
plugins:
- name: prefect-identity
  config:
    issuers: [{issuer: "https://idp", audiences: [a]}]
    roles:
    - {role: runner, clients: [svc]}
    - {role: viewer, groups: [team]}
    - {role: careful, clients: [cond], condition: "identity.email != ''"}
services:
- name: runs
  host: prefect.invalid
  routes:
  - name: report
    paths: [/run/report]
    plugins:
    - {name: prefect-trigger, config: {prefect: {api_url: "{vault://env/none}"}, deployment: report/prod, allow_roles: [runner, careful]}}
  - name: limited
    paths: [/run/limited]
    plugins:
    - {name: prefect-trigger, config: {prefect: {api_url: "http://p/api"}, deployment: limited/prod, allow: [{name: small, roles: [runner], when: "parameters.n < 10"}]}}
  - name: chosen
    paths: [/choose]
    plugins:
    - {name: prefect-trigger, config: {prefect: {api_url: "http://p/api"}, path: "/choose/{flow}/{deployment}", choose: ["a/*"], allow_roles: [runner]}}
  - name: api
    paths: [/api]
    plugins:
    - {name: prefect-guard, config: {prefect: {api_url: "http://p/api"}, grants: [{role: viewer}, {role: runner, permissions: [run_deployments], flows: [x]}]}}
`

func read(t *testing.T, text string) *kongyml.File {
	t.Helper()
	f, err := kongyml.Read([]byte(text))
	require.NoError(t, err)
	return f
}

func caller(client string) *audit.Caller {
	return &audit.Caller{Kind: claims.Service, Subject: client, Issuer: "https://idp", Name: client, Client: client}
}

func known(groups ...string) *audit.Basis {
	return &audit.Basis{Groups: groups, Scopes: []string{}}
}

// outcome replays one record.
func outcome(t *testing.T, e audit.Event, o replay.Options) replay.Outcome {
	t.Helper()
	dir := t.TempDir()
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	log, err := audit.Open(audit.Options{Dir: dir, Signer: keys})
	require.NoError(t, err)
	require.NoError(t, log.Append(t.Context(), e, true))
	require.NoError(t, log.Close())
	o.Audit, o.To = dir, time.Now().Add(time.Hour)
	o.Env = func(string) (string, bool) { return "", false }
	got, err := replay.Replay(o)
	require.NoError(t, err)
	return got
}

func TestReplay(t *testing.T) {
	t.Parallel()
	const allowed, refused = audit.AccessAllowed, audit.AccessRefused
	trigger := func(kind audit.Type, client, path, deployment, reason string, b *audit.Basis) audit.Event {
		return audit.Event{Type: kind, Plugin: "prefect-trigger", Caller: caller(client), Method: "POST", Path: path, Deployment: deployment, Reason: reason, Basis: b}
	}
	elsewhere := trigger(allowed, "svc", "/run/report", "report/prod", "", known())
	elsewhere.Caller.Issuer = "https://other"
	asRun := trigger(allowed, "svc", "/run/report", "report/prod", "", &audit.Basis{ParentRequestID: "r"})
	guard := func(kind audit.Type, client, method, path, permission string, b *audit.Basis) audit.Event {
		return audit.Event{Type: kind, Plugin: "prefect-guard", Caller: caller(client), Method: method, Path: path, Permission: permission, Prefect: "http://p/api", Reason: map[audit.Type]string{refused: "permission_missing"}[kind], Basis: b}
	}
	for _, c := range []struct {
		name   string
		event  audit.Event
		effect replay.Effect
		says   string
	}{
		{"still allowed", trigger(allowed, "svc", "/run/report", "report/prod", "", known()), replay.Unchanged, ""},
		{"has no role any more", trigger(allowed, "old", "/run/report", "report/prod", "", known()), replay.Loses, "role_not_allowed"},
		{"gets a role", trigger(refused, "svc", "/run/report", "report/prod", "role_not_allowed", known()), replay.Gains, "allowed"},
		{"still refused", trigger(refused, "old", "/run/report", "report/prod", "role_not_allowed", known()), replay.Unchanged, ""},
		{"a role by a condition", trigger(allowed, "cond", "/run/report", "report/prod", "", known()), replay.Undecidable, "a condition"},
		{"a rule with a condition", trigger(allowed, "svc", "/run/limited", "limited/prod", "", known()), replay.Undecidable, "a condition"},
		{"no groups on record", trigger(allowed, "somebody", "/run/report", "report/prod", "", nil), replay.Loses, "role_not_allowed"},
		{"an issuer that is gone", elsewhere, replay.Loses, "token_issuer_unknown"},
		{"asked for by a run", asRun, replay.Undecidable, "a run asks"},
		{"another deployment", trigger(allowed, "svc", "/run/report", "report/old", "", known()), replay.Other, "starts report/prod"},
		{"a path without a route", trigger(allowed, "svc", "/run/gone", "report/prod", "", known()), replay.Loses, "no route"},
		{"an old record, by its deployment", trigger(allowed, "svc", "", "report/prod", "", nil), replay.Unchanged, ""},
		{"chosen", trigger(allowed, "svc", "/choose/{flow}/{deployment}", "a/x", "", known()), replay.Unchanged, ""},
		{"not offered", trigger(allowed, "svc", "/choose/{flow}/{deployment}", "b/x", "", known()), replay.Loses, "deployment_not_offered"},
		{"guard, by a group", guard(refused, "p", "POST", "/flow_runs/filter", "", known("team")), replay.Gains, "allowed"},
		{"guard, groups not known", guard(refused, "p", "POST", "/flow_runs/filter", "", nil), replay.Undecidable, "groups and scopes"},
		{"guard, limited", guard(allowed, "svc", "POST", "/deployments/x/create_flow_run", "run_deployments", known()), replay.Undecidable, "limited"},
		{"guard, no role", guard(allowed, "p", "POST", "/deployments/x/create_flow_run", "run_deployments", known()), replay.Loses, "permission_missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := outcome(t, c.event, replay.Options{Policy: read(t, policy)})
			require.Equal(t, map[replay.Effect]int{c.effect: 1}, got.Counts, "%+v", got.Changes)
			if c.effect == replay.Unchanged {
				require.Empty(t, got.Changes)
				return
			}
			require.Len(t, got.Changes, 1)
			require.Equal(t, 1, got.Changes[0].Times)
			require.Contains(t, got.Changes[0].WouldBe, c.says)
			// What both say the same about is unchanged, whatever isn't on record.
			same := outcome(t, c.event, replay.Options{Policy: read(t, policy), Was: read(t, strings.Replace(policy, "http://p/api", "http://moved/api", 1))})
			if c.effect == replay.Undecidable {
				require.Equal(t, map[replay.Effect]int{replay.Unchanged: 1}, same.Counts)
			}
		})
	}
}

func TestReplayLeavesOutWhatIsNoPolicy(t *testing.T) {
	t.Parallel()
	for _, e := range []audit.Event{
		{Type: audit.AccessRefused, Plugin: "prefect-identity", Reason: "token_expired"},
		{Type: audit.AccessRefused, Plugin: "prefect-trigger", Caller: caller("svc"), Reason: "parameters_invalid"},
	} {
		got := outcome(t, e, replay.Options{Policy: read(t, policy)})
		require.Zero(t, got.Decisions)
		require.Equal(t, 1, got.Skipped)
	}
}

func TestReplayOfBrokenPolicies(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		strings.Replace(policy, `"https://idp"`, `"{vault://env/idp}"`, 1):          "IDP, which isn't set",
		strings.Replace(policy, "allow_roles: [runner, careful]", "", 1):            "nobody is allowed",
		strings.Replace(policy, `"identity.email != ''"`, `"identity.email !="`, 1): "condition",
	} {
		_, err := replay.Replay(replay.Options{Audit: t.TempDir(), Policy: read(t, text), Env: func(string) (string, bool) { return "", false }})
		require.ErrorContains(t, err, says)
	}
}
