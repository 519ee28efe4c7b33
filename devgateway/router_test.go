package devgateway

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutePrecedence(t *testing.T) {
	t.Parallel()
	svc := &Service{Path: ""}
	r := newRouter([]*Route{
		{ID: "00000000-0000-0000-0000-000000000001", Name: "root", Paths: []string{"/"}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000002", Name: "api", Paths: []string{"/api", "/longer/api"}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000003", Name: "regex", Paths: []string{`~/api/(?<id>\d+)$`}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000004", Name: "regex-first", Paths: []string{`~/api/9\d*$`}, RegexPriority: 5, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000005", Name: "post", Paths: []string{"/"}, Methods: []string{"POST"}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000006", Name: "wild", Hosts: []string{"*.example.com"}, Paths: []string{"/"}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000007", Name: "host", Hosts: []string{"a.example.com"}, Paths: []string{"/"}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000008", Name: "header", Headers: map[string][]string{"X-V": {"2"}}, Paths: []string{"/"}, Service: svc},
		{ID: "00000000-0000-0000-0000-000000000009", Name: "twin-a", Paths: []string{"/twin"}, Service: svc},
		{ID: "00000000-0000-0000-0000-00000000000a", Name: "twin-b", Paths: []string{"/twin"}, Service: svc},
	})
	for name, c := range map[string]struct {
		q    routeQuery
		want string
	}{
		"shortest":                 {routeQuery{path: "/x"}, "root"},
		"longest path":             {routeQuery{path: "/api/x"}, "api"},
		"regex before longest":     {routeQuery{path: "/api/12"}, "regex"},
		"regex priority":           {routeQuery{path: "/api/91"}, "regex-first"},
		"more rules first":         {routeQuery{path: "/api/x", method: "POST"}, "post"},
		"wildcard host":            {routeQuery{path: "/x", host: "b.example.com", hasHost: true}, "wild"},
		"plain host first":         {routeQuery{path: "/x", host: "a.example.com:8000", hasHost: true}, "host"},
		"hosts are case-sensitive": {routeQuery{path: "/x", host: "A.example.COM", hasHost: true}, "root"},
		"headers":                  {routeQuery{path: "/x", headers: headers{{"x_v", "2"}}}, "header"},
		"equal: the greater id":    {routeQuery{path: "/twin"}, "twin-b"},
		"not UTF-8":                {routeQuery{path: "/\xe9"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.q.method == "" {
				c.q.method = "GET"
			}
			c.q.scheme, c.q.src = "http", netip.MustParseAddr("127.0.0.1")
			m := r.find(&c.q)
			if c.want == "" {
				require.Nil(t, m)
				return
			}
			require.NotNil(t, m)
			require.Equal(t, c.want, m.route.Name)
		})
	}
	m := r.find(&routeQuery{method: "GET", path: "/api/12", scheme: "http"})
	require.Equal(t, []string{"12"}, m.captures)
	require.Equal(t, map[string]string{"id": "12"}, m.named)
}

func TestUpstreamURI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		base, prefix string
		strip        bool
		path, want   string
	}{
		{"", "/a", true, "/a", "/"}, {"", "/a", true, "/a/b", "/b"}, {"", "/a", true, "/ab", "/b"}, {"", "/a", false, "/a/b", "/a/b"},
		{"/base", "/a", true, "/a", "/base"}, {"/base", "/a", true, "/a/", "/base/"}, {"/base", "/a", true, "/a/b", "/base/b"},
		{"/base", "/a", true, "/ab", "/base/b"}, {"/base/", "/a", true, "/a", "/base"}, {"/base/", "/a", true, "/a/", "/base/"},
		{"/base/", "/a", true, "/a/b", "/base/b"}, {"/base", "/a", false, "/a", "/base/a"}, {"/base", "/", false, "/", "/base"},
		{"/base/", "/", false, "/x", "/base/x"}, {"", "/", true, "/", "/"}, {"", "/a", true, "/a/../x", "/../x"}, {"", "/a", true, "/a..", "/"},
	} {
		m := &routeMatch{route: &Route{StripPath: c.strip, Service: &Service{Path: c.base}}, prefix: c.prefix, hasPrefix: c.strip}
		require.Equal(t, c.want, upstreamURI(m, c.path), "%+v", c)
	}
}

func TestNormalizePath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/%61": "/a", "/%2f": "/%2F", "/a//b": "/a/b", "/a/./b": "/a/b", "/a/../b": "/b", "/..": "/", "/%2e%2e/x": "/x",
		"/a%20b": "/a b", "/%C3%BC": "/ü", "/a/": "/a/", "/a/..": "/", "/%": "/%", "/%zz": "/%zz",
	} {
		require.Equal(t, want, normalizePath(in), in)
	}
}
