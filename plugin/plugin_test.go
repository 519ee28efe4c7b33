package plugin

import (
	"encoding/json"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/pluginserver"
)

func TestEveryFieldIsDescribed(t *testing.T) {
	t.Parallel()
	var walk func(reflect.Type)
	walk = func(record reflect.Type) {
		for i := range record.NumField() {
			f := record.Field(i)
			// Kong refuses a schema with a shorter description.
			require.GreaterOrEqual(t, len(f.Tag.Get("doc")), 10, f.Name)
			require.NotEmpty(t, f.Tag.Get("json"), f.Name)
			below := f.Type
			if below.Kind() == reflect.Slice || below.Kind() == reflect.Pointer {
				below = below.Elem()
			}
			if below.Kind() == reflect.Struct {
				walk(below)
			}
		}
	}
	walk(reflect.TypeFor[IdentityConfig]())
	walk(reflect.TypeFor[TriggerConfig]())
	walk(reflect.TypeFor[GuardConfig]())
}

// Kong fills in a record that doesn't say whether it is required, and then
// misses what is required in it: every kong.yml without it would be refused.
func TestNoRecordIsRequiredUnawares(t *testing.T) {
	t.Parallel()
	var walk func(path string, record map[string]any)
	walk = func(path string, record map[string]any) {
		for _, entry := range record["fields"].([]any) {
			for name, f := range entry.(map[string]any) {
				field := f.(map[string]any)
				required, said := field["required"].(bool)
				if required && field["default"] == nil && field["type"] != "record" {
					require.NotNil(t, record["required"], "%s: a record with required fields must be a pointer, or required itself", path)
				}
				if field["type"] == "record" && (required || !said) {
					walk(path+"."+name, field)
				}
			}
		}
	}
	for name, config := range map[string]any{IdentityName: IdentityConfig{}, TriggerName: TriggerConfig{}, GuardName: GuardConfig{}} {
		fields := Schema(name, config)["fields"].([]any)
		walk(name, fields[1].(map[string]any)["config"].(map[string]any))
	}
}

func TestDecodeConfig(t *testing.T) {
	t.Parallel()
	var c IdentityConfig
	require.NoError(t, decodeConfig([]byte(`{"issuers":[{"issuer":"https://a","audiences":["x"],"leeway_seconds":0,"preset":null}],"$refs":{},"roles":null}`), &c))
	require.Equal(t, "generic", c.Issuers[0].Preset)
	require.Equal(t, 0, c.Issuers[0].LeewaySeconds, "an explicit zero stays")
	require.Equal(t, "kong-prefect", c.Realm)

	var trigger TriggerConfig
	err := decodeConfig([]byte(`{"prefect":{"timeout_ms":5},"allow_roles":[],"max_body_bytes":0}`), &trigger)
	require.ErrorIs(t, err, ErrConfig)
	for _, problem := range []string{
		"prefect.api_url: required field missing", "prefect.timeout_ms: value should be between", "prefect.api_url: required field missing",
		"allow_roles: length must be at least 1", "max_body_bytes: value should be between",
	} {
		require.ErrorContains(t, err, problem, "all problems at once")
	}
}

func TestBrokenConfigurationsNameTheField(t *testing.T) {
	t.Parallel()
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	for config, field := range map[string]string{
		`{"issuers":[]}`: "issuers",
		`{"issuers":[{"issuer":"not a url","audiences":["a"]}]}`:                                                                                "issuers[1].issuer: is not an absolute URL",
		`{"issuers":[{"issuer":"http://example.com","audiences":["a"]}]}`:                                                                       "https",
		`{"issuers":[{"issuer":"https://a","audiences":["a"],"preset":"x"}]}`:                                                                   "issuers[1].preset",
		`{"issuers":[{"issuer":"https://a","audiences":["a"]}],"roles":[{"role":"runner"}]}`:                                                    "roles[1]",
		`{"issuers":[{"issuer":"https://a","audiences":["a"]},{"issuer":"https://b","audiences":["a"]}],"roles":[{"role":"r","groups":["g"]}]}`: "must name its issuers",
	} {
		_, err := compileIdentity(p, []byte(config))
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, field)
	}
	for config, field := range map[string]string{
		`{"prefect":{"api_url":"prefect"},"deployment":"a/b","allow_roles":["r"]}`:                                        "APIURL",
		`{"prefect":{"api_url":"http://p/api"},"deployment":"ab c","allow_roles":["r"]}`:                                  "deployment",
		`{"prefect":{"api_url":"http://p/api","auth_string":"a:b","api_key":"k"},"deployment":"a/b","allow_roles":["r"]}`: "give one of",
	} {
		_, err := compileTrigger(p, []byte(config))
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, field)
		require.NotContains(t, err.Error(), "a:b")
	}
}

// FuzzConfig: whatever Kong sends, compiling gives a handler and no panic.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"issuers":[{"issuer":"https://a","audiences":["a"]}]}`))
	f.Add([]byte(`{"prefect":{"api_url":"http://p/api"},"deployment":"a/b","allow_roles":["r"]}`))
	f.Add([]byte(`{"issuers":{"1":2},"prefect":[]}`))
	f.Add([]byte(`{"issuers":[{"issuer":"https://a","audiences":["a"],"algorithms":["ES256"],"require_binding":"mtls","introspection":{"url":"https://a/i","client_id":"c","client_secret":"s"}}],"client_certificate":{"from":"header","trusted_proxies":["10.0.0.0/8"]},"public_origins":["https://a"],"token_cookie":"a"}`))
	f.Add([]byte(`{"issuers":[{"introspection":[]}],"client_certificate":7}`))
	f.Add([]byte(`null`))
	p := NewProcess(slog.New(slog.DiscardHandler))
	f.Cleanup(p.Close)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, hosted := range p.Plugins() {
			require.NotNil(t, hosted.Compile(data))
		}
	})
}

func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"x-caller-subject": true, "x_caller_subject": true, "x-caller_roles": true, "x-caller-anything": true,
		"x-consumer-id": true, "x_consumer_username": true, "x-credential-identifier": true, "x-anonymous-consumer": true,
		"x-authenticated-groups": true, "x-authenticated-userid": true, "prefect-automation-id": true, "prefect_automation_name": true,
		"authorization": false, "x-call": false, "x-request-id": false, "accept": false, "prefect-csrf-token": false,
	} {
		require.Equal(t, want, callerHeaders{}.spoofable(name), name)
	}
}

func TestConnectionMayNotTakeOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		want  bool
	}{
		"none":                {nil, false},
		"usual":               {[]string{"keep-alive", "Upgrade, HTTP2-Settings"}, false},
		"the client's own":    {[]string{"X-Mine, TE"}, false},
		"ours":                {[]string{"X-Caller-Subject"}, true},
		"in the middle":       {[]string{"close,x-caller-roles,te"}, true},
		"on the second line":  {[]string{"keep-alive", "x-caller-roles"}, true},
		"underscores":         {[]string{"X_CALLER_Roles"}, true},
		"white space":         {[]string{"close \t, \t x-consumer-id\t"}, true},
		"empty options":       {[]string{",, ,x-authenticated-groups,"}, true},
		"Prefect's":           {[]string{"Prefect-Automation-Id"}, true},
		"the credential":      {[]string{"Authorization"}, true},
		"only looks like one": {[]string{"my-x-caller-roles"}, false},
	} {
		require.Equal(t, c.want, callerHeaders{}.takenByConnection(c.lines), name)
	}
}

func TestHeaderValuesComeBackExactly(t *testing.T) {
	t.Parallel()
	clean := regexp.MustCompile(`^[\x21-\x7e]?([\x20-\x7e]*[\x21-\x7e])?$`)
	require.NoError(t, quick.Check(func(s string) bool {
		encoded := encodeValue(s)
		decoded, err := url.PathUnescape(encoded)
		return err == nil && decoded == s && clean.MatchString(encoded) && !strings.Contains(encoded, ",")
	}, nil))
	for s, want := range map[string]string{
		"a\r\nX-Injected: 1": "a%0D%0AX-Injected: 1", "Alice Ä": "Alice %C3%84", " edge ": "%20edge%20", "50%": "50%25", "a,b": "a%2Cb",
	} {
		require.Equal(t, want, encodeValue(s))
	}
}

func TestCallerHeaders(t *testing.T) {
	t.Parallel()
	h, err := newCallerHeaders(nil)
	require.NoError(t, err)
	require.Equal(t, []pluginserver.Header{
		header("X-Caller-Subject", "s"), header("X-Caller-Issuer", "https://a"), header("X-Caller-Kind", "user"), header("X-Caller-Groups", "a%2Cb,c"),
	}, h.of(Caller{Identity: claims.Identity{Subject: "s", Issuer: "https://a", Kind: claims.User, Groups: []string{"a,b", "c"}}}), "what isn't there leaves no header")
}

func TestEveryProblemIsAProblemDocument(t *testing.T) {
	t.Parallel()
	for code, k := range kinds {
		a := (&Problem{Code: code, Detail: "With \"quotes\", ä and \n.", RetryAfter: 1500 * time.Millisecond, Cause: os.ErrNotExist}).Answer(`re"alm`)
		require.Equal(t, k.status, a.Status)
		var body map[string]any
		require.NoError(t, json.Unmarshal(a.Body, &body))
		require.Equal(t, code, body["code"])
		require.Equal(t, problemBase+code, body["type"])
		require.InDelta(t, k.status, body["status"], 0)
		require.NotEmpty(t, body["title"])
		require.NotContains(t, string(a.Body), "not exist", "the cause is the operator's")
		headers := map[string]string{}
		for _, h := range a.Headers {
			require.Len(t, h.Values, 1)
			headers[h.Name] = h.Values[0]
		}
		require.Equal(t, "application/problem+json", headers["Content-Type"])
		require.Equal(t, "2", headers["Retry-After"])
		if k.status == 401 || k.status == 403 {
			require.Regexp(t, `^Bearer realm="re'alm"(, error="[a-z_]+", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]*")?$`, headers["WWW-Authenticate"], code)
		}
		_, line := (&Problem{Code: code, Cause: os.ErrNotExist}).Line("r1")
		require.Contains(t, line, "code="+code)
		require.Contains(t, line, "not exist")
	}
	require.Equal(t, 500, (&Problem{Code: "no such code"}).Answer("r").Status, "an unknown code refuses all the same")
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []string
		key    string
		fails  bool
	}{
		"none": {nil, "", false}, "bare": {[]string{"abc"}, "abc", false}, "quoted": {[]string{`"abc"`}, "abc", false},
		"empty": {[]string{""}, "", true}, "empty quotes": {[]string{`""`}, "", true}, "two": {[]string{"a", "b"}, "", true},
		"space": {[]string{"a b"}, "", true}, "non-ASCII": {[]string{"ä"}, "", true}, "long": {[]string{strings.Repeat("k", 256)}, "", true},
		"quote at the start": {[]string{`"abc`}, "", true}, "quote at the end": {[]string{`abc"`}, "", true}, "quote alone": {[]string{`"`}, "", true},
		"quote in the middle": {[]string{`a"b`}, "", true}, "two in one": {[]string{`"a", "b"`}, "", true},
		"longest": {[]string{strings.Repeat("k", 255)}, strings.Repeat("k", 255), false},
	} {
		key, problem := idempotencyKey(c.values)
		require.Equal(t, c.fails, problem != nil, name)
		require.Equal(t, c.key, key, name)
	}
}

func TestReadObject(t *testing.T) {
	t.Parallel()
	inFile := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(inFile, []byte(`{"a":"`+strings.Repeat("x", 100)+`"}`), 0o600))
	jsonType := []string{"application/json; charset=utf-8"}
	for name, c := range map[string]struct {
		body        pluginserver.RawBody
		contentType []string
		code        string
	}{
		"empty":         {pluginserver.RawBody{}, nil, ""},
		"object":        {pluginserver.RawBody{Content: []byte(`{"a":1}`)}, jsonType, ""},
		"no type":       {pluginserver.RawBody{Content: []byte(`{"a":1}`)}, nil, CodeBodyTypeUnsupported},
		"form":          {pluginserver.RawBody{Content: []byte(`a=1`)}, []string{"application/x-www-form-urlencoded"}, CodeBodyTypeUnsupported},
		"two types":     {pluginserver.RawBody{Content: []byte(`{}`)}, []string{"application/json", "text/plain"}, CodeBodyTypeUnsupported},
		"not JSON":      {pluginserver.RawBody{Content: []byte(`{"a"`)}, jsonType, CodeBodyNotJSON},
		"two values":    {pluginserver.RawBody{Content: []byte(`{} {}`)}, jsonType, CodeBodyNotJSON},
		"a name twice":  {pluginserver.RawBody{Content: []byte(`{"a":1,"a":2}`)}, jsonType, CodeBodyNotJSON},
		"invalid UTF-8": {pluginserver.RawBody{Content: []byte("{\"a\":\"\xe9\"}")}, jsonType, CodeBodyNotJSON},
		"list":          {pluginserver.RawBody{Content: []byte(`[1]`)}, jsonType, CodeBodyNotObject},
		"null":          {pluginserver.RawBody{Content: []byte(`null`)}, jsonType, CodeBodyNotObject},
		"too large":     {pluginserver.RawBody{Content: []byte(`{"a":"` + strings.Repeat("x", 200) + `"}`)}, jsonType, CodeBodyTooLarge},
		"file":          {pluginserver.RawBody{FilePath: inFile}, jsonType, ""},
		"file gone":     {pluginserver.RawBody{FilePath: inFile + "x"}, jsonType, pluginserver.ReasonUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parameters, problem := readObject(c.body, c.contentType, 150)
			if c.code == "" {
				require.Nil(t, problem)
				require.NotNil(t, parameters)
				return
			}
			require.NotNil(t, problem)
			require.Equal(t, c.code, problem.Code)
		})
	}
	_, problem := readObject(pluginserver.RawBody{FilePath: inFile}, jsonType, 50)
	require.Equal(t, CodeBodyTooLarge, problem.Code)
	parameters, problem := readObject(pluginserver.RawBody{Content: []byte(`{"id":12345678901234567890}`)}, jsonType, 150)
	require.Nil(t, problem)
	require.Equal(t, json.Number("12345678901234567890"), parameters["id"], "numbers keep every digit")
}

func TestDeploymentName(t *testing.T) {
	t.Parallel()
	for s, ok := range map[string]bool{
		"flow/deployment": true, "4e945547-cbef-4f9e-8895-a3b76c09438f": true, "flow": false, "/x": false, "x/": false, "a/b/c": false,
	} {
		_, err := parseDeploymentName(s)
		require.Equal(t, ok, err == nil, s)
	}
}

func TestPointerOf(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{"": "", "x": "/x", "person.age": "/person/age", "ids[0]": "/ids/0", "a[1].b": "/a/1/b"} {
		require.Equal(t, want, pointerOf(field))
	}
}
