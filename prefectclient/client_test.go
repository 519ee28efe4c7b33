package prefectclient_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/prefectclient/prefecttest"
)

func TestNewReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := prefectclient.New(prefectclient.Options{
		APIURL: "ftp://geheim@x/api", Deadline: -1, MaxAttempts: -1, Credentials: prefectclient.AuthString("", "a", "b"),
		TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Transport: http.DefaultTransport,
	})
	for _, name := range []string{"APIURL", "Deadline", "MaxAttempts", "Credentials", "TLS"} {
		require.ErrorContains(t, err, name+":")
	}
	require.NotContains(t, err.Error(), "geheim")
	_, err = prefectclient.New(prefectclient.Options{APIURL: "http://x/api", Credentials: prefectclient.ClientCredentials(prefectclient.OAuthOptions{TokenURL: "x"})})
	for _, name := range []string{"TokenURL", "ClientID", "ClientSecret"} {
		require.ErrorContains(t, err, name)
	}
}

func TestAPIURL(t *testing.T) {
	t.Parallel()
	for address, problem := range map[string]string{
		"http://prefect:4200/api":  "",
		"http://prefect:4200/api/": "",
		"https://api.prefect.cloud/api/accounts/" + strangeID + "/workspaces/" + strangeID: "",
		"http://[::1]:4200/api":      "",
		"":                           "missing",
		"prefect:4200/api":           "http",
		"/api":                       "http",
		"http:///api":                "no host",
		"http://u:geheim@x/api":      "credentials",
		"http://x/api?token=geheim":  "query",
		"http://x/api#geheim":        "query",
		"http://x/api?":              "query",
		"http://x\x7fgeheim/api":     "not a URL",
		"http://geheim:not-a-port/a": "not a URL",
	} {
		t.Run(address, func(t *testing.T) {
			_, err := prefectclient.New(prefectclient.Options{APIURL: address})
			if problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, problem)
			require.NotContains(t, err.Error(), "geheim")
		})
	}
}

// carrier answers every request itself.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

// Prefect Cloud differs in its address and its credential alone.
func TestPrefectCloudsForm(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	server.Accept(prefecttest.Options{APIKeys: []string{"pnu_key"}})
	var seen []string
	client := newClient(t, prefectclient.Options{
		APIURL:      "https://api.prefect.cloud/api/accounts/A/workspaces/W",
		Credentials: prefectclient.APIKey("pnu_key"),
		Transport: carrier(func(r *http.Request) (*http.Response, error) {
			seen = append(seen, r.URL.String())
			inner, err := http.NewRequest(r.Method, s.url+strings.TrimPrefix(r.URL.EscapedPath(), "/api/accounts/A/workspaces/W"), r.Body)
			if err != nil {
				return nil, err
			}
			inner.Header = r.Header
			return http.DefaultTransport.RoundTrip(inner)
		}),
	})
	require.Equal(t, "api.prefect.cloud", client.Server())
	_, err := client.DeploymentByName(context.Background(), "nightly report", "prod")
	require.NoError(t, err)
	run, created, err := client.CreateFlowRun(context.Background(), s.first, newRun())
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, s.first, run.DeploymentID)
	require.Equal(t, []string{
		"https://api.prefect.cloud/api/accounts/A/workspaces/W/deployments/name/nightly%20report/prod",
		"https://api.prefect.cloud/api/accounts/A/workspaces/W/deployments/" + s.first.String() + "/create_flow_run",
	}, seen)
}

func TestAnswersHaveALimit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	o := hasty(s)
	o.MaxResponseBytes = 8 << 10
	client := newClient(t, o)
	_, err := client.Deployment(ctx, s.first)
	require.NoError(t, err)
	for name, fault := range map[string]prefecttest.Fault{
		"too large":        {Status: 200, Body: strings.Repeat(" ", 9<<10)},
		"not JSON":         {Status: 200, Body: `<html>geheim</html>`},
		"wrong type":       {Status: 200, Body: `{"name":["geheim"]}`},
		"another object":   {Status: 200, Body: `{"id":"` + strangeID + `"}`},
		"two values":       {Status: 200, Body: `{} {}`},
		"an endless 500":   {Status: 500, Body: strings.Repeat("geheim", 1<<20)},
		"a 422 that echos": {Status: 422, Body: `{"exception_detail":[{"loc":["body","x",0],"type":"string_type","input":"geheim"}],"request_body":{"a":"geheim"}}`},
		"a strange 400":    {Status: 400, Body: `{"detail":[{"msg":"geheim"}]}`},
		"a telling 400":    {Status: 400, Body: `{"detail":"Error hydrating flow run parameters: geheim"}`},
	} {
		t.Run(name, func(t *testing.T) {
			server.Script(fault)
			_, err := client.Deployment(ctx, s.first)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "geheim")
			require.Less(t, len(err.Error()), 500)
		})
	}
}

// A redirect would take the credential elsewhere.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	elsewhere, other := startFake(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		server.Script(prefecttest.Fault{Status: status, Header: http.Header{"Location": {elsewhere.url + "/deployments/" + s.first.String()}}})
		_, err := newClient(t, hasty(s)).Deployment(context.Background(), s.first)
		require.Equal(t, prefectclient.ReasonResponseInvalid, prefectclient.ReasonOf(err))
	}
	require.Empty(t, other.Requests())
}

// A server that ignores the filter, as Prefect does with one it does not
// know, must not make a stranger's run ours.
func TestFilterThatIsIgnored(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	client := newClient(t, hasty(s))
	server.Script(prefecttest.Fault{Route: prefecttest.FilterRoute, Status: 200,
		Body: `[{"id":"` + strangeID + `","flow_id":"` + strangeID + `","idempotency_key":"other"}]`})
	_, _, err := client.FlowRunByIdempotencyKey(context.Background(), s.flow, "mine")
	require.Equal(t, prefectclient.ReasonResponseInvalid, prefectclient.ReasonOf(err))
	_, _, err = client.FlowRunByIdempotencyKey(context.Background(), s.flow, "")
	require.Equal(t, prefectclient.ReasonRequestInvalid, prefectclient.ReasonOf(err))
	_, _, err = client.FlowRunByIdempotencyKey(context.Background(), uuid.Nil, "mine")
	require.Equal(t, prefectclient.ReasonRequestInvalid, prefectclient.ReasonOf(err))
}

// Connections are kept, but not those that followed a server error.
func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, server := startFake(t)
	client := newClient(t, hasty(s))
	for range 10 {
		_, _, err := client.CreateFlowRun(ctx, s.first, newRun())
		require.NoError(t, err)
	}
	require.Equal(t, 1, server.Connections())
	server.Script(prefecttest.Locked(onCreate))
	_, created, err := client.CreateFlowRun(ctx, s.first, newRun())
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, 2, server.Connections(), "the one that followed the 503 was given up, unasked")
	server.DropConnections()
	started := time.Now()
	_, created, err = client.CreateFlowRun(ctx, s.first, newRun())
	require.NoError(t, err)
	require.True(t, created)
	require.Less(t, time.Since(started), time.Second)
}

// However many deployments have one name, each is listed once.
func TestEveryDeploymentIsListed(t *testing.T) {
	t.Parallel()
	s, server := startFake(t)
	const flows = 120
	for i := range flows {
		server.AddDeployment(prefecttest.Deployment{Flow: fmt.Sprintf("flow-%03d", i), Name: "prod"})
	}
	list, err := newClient(t, hasty(s)).Deployments(t.Context())
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, d := range list {
		seen[d.FlowName+"/"+d.Name] = true
	}
	require.Len(t, seen, len(list))
	require.True(t, seen["flow-000/prod"] && seen["flow-119/prod"])
	require.True(t, slices.IsSortedFunc(list, func(a, b prefectclient.Deployment) int { return strings.Compare(a.Name, b.Name) }))
}
