package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/explain"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token/tokentest"
)

const explainedKong = `_format_version: "3.0"
plugins:
- name: prefect-identity
  config:
    issuers:
    - {issuer: "https://idp.example", audiences: [kong-prefect]}
    roles:
    - {role: runner, clients: [svc]}
services:
- name: runs
  host: prefect.invalid
  routes:
  - name: report
    paths: [/run/report]
    plugins:
    - name: rate-limiting
      config: {minute: 5}
    - name: prefect-trigger
      config:
        prefect: {api_url: "{vault://env/explained-prefect}"}
        deployment: report/prod
        allow: [{name: small, roles: [runner], when: "parameters.n < 10"}]
- name: api
  host: prefect.invalid
  routes:
  - name: api
    paths: [/api]
    strip_path: false
    plugins:
    - name: prefect-guard
      config: {prefect: {api_url: "{vault://env/explained-prefect}"}}
`

// explained is a kong.yml, the issuer's key set and a token of svc.
func explained(t *testing.T) (config, jwks, token string) {
	t.Helper()
	dir := t.TempDir()
	config, jwks = filepath.Join(dir, "kong.yml"), filepath.Join(dir, "jwks.json")
	key := tokentest.NewKey(t, "k1", "RS256")
	require.NoError(t, os.WriteFile(config, []byte(explainedKong), 0o600))
	set, err := json.Marshal(map[string]any{"keys": []any{key.JWK()}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(jwks, set, 0o600))
	now := time.Now()
	return config, jwks, key.Sign(t, nil, map[string]any{
		"iss": "https://idp.example", "aud": "kong-prefect", "sub": "svc", "client_id": "svc", "azp": "svc",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
}

func TestExplain(t *testing.T) {
	config, jwks, token := explained(t)
	server := prefecttest.NewServer(prefecttest.Options{})
	t.Cleanup(server.Close)
	server.AddDeployment(prefecttest.Deployment{
		Flow: "report", Name: "prod", WorkPool: "p", ParameterSchema: `{"type":"object","properties":{"n":{"type":"integer"}}}`,
	})
	t.Setenv("EXPLAINED_PREFECT", server.URL)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	small, large := file("small.json", `{"n":3}`), file("large.json", `{"n":30}`)
	base := []string{"explain", config, "--jwks", jwks, "--token-file", file("token", token+"\n")}
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"a run", append(base, "--path", "/run/report", "--body", small), 0,
			[]string{`with the key "k1"`, "client_id = svc", "by roles[1]", "allows, and decides", "a run would be started", "/create_flow_run", "rate-limiting"}},
		{"a condition that doesn't hold", append(base, "--path", "/run/report", "--body", large), exitFound, []string{"doesn't hold: parameters.n < 10", "policy_denied", "403"}},
		{"guard", append(base, "--method", "post", "--path", "/api/flow_runs/filter", "--route", "api"), 0, []string{"see_flow_runs", "the request goes on"}},
		{"nobody", []string{"explain", config, "--path", "/run/report"}, exitFound, []string{"token_missing", "401"}},
		{"no route", append(base, "--path", "/none"), exitFound, []string{"404"}},
		{"offline", append(base, "--path", "/run/report", "--offline"), exitTrouble, []string{"isn't known here", "not asked", "Prefect wasn't asked"}},
		{"offline without keys", []string{"explain", config, "--path", "/run/report", "--offline", "--token", token}, exitTrouble, []string{"keys_unavailable", "says, not verified"}},
		{"no such route", append(base, "--path", "/run/report", "--route", "none"), exitUsage, []string{`no route "none"`}},
		{"no path", base, exitUsage, []string{"--path"}},
		{"no kong.yml", []string{"explain", small, "--path", "/"}, exitTrouble, []string{"_format_version"}},
		{"a decision without a folder", []string{"explain", "--decision", "1"}, exitUsage, []string{"--audit"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := exitCode(run(t.Context(), c.args, &out, &stderr), &stderr)
			require.Equal(t, c.code, code, "%s%s", out.String(), stderr.String())
			for _, text := range c.says {
				require.Contains(t, out.String()+stderr.String(), text)
			}
			require.NotContains(t, out.String(), token[strings.LastIndexByte(token, '.'):])
			if testing.Verbose() {
				t.Log("\n" + out.String())
			}
		})
	}
	for _, r := range server.Requests() {
		require.NotContains(t, r.Path, "create_flow_run", "nothing has an effect")
	}
	t.Run("references without a value", func(t *testing.T) {
		require.NoError(t, os.Unsetenv("EXPLAINED_PREFECT"))
		err := run(t.Context(), append(base, "--path", "/run/report"), io.Discard, io.Discard)
		require.ErrorContains(t, err, "EXPLAINED_PREFECT, which isn't set")
		require.ErrorIs(t, err, errUsage)
	})
}

func TestExplainADecision(t *testing.T) {
	t.Parallel()
	dir, _ := audited(t)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"explain", "--decision", "3", "--audit", dir, "--json"}, &out, io.Discard))
	var e explain.Explanation
	require.NoError(t, json.Unmarshal(out.Bytes(), &e))
	require.Equal(t, explain.Starts, e.Verdict.Outcome)
	require.Equal(t, "r", e.Verdict.Run)
	require.Equal(t, exitTrouble, exitCode(run(t.Context(), []string{"explain", "--decision", "none", "--audit", dir}, &out, io.Discard), io.Discard))
}

// Each end that a request can have on record is told as that end.
func TestExplainDecisionsByTheirEnds(t *testing.T) {
	t.Parallel()
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	for _, c := range []struct {
		types   []audit.Type
		outcome explain.Outcome
		status  int
		code    int
	}{
		{[]audit.Type{audit.AccessAllowed, audit.RunCreated}, explain.Starts, 201, 0},
		{[]audit.Type{audit.AccessAllowed, audit.RunAccepted}, explain.Answers, 202, 0},
		{[]audit.Type{audit.AccessAllowed, audit.RunAccepted, audit.RunCreated}, explain.Starts, 201, 0},
		{[]audit.Type{audit.AccessAllowed, audit.RunAccepted, audit.RunDead}, explain.Answers, 202, 0},
		{[]audit.Type{audit.AccessAllowed, audit.RunAbsent}, explain.Unknown, 0, exitTrouble},
		{[]audit.Type{audit.AccessRefused}, explain.Refused, 0, exitFound},
	} {
		dir := t.TempDir()
		log, err := audit.Open(audit.Options{Dir: dir, Signer: keys})
		require.NoError(t, err)
		for _, kind := range c.types {
			require.NoError(t, log.Append(t.Context(), audit.Event{Type: kind, RequestID: "q"}, true))
		}
		require.NoError(t, log.Close())
		var out bytes.Buffer
		code := exitCode(run(t.Context(), []string{"explain", "--decision", "q", "--audit", dir, "--json"}, &out, io.Discard), io.Discard)
		var e explain.Explanation
		require.NoError(t, json.Unmarshal(out.Bytes(), &e))
		require.Equal(t, c.outcome, e.Verdict.Outcome, c.types)
		require.Equal(t, c.status, e.Verdict.Status, c.types)
		require.Equal(t, c.code, code, c.types)
	}
}
