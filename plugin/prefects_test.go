package plugin

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
	"github.com/kong-prefect/kong-prefect/signing"
)

// fakePrefect takes the auth string a:new and the API key k-new, and has one
// deployment, flow/prod.
func fakePrefect(t *testing.T) *prefecttest.Server {
	server := prefecttest.NewServer(prefecttest.Options{AuthStrings: []string{"a:new"}, APIKeys: []string{"k-new"}})
	t.Cleanup(server.Close)
	server.AddDeployment(prefecttest.Deployment{Flow: "flow", Name: "prod"})
	return server
}

func startProcess(t *testing.T) *Process {
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return p
}

func TestEveryCredentialReachesPrefect(t *testing.T) {
	server := fakePrefect(t)
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "gateway" || secret != "s" || r.FormValue("audience") != "prefect" || r.FormValue("scope") != "a b" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"k-new","token_type":"Bearer","expires_in":3600}`))
	}))
	t.Cleanup(idp.Close)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	t.Setenv("TEST_PREFECT_AUTH", "a:old\na:new\n")
	t.Setenv("TEST_PREFECT_KEY", "k-new")
	p := startProcess(t)
	for name, c := range map[string]PrefectConfig{
		"auth string":           {AuthString: "a:new"},
		"the next auth string":  {AuthString: "a:old", AuthStringNext: "a:new"},
		"auth file, two lines":  {AuthFile: file("auth", "a:old\na:new\n")},
		"auth env, two lines":   {AuthEnv: "TEST_PREFECT_AUTH"},
		"API key":               {APIKey: "k-new"},
		"the next API key":      {APIKey: "k-old", APIKeyNext: "k-new"},
		"API key file":          {APIKeyFile: file("key", "k-new\n")},
		"API key env":           {APIKeyEnv: "TEST_PREFECT_KEY"},
		"OAuth 2.0":             {OAuth: &PrefectOAuthConfig{TokenURL: idp.URL, ClientID: "gateway", ClientSecret: "s", Scopes: []string{"a", "b"}, Audience: "prefect"}},
		"OAuth 2.0 with a file": {OAuth: &PrefectOAuthConfig{TokenURL: idp.URL, ClientID: "gateway", ClientSecretFile: file("s", "s\n"), Scopes: []string{"a", "b"}, Audience: "prefect"}},
	} {
		c.APIURL = server.URL
		client, err := p.prefect(c)
		require.NoError(t, err, name)
		_, err = client.DeploymentByName(context.Background(), "flow", "prod")
		require.NoError(t, err, name)
		same, err := p.prefect(c)
		require.NoError(t, err)
		require.Same(t, client, same, name)
	}
}

func TestCredentialsThatCanNotBe(t *testing.T) {
	t.Setenv("TEST_PREFECT_THREE", "a\nb\nc")
	p := startProcess(t)
	for name, c := range map[string]PrefectConfig{
		"two kinds":           {AuthString: "a:secret", APIKeyFile: "/x"},
		"OAuth and a key":     {APIKey: "secret", OAuth: &PrefectOAuthConfig{TokenURL: "https://i/t", ClientID: "c", ClientSecret: "s"}},
		"next alone":          {AuthStringNext: "secret"},
		"an unset variable":   {AuthEnv: "TEST_PREFECT_UNSET"},
		"three at once":       {APIKeyEnv: "TEST_PREFECT_THREE"},
		"OAuth, no secret":    {OAuth: &PrefectOAuthConfig{TokenURL: "https://i/t", ClientID: "c"}},
		"OAuth, no token URL": {OAuth: &PrefectOAuthConfig{TokenURL: "idp", ClientID: "c", ClientSecret: "secret"}},
	} {
		c.APIURL = "http://prefect:4200/api"
		_, err := p.prefect(c)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret\"", name)
	}
}

func TestSwitchOfTheCredentialIsAudited(t *testing.T) {
	t.Parallel()
	server := fakePrefect(t)
	p := startProcess(t)
	keys, err := signing.Open(signing.Options{File: filepath.Join(t.TempDir(), "keys.json"), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	dir := t.TempDir()
	p.Audit, err = audit.Open(audit.Options{Dir: dir, Signer: keys})
	require.NoError(t, err)
	client, err := p.prefect(PrefectConfig{APIURL: server.URL, AuthString: "a:old", AuthStringNext: "a:new"})
	require.NoError(t, err)
	for range 3 {
		_, err = client.DeploymentByName(context.Background(), "flow", "prod")
		require.NoError(t, err)
	}
	require.NoError(t, p.Audit.Close())
	var found []audit.Record
	require.NoError(t, audit.Find(dir, audit.Query{Types: []audit.Type{audit.CredentialRotated}, To: time.Now()}, func(r audit.Record) bool {
		found = append(found, r)
		return true
	}))
	require.Len(t, found, 1, "once, and not for every request")
	require.NotContains(t, found[0].Detail, "a:")
}

func TestPrefectProblems(t *testing.T) {
	t.Parallel()
	server := fakePrefect(t)
	p := startProcess(t)
	client, err := p.prefect(PrefectConfig{APIURL: server.URL, AuthString: "a:new", TimeoutMS: 1000})
	require.NoError(t, err)
	d, err := client.DeploymentByName(context.Background(), "flow", "prod")
	require.NoError(t, err)
	run := prefectclient.NewFlowRun{IdempotencyKey: "k", Fingerprint: fingerprint(map[string]any{"b": 1, "a": 2})}
	_, _, err = client.CreateFlowRun(context.Background(), d.ID, run)
	require.NoError(t, err)
	run.Fingerprint = fingerprint(map[string]any{"a": 1, "b": 2})
	_, _, err = client.CreateFlowRun(context.Background(), d.ID, run)
	problem := prefectProblem("flow/prod", err)
	require.Equal(t, CodeIdempotencyKeyReused, problem.Code)
	require.Equal(t, http.StatusUnprocessableEntity, problem.Answer("r").Status)

	for range 100 {
		server.Script(prefecttest.Fault{Reset: true})
	}
	run.IdempotencyKey = uuid.NewString()
	_, _, err = client.CreateFlowRun(context.Background(), d.ID, run)
	problem = prefectProblem("flow/prod", err)
	require.Equal(t, CodeOutcomeUnknown, problem.Code)
	require.Contains(t, problem.Detail, run.IdempotencyKey, "how to find out")
	require.Equal(t, http.StatusGatewayTimeout, problem.Answer("r").Status)
}

func TestRetryAfterIsNeverZero(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", 1100 * time.Millisecond: "2"} {
		a := (&Problem{Code: CodePrefectBusy, RetryAfter: wait}).Answer("r")
		require.Contains(t, a.Headers, header("Retry-After", want))
	}
}
