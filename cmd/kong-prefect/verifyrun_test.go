package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// stampedRun makes a run as the gateway does, and gives its id.
func stampedRun(t *testing.T, server *prefecttest.Server, keys *signing.Keys, change func(*prefectclient.NewFlowRun)) uuid.UUID {
	t.Helper()
	d := server.AddDeployment(prefecttest.Deployment{Flow: "f", Name: "d" + uuid.NewString(), Parameters: map[string]any{"day": "today"}})
	parameters, _ := stamp.Complete(d.Parameters, map[string]any{"region": "emea"})
	key := uuid.NewString()
	s, err := stamp.New(stamp.Cause{
		Caller: claims.Identity{Subject: "s", Issuer: "https://idp.example.com", Kind: claims.Service, Client: "svc-nightly"},
		Roles:  []string{"runner"}, Rule: "allow_roles:runner", RequestID: "r1",
		Run: stamp.Run{FlowID: d.FlowID, DeploymentID: d.ID, IdempotencyKey: key, Parameters: parameters},
	}, stamp.Options{Signer: keys})
	require.NoError(t, err)
	client, err := prefectclient.New(prefectclient.Options{APIURL: server.URL})
	require.NoError(t, err)
	defer client.Close()
	run := prefectclient.NewFlowRun{
		IdempotencyKey: key, Parameters: parameters, Context: s.Context, Tags: s.Tags, Labels: s.Labels,
		CreatedBy: &prefectclient.CreatedBy{ID: s.CreatedByID, DisplayValue: s.CreatedByName},
	}
	if change != nil {
		change(&run)
	}
	made, _, err := client.CreateFlowRun(t.Context(), d.ID, run)
	require.NoError(t, err)
	return made.ID
}

func TestVerifyRun(t *testing.T) {
	t.Parallel()
	server := prefecttest.NewServer(prefecttest.Options{})
	defer server.Close()
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	published := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(published, keys.JWKS(), 0o600))
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keys.JWKS()) }))
	defer served.Close()
	foreign := filepath.Join(t.TempDir(), "foreign.json")
	strangers, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json")})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(foreign, strangers.JWKS(), 0o600))
	redirect := httptest.NewServer(http.RedirectHandler(served.URL, http.StatusFound))
	defer redirect.Close()

	genuine := stampedRun(t, server, keys, nil).String()
	altered := stampedRun(t, server, keys, func(r *prefectclient.NewFlowRun) {
		r.Parameters = map[string]any{"region": "all", "day": "today"}
	}).String()
	verify := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"verify-run", "--api-url", server.URL}, args...), &out, io.Discard)
		return out.String(), err
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"genuine":                  {[]string{genuine, "--keys", published}, 0, "verdict  genuine"},
		"keys by address":          {[]string{genuine, "--keys", served.URL}, 0, "caller   svc-nightly"},
		"one of several key sets":  {[]string{genuine, "--keys", foreign, "--keys", published}, 0, "genuine"},
		"altered":                  {[]string{altered, "--keys", published}, exitFound, "WRONG    parameters"},
		"another gateway's keys":   {[]string{genuine, "--keys", foreign}, exitFound, "WRONG  key_unknown"},
		"no such run":              {[]string{uuid.NewString(), "--keys", published}, exitTrouble, ""},
		"no such file":             {[]string{genuine, "--keys", "nowhere.json"}, exitTrouble, ""},
		"a redirect":               {[]string{genuine, "--keys", redirect.URL}, exitTrouble, ""},
		"plain http from far away": {[]string{genuine, "--keys", "http://192.0.2.1/keys"}, exitUsage, ""},
		"no id":                    {[]string{"nightly", "--keys", published}, exitUsage, ""},
		"no keys":                  {[]string{genuine}, exitUsage, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := verify(c.args...)
			require.Equal(t, c.code, exitCode(err, io.Discard), "%v", err)
			require.Contains(t, out, c.want)
		})
	}
	out, err := verify(altered, "--keys", published, "--json")
	require.ErrorIs(t, err, errFound)
	var v runVerdict
	require.NoError(t, json.Unmarshal([]byte(out), &v))
	require.False(t, v.Genuine)
	require.Equal(t, "parameters", v.Findings[0].Code)
	require.Equal(t, "svc-nightly", v.Stamp.Caller.Name, "what is signed is told all the same")
}
