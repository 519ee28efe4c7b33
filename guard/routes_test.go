package guard

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

const someID = "0f3c1f5a-9d2b-4b1e-8a77-0d4c0b1f2e3d"

// examplePath is a path that the route takes.
func examplePath(r *Route) string {
	var b strings.Builder
	for _, s := range r.segments {
		b.WriteByte('/')
		switch {
		case s.uuid:
			b.WriteString(someID)
		case s.param != "":
			b.WriteString("some " + s.param)
		default:
			b.WriteString(s.literal)
		}
	}
	return b.String()
}

func TestTheTableIsWhole(t *testing.T) {
	t.Parallel()
	list := Routes()
	require.Len(t, list, 193, "188 operations and 5 websockets in Prefect 3.9.1")
	seen := map[string]bool{}
	sockets := 0
	for _, r := range list {
		key := r.Method + " " + r.Path
		require.False(t, seen[key], "%s is there twice", key)
		seen[key] = true
		if r.Method == Websocket {
			sockets++
			require.Empty(t, r.Body, "a websocket has no body")
		}
		found, params, ok := Match(r.Method, examplePath(r))
		require.True(t, ok, key)
		require.Same(t, r, found, "another line hides %s", key)
		for _, s := range r.segments {
			if s.param != "" {
				require.NotEmpty(t, params[s.param])
			}
		}
	}
	require.Equal(t, 5, sockets)
}

func TestRolesHoldWhatTheTableNames(t *testing.T) {
	t.Parallel()
	all := Permissions()
	held := map[string]bool{PermissionBulkEverything: true}
	for _, role := range BuiltinRoles() {
		permissions := RolePermissions(role)
		require.NotEmpty(t, permissions)
		for _, p := range permissions {
			require.Contains(t, all, p, "%s holds what nothing needs", role)
			held[p] = true
		}
		require.NotContains(t, permissions, PermissionBulkEverything)
		require.Equal(t, role == "worker", slices.Contains(permissions, "poll_work_pools"), "polling is the worker's alone")
	}
	for _, p := range all {
		require.True(t, held[p], "no role holds %s", p)
	}
	require.Subset(t, RolePermissions("runner"), RolePermissions("viewer"))
	require.Subset(t, RolePermissions("developer"), RolePermissions("runner"))
	require.Subset(t, RolePermissions("owner"), RolePermissions("developer"))
}

func TestPathsThatAreNoRoute(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"upper case":           {"GET", "/Admin/version"},
		"another method":       {"DELETE", "/admin/version"},
		"method in lower case": {"get", "/admin/version"},
		"HEAD":                 {"HEAD", "/admin/version"},
		"a slash more":         {"GET", "/admin/version/"},
		"a slash less":         {"POST", "/flow_runs"},
		"two slashes":          {"GET", "/admin//version"},
		"dots":                 {"GET", "/flows/../admin/version"},
		"a parameter":          {"GET", "/admin/version;x"},
		"a newline":            {"GET", "/admin/version\n"},
		"a NUL":                {"GET", "/variables/name/a\x00"},
		"no id":                {"GET", "/flow_runs/none"},
		"an id and more":       {"GET", "/flow_runs/" + someID + "0"},
		"an empty name":        {"GET", "/variables/name/"},
		"encoded twice":        {"GET", "/%61dmin/version"},
		"no slash":             {"GET", "health"},
		"nothing":              {"GET", ""},
		"Prefect's docs":       {"GET", "/docs"},
		"Prefect's openapi":    {"GET", "/openapi.json"},
		"no websocket":         {"GET", "/events/out"},
		"a websocket":          {Websocket, "/admin/version"},
	} {
		_, _, ok := Match(c[0], c[1])
		require.False(t, ok, name)
	}
}

func TestIDsAsPrefectReadsThem(t *testing.T) {
	t.Parallel()
	plain := strings.ReplaceAll(someID, "-", "")
	for _, id := range []string{someID, plain, strings.ToUpper(someID)} {
		_, params, ok := Match("GET", "/flow_runs/"+id)
		require.True(t, ok, id)
		require.Equal(t, uuid.MustParse(someID), uuid.MustParse(params["id"]))
	}
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		Match("POST", "/deployments/"+someID+"/create_flow_run")
	}
}
