package claims_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
)

// FuzzClaimPath: whatever path an operator writes and whatever a token holds,
// a plain name finds the claim of exactly that name and no other, only a `*`
// finds several, and null is never found.
func FuzzClaimPath(f *testing.F) {
	f.Add("groups", `{"groups":["a"]}`)
	f.Add("/realm_access/roles", `{"realm_access":{"roles":["a",null]}}`)
	f.Add("/resource_access/*/roles", `{"resource_access":{"a":{"roles":[1]},"b":{"roles":null},"c":7}}`)
	f.Add("/https:~1~1sts.amazonaws.com~1/org_id", `{"https://sts.amazonaws.com/":{"org_id":"o"}}`)
	f.Add("/a~0b/-1", `{"a~b":[1],"/a~0b/-1":2}`)
	f.Add("/", `{"":1}`)
	f.Add("", `{"":1}`)
	f.Fuzz(func(t *testing.T, path, document string) {
		var all map[string]any
		if json.Unmarshal([]byte(document), &all) != nil {
			return
		}
		found := claims.Lookup(all, path)
		require.NotContains(t, found, nil)
		if !strings.HasPrefix(path, "/") {
			if all[path] == nil {
				require.Empty(t, found)
			} else {
				require.Equal(t, []any{all[path]}, found)
			}
		}
		if !strings.Contains(path, "*") {
			require.LessOrEqual(t, len(found), 1)
		}
	})
}

// FuzzPreset: whatever stands in a preset's file, reading it gives a preset or
// an error.
func FuzzPreset(f *testing.F) {
	f.Add([]byte("kind: service\nclient: [sub]\nattributes: {a: /b/c}"))
	f.Add([]byte("service:\n- [{claim: sub, equals: azp, suffix: x}]"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		preset, err := claims.ParsePreset(data)
		if err == nil {
			_, err = claims.NewMapper(claims.Options{Data: &preset})
			require.NoError(t, err)
		}
	})
}
