package stamp_test

import (
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/stamp"
	"github.com/kong-prefect/kong-prefect/test/stack"
)

// forged is a stamp for a run of relay/idle that somebody makes who has keys: the gateway's, or others.
func forged(t *testing.T, keyFile string, age time.Duration, idempotencyKey string) stamp.Stamp {
	t.Helper()
	keys, err := signing.Open(signing.Options{File: keyFile})
	require.NoError(t, err)
	var d struct {
		ID     uuid.UUID
		FlowID uuid.UUID `json:"flow_id"`
	}
	require.NoError(t, s.Prefect.Get(t.Context(), "/deployments/name/relay/idle", &d))
	made, err := stamp.New(stamp.Cause{
		Caller: claims.Identity{Subject: "root", Issuer: s.Provider.Issuer(), Kind: claims.User, Name: "Root"}, Roles: []string{"owner"},
		Run: stamp.Run{FlowID: d.FlowID, DeploymentID: d.ID, IdempotencyKey: idempotencyKey, Parameters: map[string]any{"note": "of the deployment"}},
	}, stamp.Options{Signer: keys, Omit: []stamp.Part{stamp.PartCreatedBy}, Now: func() time.Time { return time.Now().Add(-age) }})
	require.NoError(t, err)
	return made
}

func signed(t *testing.T, made stamp.Stamp) string {
	t.Helper()
	return asRun(t, made)["context"].(map[string]any)["kong_prefect"].(map[string]any)["stamp"].(string)
}

func expiredStamp(t *testing.T) string {
	return signed(t, forged(t, s.keyFile, 8*24*time.Hour, "k"))
}

func foreignStamp(t *testing.T) string {
	return signed(t, forged(t, filepath.Join(t.TempDir(), "keys.json"), 0, "k"))
}

// post makes a run as somebody does who has Prefect's own credential.
func post(t *testing.T, path string, body map[string]any) string {
	t.Helper()
	var made struct{ ID string }
	require.NoError(t, s.Prefect.Post(t.Context(), path, body, &made))
	return made.ID
}

// copied is a run with all that another one has.
func copied(run stack.Run, change map[string]any) map[string]any {
	body := map[string]any{
		"flow_id": run.FlowID, "deployment_id": run.DeploymentID, "parameters": run.Parameters, "context": run.Context,
		"tags": run.Tags, "labels": run.Labels,
	}
	maps.Copy(body, change)
	return body
}

func TestForgeries(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	genuine := func() stack.Run {
		run, err := s.Prefect.Run(ctx, trigger(t, "alice", "/run/idle", map[string]any{"amount": 2.5}, nil))
		require.NoError(t, err)
		return run
	}
	first := genuine()
	create := func(run stack.Run) string { return "/deployments/" + run.DeploymentID + "/create_flow_run" }
	prod, err := s.Prefect.DeploymentID(ctx, "relay/prod")
	require.NoError(t, err)
	withKey := func(keyFile string, age time.Duration) string {
		key := uuid.NewString()
		body := asRun(t, forged(t, keyFile, age, key))
		body["idempotency_key"] = key
		return post(t, create(first), body)
	}
	patched := func(path string, body map[string]any) string {
		run := genuine()
		require.NoError(t, s.Prefect.Patch(ctx, "/flow_runs/"+run.ID+path, body))
		return run.ID
	}
	rewritten := copied(first, map[string]any{"idempotency_key": nil})
	rewritten["context"] = map[string]any{"kong_prefect": map[string]any{
		"caller": map[string]any{"subject": "root"}, "stamp": first.Context["kong_prefect"].(map[string]any)["stamp"],
	}}

	forgeries := map[string]struct {
		id   string
		want []string
	}{
		"nothing":                                {first.ID, []string{}},
		"POST /flow_runs/ with a copied context": {post(t, "/flow_runs/", copied(first, nil)), []string{"idempotency_key", "created_by"}},
		"the same, and another caller in the plain part": {post(t, "/flow_runs/", rewritten), []string{"idempotency_key", "context", "created_by"}},
		"create_flow_run of another deployment": {post(t, "/deployments/"+prod+"/create_flow_run", map[string]any{
			"parameters": first.Parameters, "context": first.Context, "tags": first.Tags, "labels": patchable(first.Labels),
		}), []string{"deployment", "idempotency_key", "created_by"}},
		"a caller without a signature": {post(t, create(first), map[string]any{
			"context": map[string]any{"kong_prefect": map[string]any{"caller": map[string]any{"subject": "root"}}},
		}), []string{"absent"}},
		"past the gateway":               {post(t, create(first), map[string]any{}), []string{"absent"}},
		"PATCH of the parameters":        {patched("", map[string]any{"parameters": map[string]any{"amount": 1e6, "note": "of the deployment"}}), []string{"parameters"}},
		"PATCH of a default":             {patched("", map[string]any{"parameters": map[string]any{"amount": 2.5, "note": ""}}), []string{"parameters"}},
		"PATCH of the labels":            {patched("/labels", map[string]any{"kong-prefect.subject": "root"}), []string{"labels"}},
		"PATCH of the tags":              {patched("", map[string]any{"parameters": first.Parameters, "tags": []string{"caller:Root"}}), []string{"tags", "tags"}},
		"a stamp that has expired":       {withKey(s.keyFile, 8*24*time.Hour), []string{"expired"}},
		"a key that isn't the gateway's": {withKey(filepath.Join(t.TempDir(), "keys.json"), 0), []string{"key_unknown"}},
	}
	var ids []string
	for _, f := range forgeries {
		ids = append(ids, f.id)
	}
	python := examine(t, ids...)
	for name, f := range forgeries {
		require.Equal(t, f.want, python[f.id], "%s, by the Python module", name)
		require.Equal(t, f.want, verifyRun(t, f.id).codes(), "%s, by verify-run", name)
	}

	// The key of the stamp is taken: who sends it along gets the first run, not a second one.
	again := post(t, "/flow_runs/", copied(first, map[string]any{"idempotency_key": first.IdempotencyKey}))
	require.Equal(t, first.ID, again)
}

// A worker runs what was changed, and the flow refuses before it does anything.
func TestAFlowRefusesWhatWasChangedBeforeItsStart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	run, err := s.Prefect.Run(ctx, trigger(t, "alice", "/run/idle", map[string]any{"amount": 2.5}, nil))
	require.NoError(t, err)
	prod, err := s.Prefect.DeploymentID(ctx, "relay/prod")
	require.NoError(t, err)
	changed := post(t, "/deployments/"+prod+"/create_flow_run", map[string]any{
		"parameters": map[string]any{"amount": 1e6}, "context": run.Context, "tags": run.Tags, "labels": patchable(run.Labels),
	})
	bare := post(t, "/deployments/"+prod+"/create_flow_run", map[string]any{})
	require.Equal(t, "StampAltered deployment idempotency_key parameters created_by", requireLine(t, ended(t, changed, "FAILED"), "not proved: "))
	require.Equal(t, "StampAbsent absent", requireLine(t, ended(t, bare, "FAILED"), "not proved: "))
}

// The gateway and the process's own port publish the same keys.
func TestTheKeySetIsServed(t *testing.T) {
	t.Parallel()
	var sets []string
	for _, url := range []string{s.jwksURL, s.gateway.URL() + "/.well-known/kong-prefect/jwks.json"} {
		resp, err := http.Get(url)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
		require.Equal(t, signing.MediaType, resp.Header.Get("Content-Type"))
		sets = append(sets, string(body))
	}
	require.Equal(t, sets[0], sets[1])
	_, err := signing.ParseKeySet([]byte(sets[0]))
	require.NoError(t, err)
}
