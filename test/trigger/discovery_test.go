package trigger

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program that knows an address and OpenAPI makes valid calls, with all that may be sent and with what must be.
func TestProgramCallsFromTheDescriptionAlone(t *testing.T) {
	for name, c := range map[string]struct{ by, path, deployment string }{
		"fixed":                 {"", "/run/fixed", "report/prod"},
		"ruled, by a claim":     {"alice", "/run/ruled", "report/gold"},
		"bound, from anywhere":  {"", "/run/bound/emea", "report/prod"},
		"bound, from the front": {"", "/run/bound", "report/prod"},
		"fields of the run":     {"", "/run/fields", "report/prod"},
		"chosen":                {"", "/run/any/report/gold", "report/gold"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, all := range []bool{false, true} {
				p := read(t, c.by, c.path)
				call := p.call(all)
				p.requireValid(call)
				run := requireRun(t, send(t, call), http.StatusCreated)
				require.Equal(t, c.deployment, run.Deployment)
			}
		})
	}
}

// A rule that looks at the request is asked with that request.
func TestDescriptionFollowsTheRequest(t *testing.T) {
	title := func(path string) any { return read(t, "", path).document["info"].(map[string]any)["title"] }
	require.Equal(t, "report/test", title("/run/ruled?env=test"))
	requireRefused(t, send(t, request{method: http.MethodGet, path: "/run/ruled"}), http.StatusForbidden, "deployment_undecided")
}

// The list holds what the caller may choose, and each entry leads on.
func TestListLeadsToCalls(t *testing.T) {
	p := read(t, "", "/run/any")
	var paths []string
	for path, item := range p.document["paths"].(map[string]any) {
		if strings.HasSuffix(path, "/gone") {
			continue // another test deletes it
		}
		paths = append(paths, path)
		address, pointer, _ := strings.Cut(item.(map[string]any)["$ref"].(string), "#")
		require.NotEmpty(t, pointer)
		described := read(t, "", address)
		requireRun(t, send(t, described.call(false)), http.StatusCreated)
	}
	slices.Sort(paths)
	// Not the one with secrets, the paused one, the one that nobody executes, and what isn't offered at all.
	require.Equal(t, []string{"/run/any/other%20flow/prod", "/run/any/report/gold", "/run/any/report/prod", "/run/any/report/test"}, paths)
}

func TestDescriptionIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		by, path string
		status   int
		code     string
	}{
		"a stranger":          {"svc-stranger", "/run/fixed", 403, "role_not_allowed"},
		"a stranger's list":   {"svc-stranger", "/run/any", 403, "role_not_allowed"},
		"not offered":         {"", "/run/any/hidden/prod", 404, "deployment_not_offered"},
		"not there":           {"", "/run/any/report/none", 404, "deployment_not_offered"},
		"not for this caller": {"", "/run/any/report/secret", 403, "policy_denied"},
		"paused":              {"", "/run/paused", 503, "deployment_paused"},
		"nobody executes it":  {"", "/run/nobody", 503, "deployment_without_work_pool"},
	} {
		t.Run(name, func(t *testing.T) {
			requireRefused(t, send(t, request{method: http.MethodGet, path: c.path, by: c.by}), c.status, c.code)
		})
	}
}

// What a caller can't set is nowhere in the description.
func TestDescriptionShowsNothingThatIsBound(t *testing.T) {
	p := read(t, "", "/run/bound")
	require.NotContains(t, string(p.text), "requested_by")
	require.NotContains(t, string(p.text), `"mode"`)
	require.NotContains(t, string(p.text), `"safe"`)
	require.Contains(t, string(p.text), "Filters", "what the body refers to is there")
}
