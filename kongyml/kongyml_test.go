package kongyml_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/kongyml"
)

const file = `_format_version: "3.0"
plugins:
- {name: prefect-identity, config: {at: global}}
- {name: prefect-trigger, route: report, config: {at: by-reference}}
- {name: acl, service: {name: runs}, config: {}}
- {name: prefect-identity, consumer: somebody, config: {at: narrowed}}
- {name: off, enabled: false}
services:
- name: runs
  url: http://upstream/base/
  plugins:
  - {name: prefect-identity, config: {at: service}}
  routes:
  - {name: report, paths: [/run/report]}
  - {name: run, paths: [/run], strip_path: false}
  - {name: expression, paths: ["~/run/v(?<n>[0-9]+)$"], regex_priority: 1}
  - {name: get, paths: [/run], methods: [GET]}
  - {name: hosted, hosts: ["*.example"]}
  - {name: version, paths: [/run], headers: {X-Version: ["2"]}, methods: [PUT]}
  - {name: tls, paths: [/], snis: [a.example], sources: [{ip: 10.0.0.0/8}]}
routes:
- name: alone
  paths: [/alone]
  plugins:
  - {name: prefect-identity, config: {at: route}}
- {name: twin, paths: [/alone]}
`

func read(t *testing.T) *kongyml.File {
	t.Helper()
	f, err := kongyml.Read([]byte(file))
	require.NoError(t, err)
	return f
}

func TestFind(t *testing.T) {
	t.Parallel()
	f := read(t)
	for _, c := range []struct {
		name            string
		q               kongyml.Request
		route, upstream string
	}{
		{"longest path", kongyml.Request{Method: "POST", Path: "/run/report/x"}, "report", "/base/x"},
		{"exactly", kongyml.Request{Method: "POST", Path: "/run/report"}, "report", "/base"},
		{"normal form", kongyml.Request{Method: "POST", Path: "/a/..//run/./%72eport"}, "report", "/base"},
		{"a slash that is encoded", kongyml.Request{Method: "POST", Path: "/run%2freport"}, "run", "/base/run%2Freport"},
		{"kept path", kongyml.Request{Method: "POST", Path: "/run/other"}, "run", "/base/run/other"},
		{"expressions before paths", kongyml.Request{Method: "POST", Path: "/run/v1"}, "expression", "/base"},
		{"more rules first", kongyml.Request{Method: "GET", Path: "/run/report"}, "get", "/base/report"},
		{"by host", kongyml.Request{Method: "GET", Path: "/x", Host: "a.example"}, "hosted", "/base/x"},
		{"by header", kongyml.Request{Method: "PUT", Path: "/run", Headers: map[string][]string{"x-version": {"2"}}}, "version", "/base"},
		{"nothing", kongyml.Request{Method: "GET", Path: "/none"}, "", ""},
		{"rules that aren't known", kongyml.Request{Method: "GET", Path: "/"}, "", ""},
		{"no UTF-8", kongyml.Request{Method: "GET", Path: "/run/%ff"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := f.Find(c.q)
			require.NoError(t, err)
			if c.route == "" {
				require.Nil(t, m.Route)
				return
			}
			require.NotNil(t, m.Route)
			require.Equal(t, c.route, m.Route.Name)
			require.Equal(t, c.upstream, m.UpstreamURI)
		})
	}
	_, err := f.Find(kongyml.Request{Method: "GET", Path: "/alone"})
	require.ErrorContains(t, err, `"alone" and "twin"`)
	require.Equal(t, "/x", f.RouteNamed("alone").Named(kongyml.Request{Path: "/alone/x"}).UpstreamURI)
	require.Equal(t, []string{"snis", "sources"}, f.RouteNamed("tls").Unknown)
	require.Nil(t, f.RouteNamed("none"))
}

func TestTheMostSpecificConfigurationCounts(t *testing.T) {
	t.Parallel()
	f := read(t)
	applies := func(route string) map[string]string {
		all := map[string]string{}
		for _, p := range f.PluginsOf(f.RouteNamed(route)) {
			all[p.Name], _ = p.Config["at"].(string)
		}
		return all
	}
	require.Equal(t, map[string]string{"prefect-identity": "service", "prefect-trigger": "by-reference", "acl": ""}, applies("report"))
	require.Equal(t, map[string]string{"prefect-identity": "service", "acl": ""}, applies("run"))
	require.Equal(t, map[string]string{"prefect-identity": "route"}, applies("alone"))
	require.Equal(t, map[string]string{"prefect-identity": "global"}, applies("twin"))
	require.Empty(t, f.PluginsOf(nil))
	require.Len(t, f.NarrowedOf(f.RouteNamed("twin")), 1)
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const head = "_format_version: \"3.0\"\n"
	for text, says := range map[string]string{
		"":                                       `_format_version is ""`,
		"_format_version: \"2.1\"":               "2.1",
		"a: [":                                   "line 1: did not find expected node content",
		head + "routes: 1":                       "line 2: routes must be a list",
		head + "routes: [{paths: [/]}, a]":       "line 2: routes[2] must be a record",
		head + "routes:\n- name: a\n  paths: /":  "line 4: cannot unmarshal !!str `/` into []string",
		head + "plugins: [{name: a, config: 1}]": "line 2: cannot unmarshal !!int `1` into map[string]interface",
		head + "plugins: [{name: a, route: none}]":                      `line 2: there is no route "none"`,
		head + "routes: [{name: a, service: {id: none}}]":               `line 2: there is no service "none"`,
		head + "plugins: [{name: a, consumer: {}}]":                     "line 2: a name or an id must be here",
		head + "routes: [{name: a, name: b}]":                           `line 2: the key "name" stands here for the second time`,
		head + "routes: [{name: a}]\nservices: [{routes: [{name: a}]}]": `there is another route with the name "a"`,
	} {
		_, err := kongyml.Read([]byte(text))
		require.ErrorIs(t, err, kongyml.ErrFile, text)
		require.ErrorContains(t, err, says)
	}
}

func FuzzNormalPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/../b", "//", "/%2e%2e/x", "/a/.", "/%", "/a//b/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		normal := kongyml.NormalPath("/" + path)
		require.NotContains(t, normal+"/", "/../")
		require.NotContains(t, normal, "//")
	})
}

func FuzzRead(f *testing.F) {
	f.Add(file)
	f.Add("_format_version: \"3.0\"\nroutes: [{name: a, service: {id: x}}]")
	f.Fuzz(func(t *testing.T, text string) {
		documents, problems := kongyml.Parse("f", []byte(text))
		_, more := kongyml.Gather(documents)
		for _, p := range append(problems, more...) {
			require.Positive(t, p.Line)
			require.Positive(t, p.Column)
			require.NotEmpty(t, p.Text)
		}
		read, err := kongyml.Read([]byte(text))
		if err != nil {
			require.ErrorIs(t, err, kongyml.ErrFile)
			return
		}
		for _, r := range read.Routes {
			read.PluginsOf(r)
			r.Named(kongyml.Request{Path: "/x"})
		}
		_, _ = read.Find(kongyml.Request{Method: "GET", Path: "/x"}) // two routes of one rank are an error
	})
}
