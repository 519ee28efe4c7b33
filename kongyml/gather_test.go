package kongyml_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/kongyml"
)

func gather(t *testing.T, files ...string) (*kongyml.File, []kongyml.Problem) {
	t.Helper()
	var all []kongyml.Document
	for i, text := range files {
		documents, problems := kongyml.Parse(string(rune('a'+i)), []byte(text))
		require.Empty(t, problems)
		all = append(all, documents...)
	}
	return kongyml.Gather(all)
}

func TestGatherKnowsWhereEverythingIs(t *testing.T) {
	t.Parallel()
	f, problems := gather(t, file)
	require.Empty(t, problems)
	paths := map[string]int{}
	for _, p := range f.Plugins {
		paths[p.Position.Path] = p.Position.Node.Line
	}
	require.Equal(t, map[string]int{
		"plugins[1]": 3, "plugins[2]": 4, "plugins[3]": 5, "plugins[4]": 6, "services[1].plugins[1]": 12, "routes[1].plugins[1]": 25,
	}, paths, "without what is off")
	require.Equal(t, "services[1].routes[2]", f.RouteNamed("run").Position.Path)
	require.Equal(t, 15, f.RouteNamed("run").Position.Node.Line)
	require.Equal(t, "upstream", f.Services[0].Host)
}

// What is wrong is told with its place, and all the rest is there.
func TestGatherGoesOn(t *testing.T) {
	t.Parallel()
	f, problems := gather(t, `services:
- name: s
  port: [1]
  host: h
  routes: [{name: r, strip_path: sometimes, methods: POST, paths: [/r]}, 7]
- {name: s}
routes:
- {name: other, service: none}
plugins:
- {name: p, enabled: perhaps, route: none}
- {name: q, service: s}
consumers: {}
`)
	require.Equal(t, []kongyml.Problem{
		{Kind: kongyml.TypeWrong, File: "a", Line: 3, Column: 1, Path: "services[1]", Text: "cannot unmarshal !!seq into string"},
		{Kind: kongyml.TypeWrong, File: "a", Line: 5, Column: 74, Path: "services[1].routes[2]", Text: "services[1].routes[2] must be a record"},
		{Kind: kongyml.TypeWrong, File: "a", Line: 5, Column: 1, Path: "services[1].routes[1]", Text: "cannot unmarshal !!str `sometimes` into bool"},
		{Kind: kongyml.TypeWrong, File: "a", Line: 5, Column: 1, Path: "services[1].routes[1]", Text: "cannot unmarshal !!str `POST` into []string"},
		{Kind: kongyml.NameRepeated, File: "a", Line: 6, Column: 10, Path: "services[2].name", Text: `there is another service with the name "s"`},
		{Kind: kongyml.TypeWrong, File: "a", Line: 12, Column: 1, Path: "consumers", Text: "consumers must be a list"},
		{Kind: kongyml.TypeWrong, File: "a", Line: 10, Column: 1, Path: "plugins[1]", Text: "cannot unmarshal !!str `perhaps` into bool"},
		{Kind: kongyml.ReferenceUnknown, File: "a", Line: 8, Column: 17, Path: "routes[1].service", Text: `there is no service "none"`},
		{Kind: kongyml.ReferenceUnknown, File: "a", Line: 10, Column: 31, Path: "plugins[1].route", Text: `there is no route "none"`},
	}, problems)
	r := f.RouteNamed("r")
	require.True(t, r.StripPath, "as by default")
	require.Equal(t, []string{"/r"}, r.Paths)
	require.Len(t, f.Plugins, 2)
	require.True(t, f.Plugins[0].Unplaced)
	require.Equal(t, "q", f.PluginsOf(r)[0].Name, "the first service is meant")
	require.Empty(t, f.PluginsOf(f.RouteNamed("other")))
}

// Several files are one, whatever their order.
func TestGatherTakesFilesTogether(t *testing.T) {
	t.Parallel()
	f, problems := gather(t, "plugins: [{name: p, route: r}]\nroutes: [{name: r, service: s}]", "services: [{name: s, id: x, path: /base}]")
	require.Empty(t, problems)
	r := f.RouteNamed("r")
	require.Equal(t, "/base", r.Service.Path)
	require.Len(t, f.PluginsOf(r), 1)
	require.False(t, f.Partial)
}

// A service's url counts before its parts, and what YAML 1.1 calls a boolean
// is one. Source: kong/db/schema/entities/services.lua; lyaml's implicit.lua.
func TestAsKongReads(t *testing.T) {
	t.Parallel()
	f, problems := gather(t, `services:
- {name: both, url: "http://one:81/a%20b/", host: two, port: 82, path: /two}
- {name: pathless, url: "http://one", path: /two}
- {name: parts, host: two, port: 82, path: /two}
routes:
- {name: kept, strip_path: off}
- {id: 7d1b, paths: [/x]}
- paths: [/y]
plugins:
- {name: p, enabled: no}
`)
	require.Empty(t, problems)
	require.Equal(t, []*kongyml.Service{
		{Name: "both", Host: "one:81", Path: "/a%20b/"}, {Name: "pathless", Host: "one"}, {Name: "parts", Host: "two:82", Path: "/two"},
	}, f.Services)
	require.False(t, f.RouteNamed("kept").StripPath)
	require.Empty(t, f.Plugins)
	require.NotNil(t, f.RouteNamed("7d1b"))
	require.Equal(t, "routes[3]", f.Routes[2].Name, "who has no name is called by its place")
}

// What is for some consumers alone, wherever it says so, is for nobody else.
func TestNarrowed(t *testing.T) {
	t.Parallel()
	f, problems := gather(t, `routes:
- name: r
  plugins: [{name: nested, consumer: ann}]
consumers:
- {username: ann, custom_id: c, plugins: [{name: hers}]}
consumer_groups:
- {name: gold, plugins: [{name: theirs}]}
plugins:
- {name: flat, consumer: {username: ann}}
- {name: group, consumer_group: {name: gold}}
`)
	require.Empty(t, problems)
	r := f.RouteNamed("r")
	require.Empty(t, f.PluginsOf(r))
	whose := map[string]string{}
	for _, p := range f.NarrowedOf(r) {
		whose[p.Name] = p.Consumer
	}
	require.Equal(t, map[string]string{"nested": "ann", "hers": "ann", "theirs": "gold", "flat": "ann", "group": "gold"}, whose)
	require.Equal(t, []kongyml.Consumer{{Username: "ann", CustomID: "c"}}, f.Consumers)
}

// decK fills in what a file shares, before Kong sees it.
func TestAsDeckReads(t *testing.T) {
	t.Parallel()
	const text = `_format_version: "3.0"
_info:
  select_tags: [team]
  defaults: {route: {strip_path: false}, service: {path: /base}}
_plugin_configs:
  shared: &shared {b: 2, a: 2}
plugins:
- {name: p, _config: shared, config: {a: 1}}
- {name: q, _config: shared}
- name: r
  config: {<<: *shared, a: 3}
services:
- name: s
  host: h
  routes: [{name: kept}, {name: stripped, strip_path: true}]
`
	f, err := kongyml.Read([]byte(text))
	require.NoError(t, err)
	require.True(t, f.Partial)
	require.Equal(t, "/base", f.Services[0].Path)
	require.False(t, f.RouteNamed("kept").StripPath)
	require.True(t, f.RouteNamed("stripped").StripPath)
	configs := map[string]any{}
	for _, p := range f.Plugins {
		configs[p.Name] = p.Config
	}
	require.Equal(t, map[string]any{
		"p": map[string]any{"a": 1, "b": 2}, "q": map[string]any{"a": 2, "b": 2}, "r": map[string]any{"a": 3, "b": 2},
	}, configs)
}

// Kong reads the first of several documents.
func TestReadTakesTheFirstDocument(t *testing.T) {
	t.Parallel()
	f, err := kongyml.Read([]byte("_format_version: \"3.0\"\nroutes: [{name: a}]\n---\nroutes: [{name: b}]\n"))
	require.NoError(t, err)
	require.Len(t, f.Routes, 1)
}
