package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// callerHeaders are the headers that name a caller, as the upstream got them.
func callerHeaders(e echoed) map[string]string {
	headers := map[string]string{}
	for name, values := range e.Header {
		if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-caller-") {
			headers[name] = strings.Join(values, "|")
		}
	}
	return headers
}

// What a client sends under a reserved name never reaches an upstream, in no spelling.
func TestSpoofedHeadersAreRemoved(t *testing.T) {
	t.Parallel()
	for name, spoof := range map[string]http.Header{
		"as written":       {"X-Caller-Subject": {"root"}, "X-Caller-Roles": {"owner"}},
		"claim not there":  {"X-Caller-Name": {"Root"}, "X-Caller-Email": {"root@example.com"}, "X-Caller-Actors": {"root"}},
		"underscores":      {"X_Caller_Subject": {"root"}, "x_caller_roles": {"owner"}},
		"mixed":            {"x-Caller_Subject": {"root"}, "X_cAlLeR-kInD": {"user"}},
		"twice":            {"X-Caller-Subject": {"root", "admin"}},
		"an unknown one":   {"X-Caller-Whatever": {"root"}},
		"by Connection":    {"Connection": {"X-Mine"}, "X-Mine": {"1"}, "X-Caller-Subject": {"root"}},
		"behind 200 more":  behindMany(200, "X-Caller-Subject", "root"),
		"kong's consumer":  {"X-Consumer-Username": {"root"}, "X-Consumer-Id": {"1"}, "X_Consumer_Custom_Id": {"1"}},
		"kong's others":    {"X-Credential-Identifier": {"root"}, "X-Anonymous-Consumer": {"true"}, "X-Authenticated-Groups": {"admins"}},
		"prefect believes": {"Prefect-Automation-Id": {"11111111-1111-1111-1111-111111111111"}, "prefect_automation_name": {"cm9vdA=="}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := requireEcho(t, send(t, request{path: "/echo", token: serviceToken(t, "svc-nightly"), headers: spoof}))
			require.Equal(t, map[string]string{
				"X-Caller-Subject": "svc-nightly",
				"X-Caller-Issuer":  s.Provider.Issuer(),
				"X-Caller-Kind":    "service",
				"X-Caller-Client":  "svc-nightly",
				"X-Caller-Roles":   "runner",
			}, callerHeaders(e))
			for sent := range spoof {
				if sent == "Connection" || strings.HasPrefix(sent, "X-Filler-") || strings.HasPrefix(sent, "X-Caller-") {
					continue // checked above, or harmless
				}
				require.NotContains(t, e.Header, http.CanonicalHeaderKey(sent))
			}
		})
	}
}

func behindMany(n int, name, value string) http.Header {
	h := http.Header{name: {value}}
	for i := range n {
		h["X-Filler-"+strings.Repeat("a", i+1)] = []string{"1"}
	}
	return h
}

// Kong drops what the client's Connection names after the plugins ran: whoever names ours there gets nowhere.
func TestConnectionNamesOurHeaders(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"as written":     {"X-Caller-Subject, X-Caller-Roles"},
		"another case":   {"close, x-cAlLeR-roles"},
		"underscores":    {"x_caller_subject"},
		"second line":    {"keep-alive", "X-Caller-Subject"},
		"the credential": {"Authorization"},
		"Prefect's":      {"Prefect-Automation-Id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range guarded {
				r := send(t, request{path: path, body: emea, token: serviceToken(t, "svc-nightly"), headers: http.Header{"Connection": lines}})
				requireRefused(t, r, http.StatusBadRequest, "connection_header_forbidden")
			}
		})
	}
}

// Beyond what Kong shows of a request nothing can be checked, so it is refused.
func TestMoreHeadersThanCanBeChecked(t *testing.T) {
	t.Parallel()
	h := http.Header{"X-Caller-Subject": {"root"}}
	for i := range 1100 {
		h["F"+strings.Repeat("a", i%20)+strings.Repeat("b", i/20)] = []string{"1"}
	}
	r := send(t, request{path: "/echo", token: serviceToken(t, "svc-nightly"), headers: h})
	require.NotEqual(t, http.StatusOK, r.status)
	require.GreaterOrEqual(t, r.status, 400)
}

// The same headers change nothing about the run that a request starts.
func TestSpoofedHeadersDoNotReachARun(t *testing.T) {
	t.Parallel()
	r := send(t, request{path: idleRoute, body: customer, token: serviceToken(t, "svc-nightly"), headers: http.Header{
		"Prefect-Automation-Id":   {"11111111-1111-1111-1111-111111111111"},
		"Prefect-Automation-Name": {"cm9vdA=="},
		"X-Caller-Subject":        {"root"},
		"X_Caller_Name":           {"root"},
	}})
	run := stored(t, requireRun(t, r, http.StatusCreated).ID)
	require.NotNil(t, run.CreatedBy)
	require.Equal(t, "svc-nightly", run.CreatedBy.DisplayValue)
	require.NotEqual(t, "11111111-1111-1111-1111-111111111111", run.CreatedBy.ID)
	require.Equal(t, "svc-nightly", stampOf(t, run)["caller"].(map[string]any)["subject"])
}
