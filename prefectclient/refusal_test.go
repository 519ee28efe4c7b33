package prefectclient

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestParameterRule(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ detail, field, rule string }{
		"type":             {" for field 'x'. Failure reason: 'geheim' is not of type 'integer'", "x", "must be of type integer"},
		"several types":    {" for field 'x'. Failure reason: 'geheim' is not of type 'integer', 'null'", "x", "must be of type integer, null"},
		"required":         {". Failure reason: 'x' is a required property", "x", "is required"},
		"required, nested": {" for field 'a[0].b'. Failure reason: 'x' is a required property", "a[0].b.x", "is required"},
		"any of":           {" for field 'x'. Failure reason: 'geheim' is not valid under any of the given schemas", "x", "is not valid under any of the given schemas"},
		"too long":         {" for field 'x'. Failure reason: 'geheim' is too long", "x", "is too long"},
		"enum":             {" for field 'x'. Failure reason: 'geheim' is not one of ['a', 'b']", "x", "does not fit the deployment's parameter schema"},
		"quote in a name":  {` for field "a'b". Failure reason: 1 is too short`, "a'b", "is too short"},
		"a value that looks like a rule": {
			" for field 'x'. Failure reason: 'y' is a required property' is not of type 'integer'", "x", "must be of type integer",
		},
		"nothing known": {" geheim", "", "does not fit the deployment's parameter schema"},
	} {
		t.Run(name, func(t *testing.T) {
			field, rule := parameterRule(parametersRefused + c.detail)
			require.Equal(t, c.field, field)
			require.Equal(t, c.rule, rule)
		})
	}
}

func TestRetryAfterHeader(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "-1": 0, "soon": 0, "1.5": 0,
		"999999999": maxRetryAfter, "99999999999999999999": 0,
		"Tue, 24 Nov 2026 12:00:09 GMT": 9 * time.Second, "Tue, 24 Nov 2026 11:00:00 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
}

// Whatever a server says: one short printable line, and no value of the
// request in it.
func FuzzRefusal(f *testing.F) {
	for _, body := range []string{
		`{"detail":"Error creating flow run: Validation failed for field 'x'. Failure reason: 'SECRET' is not of type 'integer'"}`,
		`{"detail":"Error creating flow run: Validation failed. Failure reason: 'x' is a required property"}`,
		`{"exception_message":"Invalid request received.","exception_detail":[{"type":"t","loc":["body","x",0],"input":"SECRET"}],"request_body":"SECRET"}`,
		`{"detail":"Deployment not found"}`, `{"detail":["SECRET"]}`, `{`, ``, `[]`, "{\"detail\":\"a\\nb\"}",
	} {
		for _, status := range []int{400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504, 302} {
			f.Add(status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 300 || status > 999 {
			return
		}
		failed := refusal(&operation{name: "op", notFound: ReasonDeploymentNotFound}, status, http.Header{}, body)
		text := failed.Error.Error()
		require.NotEmpty(t, failed.Reason)
		require.Less(t, len(text), 4*1024)
		require.NotContains(t, text, "SECRET'")
		require.False(t, strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) }), "%q", text)
		if failed.maybeDone && status < 500 {
			t.Fatal("a refusal has no effect")
		}
	})
}

func TestSameContext(t *testing.T) {
	t.Parallel()
	got := map[string]any{}
	require.NoError(t, decode([]byte(`{"a":{"n":9007199254740993,"b":[1,2]},"t":"<"}`), &got))
	require.True(t, sameContext(map[string]any{"t": "<", "a": map[string]any{"b": []int{1, 2}, "n": json.Number("9007199254740993")}}, got))
	require.False(t, sameContext(map[string]any{"t": "<"}, got))
	require.False(t, sameContext(nil, nil), "an empty context proves nothing")
}
