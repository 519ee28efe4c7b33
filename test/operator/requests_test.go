package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack/provider"
)

// recorded is one request. Its zero value is a POST of nothing, by nobody.
type recorded struct {
	name, method, path string
	token, body        string
	headers            map[string][]string
}

const (
	report = "/run/report"
	emea   = `{"region":"emea"}`
)

// tokens are good ones, bad ones, and what is no access token.
func tokens(t *testing.T, s *suite) map[string]string {
	t.Helper()
	all := map[string]string{"none": "", "no token at all": "abc", "two parts": "abc.def"}
	for _, id := range []string{"svc-nightly", "svc-second", "svc-stranger", "agent-planner", "svc-elsewhere", "svc-opaque"} {
		token, err := s.idp.ServiceToken(t.Context(), id)
		require.NoError(t, err)
		all[id] = token
	}
	for _, name := range []string{"alice", "bob"} {
		token, err := s.idp.PersonToken(t.Context(), name)
		require.NoError(t, err)
		all[name] = token.AccessToken
		all["the ID token of "+name], _ = token.Extra("id_token").(string)
	}
	foreign, err := s.foreign.ServiceToken(t.Context(), "svc-nightly")
	require.NoError(t, err)
	all["another issuer's"] = foreign
	signed := all["svc-nightly"]
	all["tampered with"] = signed[:strings.LastIndexByte(signed, '.')+1] + strings.Repeat("A", 342)
	key, err := provider.ForeignKey()
	require.NoError(t, err)
	pem, err := s.idp.PublicKeyPEM()
	require.NoError(t, err)
	now := time.Now()
	for name, f := range map[string]provider.Forgery{
		"expired":         {Claims: map[string]any{"exp": now.Add(-time.Hour).Unix()}},
		"not yet valid":   {Claims: map[string]any{"nbf": now.Add(time.Hour).Unix()}},
		"for ever":        {Claims: map[string]any{"exp": now.Add(9000 * time.Hour).Unix()}},
		"without exp":     {Claims: map[string]any{"exp": nil}},
		"without subject": {Claims: map[string]any{"sub": nil}},
		"exp as a text":   {Claims: map[string]any{"exp": "tomorrow"}},
		"foreign key":     {Key: key},
		"unknown kid":     {Header: map[string]any{"kid": "nobody's"}},
		"alg none":        {Header: map[string]any{"alg": "none"}, Key: jwt.UnsafeAllowNoneSignatureType},
		"HS256":           {Header: map[string]any{"alg": "HS256"}, Key: pem},
		"critical header": {Header: map[string]any{"crit": []string{"x"}}},
		"logout token":    {Header: map[string]any{"typ": "logout+jwt"}},
		"groups overage":  {Claims: map[string]any{"_claim_names": map[string]any{"groups": "src1"}}},
		"two audiences":   {Claims: map[string]any{"aud": []string{"other", "kong-prefect"}}},
	} {
		f.Service = "svc-nightly"
		all[name], err = s.idp.Forge(f)
		require.NoError(t, err)
	}
	return all
}

// requests are more than 200: every token at every kind of route, every account at every route, bodies, guard operations,
// and paths as Kong's router sees them.
func requests(tokens map[string]string) (list []recorded) {
	add := func(r recorded) { list = append(list, r) }
	for _, name := range slices.Sorted(maps.Keys(tokens)) {
		for _, path := range []string{report, "/echo/x", "/strict", "/open/x"} {
			add(recorded{name: name + " at " + path, path: path, token: tokens[name], body: emea})
		}
	}
	who := []string{"svc-nightly", "svc-second", "svc-stranger", "agent-planner", "alice", "bob"}
	for _, account := range who {
		for _, path := range []string{
			report, "/run/bound/emea?limit=4", "/run/bound/emea?limit=40", "/run/bound/emea", "/choose/report/prod", "/choose/report/none", "/choose/other/prod",
			"/run/unknown-deployment", "/run/paused", "/run/nobody", "/run/wrong-credential", "/run/broken", "/run/sealed", "/known",
		} {
			body := emea
			if strings.HasPrefix(path, "/run/bound") {
				body = ""
			}
			add(recorded{name: account + " at " + path, path: path, token: tokens[account], body: body})
		}
		for _, op := range []struct{ method, path, body string }{
			{"POST", "/api/flow_runs/filter", `{}`}, {"POST", "/api/deployments/filter", `{"limit":5}`}, {"GET", "/api/admin/version", ""},
			{"GET", "/api/deployments/name/report/prod", ""}, {"GET", "/api/deployments/name/report/agents", ""},
			{"POST", "/api/deployments/" + uuid.NewString() + "/create_flow_run", `{}`},
			{"POST", "/api/flow_runs/", `{"flow_id":"` + uuid.NewString() + `"}`}, {"POST", "/api/flows/bulk_delete", `{}`},
			{"DELETE", "/api/deployments/" + uuid.NewString(), ""}, {"GET", "/api/%61dmin/version", ""}, {"GET", "/api/no/such", ""},
			{"POST", "/api/flow_runs/filter", `{"flow_runs":`},
		} {
			add(recorded{name: account + " " + op.method + " " + op.path + " " + op.body, method: op.method, path: op.path, token: tokens[account], body: op.body})
		}
	}
	nightly := func(name, path, body string, headers map[string][]string) {
		add(recorded{name: name, path: path, token: tokens["svc-nightly"], body: body, headers: headers})
	}
	for _, body := range []string{
		``, `{`, `[]`, `null`, `"x"`, `{"region":1}`, `{"region":"a","region":"b"}`, `{"region":"a","day":"2026-01-31"}`, `{"region":"a","day":"soon"}`,
		`{"region":"a","state":{"type":"COMPLETED"}}`, `{"region":"a","job_variables":{}}`, `{"region":"a","tags":["x"]}`, `{"region":"a","labels":{}}`,
		`{"region":{"__prefect_kind":"jinja","template":"{{ 1 }}"}}`, `{"region":"a","work_queue_name":"q"}`, `{"region":"a","idempotency_key":"k"}`,
		`{"region":"a","enforce_parameter_schema":false}`, `{"region":"a","limit":9007199254740993}`, "{\"region\":\"\xff\"}", `{"region":"` + strings.Repeat("x", 9000) + `"}`,
	} {
		nightly("body "+body[:min(len(body), 50)], report, body, nil)
	}
	for name, body := range map[string]string{
		"a name": `{"region":"a","name":"mine"}`, "a tag": `{"region":"a","tags":["mine"]}`, "our tag": `{"region":"a","tags":["caller:root"]}`,
		"our label": `{"region":"a","labels":{"kong-prefect.subject":"root"}}`, "a queue": `{"region":"a","work_queue_name":"q"}`,
	} {
		nightly("field "+name, "/run/fields", body, nil)
	}
	nightly("over the route's limit", "/run/small", `{"region":"`+strings.Repeat("x", 64)+`"}`, nil)
	for name, h := range map[string]map[string][]string{
		"a form": {"content-type": {"application/x-www-form-urlencoded"}}, "a key": {"idempotency-key": {"k-" + uuid.NewString()}},
		"a bad key": {"idempotency-key": {"a b"}}, "a parent that is none": {"kong-prefect-stamp": {"abc"}}, "a wait": {"prefer": {"respond-async"}},
		"Connection names ours": {"connection": {"X-Caller-Subject"}}, "spoofed": {"x-caller-subject": {"root"}, "x_caller_roles": {"owner"}},
		"a trace":                  {"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
		"a cookie of another site": {"cookie": {"session=" + tokens["svc-nightly"]}, "sec-fetch-site": {"cross-site"}},
	} {
		for _, path := range []string{report, "/echo"} {
			nightly(name+" at "+path, path, emea, h)
		}
	}
	add(recorded{name: "a cookie", path: report, body: emea, headers: map[string][]string{"cookie": {"a=b; session=" + tokens["svc-nightly"]}}})
	add(recorded{name: "another scheme", path: report, body: emea, headers: map[string][]string{"authorization": {"Basic YTpi"}}})
	add(recorded{name: "a mangled scheme", path: report, body: emea, headers: map[string][]string{"authorization": {"Bearer  x"}}})
	for i, r := range []recorded{
		{path: "/nothing"}, {path: "/run"}, {path: "/run/reports"}, {path: "/run//report"}, {path: "/run/./report"}, {path: "/x/../run/report"}, {path: "/run/%72eport"},
		{path: "/run/report/"}, {path: "/run/report/x"}, {path: "/RUN/report"}, {path: "/run%2freport"}, {path: report + "?region=apac"}, {path: report + "?%zz"},
		{path: "/echo/only-get", method: "GET"}, {path: "/echo/only-get"}, {path: "/echo/v1/x"}, {path: "/echo/vx/"}, {path: "/hosted"},
		{path: "/hosted", headers: map[string][]string{"host": {"inner.example"}}}, {path: "/echo", headers: map[string][]string{"x-version": {"2"}}},
		{path: report, method: "GET"}, {path: report, method: "DELETE"}, {path: report + "/" + uuid.NewString(), method: "GET"}, {path: "/run/bound/", method: "POST"},
	} {
		r.name, r.token, r.body = fmt.Sprintf("path %d: %s %s", i, r.method, r.path), tokens["svc-nightly"], emea
		if r.method == "GET" {
			r.body = ""
		}
		add(r)
	}
	return list
}
