package doctor_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/doctor"
	"github.com/kong-prefect/kong-prefect/kongyml"
)

// gateway answers as one whose plugins refuse everybody, and then as whatever is in front of it does.
func gateway(t *testing.T, first int, then http.HandlerFunc) *httptest.Server {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n > first {
			then(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":"token_missing"}`)
	}))
	t.Cleanup(server.Close)
	return server
}

func examine(t *testing.T, o doctor.Options) doctor.Report {
	t.Helper()
	o.PerSecond = 1 << 40 // is bounded
	r, err := doctor.Examine(t.Context(), o)
	require.NoError(t, err)
	return r
}

// findings are those of the checks, by check.
func findings(r doctor.Report, checks ...string) map[string]doctor.Verdict {
	all := map[string]doctor.Verdict{}
	for _, f := range r.Findings {
		for _, check := range checks {
			if f.Check == check {
				all[check] = f.Verdict
			}
		}
	}
	return all
}

// Who answers in place of the plugins shows nothing of them, and neither does a request that wasn't sent: that is
// unknown, and neither well nor a danger.
func TestWhatSaysNothingIsUnknown(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	checks := []string{"spoofed headers", "tokens", "unknown keys"}
	unknown := map[string]doctor.Verdict{}
	for _, c := range checks {
		unknown[c] = doctor.Unknown
	}
	for name, then := range map[string]http.HandlerFunc{
		"a limit of a proxy":       status(http.StatusTooManyRequests),
		"a firewall":               status(http.StatusForbidden),
		"another plugin's refusal": status(http.StatusUnauthorized),
		"a redirect to https": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://"+r.Host+r.URL.Path)
			w.WriteHeader(http.StatusMovedPermanently)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := examine(t, doctor.Options{Gateway: gateway(t, 2, then).URL, Paths: []string{"/a"}, Issuer: "http://127.0.0.1:1", Audience: "a"})
			require.Equal(t, unknown, findings(r, checks...), "%+v", r.Findings)
			r = examine(t, doctor.Options{Gateway: gateway(t, 1, then).URL, Paths: []string{"/a"}})
			require.Equal(t, doctor.Unknown, findings(r, "identity")["identity"], "%+v", r.Findings)
		})
	}
	t.Run("no more requests", func(t *testing.T) {
		t.Parallel()
		r := examine(t, doctor.Options{Gateway: gateway(t, 1<<20, nil).URL, Paths: []string{"/a"}, Issuer: "http://127.0.0.1:1", Audience: "a", MaxRequests: 2})
		require.Equal(t, unknown, findings(r, checks...), "%+v", r.Findings)
	})
}

// A redirect to somewhere else is the upstream's: the request passed.
func TestARedirectOfTheUpstreamIsAnOpenRoute(t *testing.T) {
	t.Parallel()
	r := examine(t, doctor.Options{Paths: []string{"/a"}, Gateway: gateway(t, 1, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/dashboard", http.StatusTemporaryRedirect)
	}).URL})
	require.Equal(t, doctor.Danger, findings(r, "identity")["identity"], "%+v", r.Findings)
}

// A route that can't be asked is told of: nobody shall think that it was.
func TestRoutesThatCantBeAskedAreTold(t *testing.T) {
	t.Parallel()
	file, err := kongyml.Read([]byte(`_format_version: "3.0"
plugins:
- {name: prefect-identity, config: {issuers: [{issuer: "http://127.0.0.1:1", audiences: [a]}]}}
services:
- name: s
  url: http://upstream
  routes:
  - {name: plain, paths: [/plain]}
  - {name: expression, paths: ["~/x/\\d+"]}
  - {name: header, paths: [/h], headers: {x-a: [b]}}
  - {name: pattern, paths: [/p], hosts: ["*.example.com"]}
  - {name: writes, paths: [/w], methods: [DELETE]}
  - {name: by-sni, paths: [/s], snis: [example.com]}
`))
	require.NoError(t, err)
	r := examine(t, doctor.Options{Gateway: gateway(t, 1<<20, nil).URL, File: file})
	var told []string
	for _, f := range r.Findings {
		if f.Check == "identity" && f.Verdict == doctor.Unknown {
			told = append(told, f.Says)
		}
	}
	require.Len(t, told, 5, "%v", told)
	for i, name := range []string{"expression", "header", "pattern", "writes", "by-sni"} {
		require.Contains(t, told[i], "route "+name)
	}
}

// What the process says of itself is read by the names under which it says so: those of the documentation, which is
// made from the code.
func TestTheProcessSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	var metrics strings.Builder
	for _, m := range [][2]string{
		{"configurations_broken", `{plugin="prefect-trigger"} 1`}, {"issuer_keys_failing", `{issuer="https://idp"} 2`}, {"signing_keys_unreadable", " 1"},
		{"audit_unwritable", " 1"}, {"build_info", `{version="0.0.0"} 1`}, {"signing_key_rotation_due_timestamp_seconds", " 1"},
	} {
		name := "kong_prefect_" + m[0]
		require.Contains(t, string(page), "| `"+name+"` | gauge |")
		fmt.Fprintf(&metrics, "# TYPE %s gauge\n%s%s\n", name, name, m[1])
	}
	port := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, metrics.String())
		}
	}))
	t.Cleanup(port.Close)
	r := examine(t, doctor.Options{Gateway: gateway(t, 1<<20, nil).URL, Paths: []string{"/a"}, Process: port.URL})
	require.Equal(t, map[string]doctor.Verdict{
		"configuration": doctor.Danger, "issuer's keys in the process": doctor.Danger, "gateway's signing key": doctor.Danger,
		"audit": doctor.Danger, "version": doctor.Warning,
	}, findings(r, "configuration", "issuer's keys in the process", "gateway's signing key", "audit", "version"), "%+v", r.Findings)
}

// A route beside the guard's leads to Prefect's API where the two read a path differently, or where it has the same
// server below a path of its own.
func TestSideDoorsBesideTheGuard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, guarded, other, open string
		found                      bool
	}{
		{"an encoded slash", "/api/", "/", "/api%2fadmin%2fversion", true},
		{"the guard's own", "/api", "/", "/api%2fadmin%2fversion", false},
		{"another path", "/api", "/ui", "/ui/api/admin/version", true},
		{"no way", "/api", "/ui", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.RequestURI == c.open {
					_, _ = io.WriteString(w, `"3.9.1"`)
					return
				}
				http.Error(w, "{}", http.StatusNotFound)
			}))
			t.Cleanup(server.Close)
			file, err := kongyml.Read([]byte(`_format_version: "3.0"
services:
- name: prefect
  url: http://prefect:4200
  routes:
  - {name: api, paths: [` + c.guarded + `], strip_path: false, plugins: [{name: prefect-guard, config: {prefect: {api_url: "http://prefect:4200/api"}}}]}
  - {name: other, paths: [` + c.other + `]}
`))
			require.NoError(t, err)
			r := examine(t, doctor.Options{Gateway: server.URL, File: file})
			found := false
			for _, f := range r.Findings {
				found = found || f.Check == "side door" && f.Verdict == doctor.Danger && f.Target == "route other"
			}
			require.Equal(t, c.found, found, "%+v", r.Findings)
		})
	}
}
