package plugin

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/token"
)

// issuerWith is a configuration with one issuer and some of its fields set.
func issuerWith(t *testing.T, fields map[string]any) []byte {
	t.Helper()
	return configWith(t, fields, nil)
}

func configWith(t *testing.T, issuerFields, fields map[string]any) []byte {
	t.Helper()
	issuer := map[string]any{"issuer": "https://idp.example.com", "audiences": []string{"a"}}
	maps.Copy(issuer, issuerFields)
	config := map[string]any{"issuers": []any{issuer}}
	maps.Copy(config, fields)
	data, err := json.Marshal(config)
	require.NoError(t, err)
	return data
}

func TestIssuerFieldsReachTheVerifier(t *testing.T) {
	t.Parallel()
	var c IdentityConfig
	require.NoError(t, decodeConfig(issuerWith(t, map[string]any{
		"discovery_url": "https://inside.example.com", "audience_claim": "client_id", "authorized_parties": []string{"cli"},
		"algorithms": []string{"ES256"}, "leeway_seconds": 0, "max_lifetime_seconds": 600, "require_binding": "dpop",
		"require_access_token_type": true, "timeout_ms": 700, "ca_file": "/ca.pem", "insecure_allow_http": true,
		"introspection": map[string]any{"url": "https://idp.example.com/introspect", "client_id": "gateway", "client_secret": "s"},
	}), &c))
	require.Equal(t, token.Issuer{
		URL: "https://idp.example.com", Audiences: []string{"a"}, DiscoveryURL: "https://inside.example.com", AudienceClaim: "client_id",
		AuthorizedParties: []string{"cli"}, Algorithms: []string{"ES256"}, Leeway: -1, MaxLifetime: 10 * time.Minute,
		RequireBinding: token.BindingDPoP, RequireAccessTokenType: true,
		HTTP: token.HTTPOptions{Timeout: 700 * time.Millisecond, CAFile: "/ca.pem", InsecureAllowHTTP: true},
		Introspection: &token.Introspection{
			URL: "https://idp.example.com/introspect", ClientID: "gateway", ClientSecret: "s", CacheFor: 30 * time.Second,
		},
	}, tokenIssuer(c.Issuers[0]))
}

// TestEveryIssuerFieldHasAPlace: a field that is forgotten on the way to the
// verifier would do nothing.
func TestEveryIssuerFieldHasAPlace(t *testing.T) {
	t.Parallel()
	whole := IssuerConfig{Introspection: &IntrospectionConfig{}}
	fill(reflect.ValueOf(&whole).Elem())
	whole.Preset = "entra" // whose tokens name their client
	got := reflect.ValueOf(tokenIssuer(whole))
	for i := range got.NumField() {
		require.False(t, got.Field(i).IsZero(), got.Type().Field(i).Name)
	}
	introspection := got.FieldByName("Introspection").Elem()
	for i := range introspection.NumField() {
		require.False(t, introspection.Field(i).IsZero(), introspection.Type().Field(i).Name)
	}
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// TestDefaultsAreSafe: what is left out weakens nothing.
func TestDefaultsAreSafe(t *testing.T) {
	t.Parallel()
	var c IdentityConfig
	require.NoError(t, decodeConfig(issuerWith(t, nil), &c))
	require.Equal(t, token.Issuer{
		URL: "https://idp.example.com", Audiences: []string{"a"}, Leeway: 30 * time.Second, MaxLifetime: 24 * time.Hour,
		HTTP: token.HTTPOptions{Timeout: 5 * time.Second},
	}, tokenIssuer(c.Issuers[0]))
	require.Empty(t, c.TokenCookie+c.TokenHeader)
	require.Nil(t, c.ClientCertificate)
	for i := range reflect.TypeFor[IssuerConfig]().NumField() {
		f := reflect.TypeFor[IssuerConfig]().Field(i)
		if strings.HasPrefix(f.Name, "Insecure") {
			require.Equal(t, "false", f.Tag.Get("default"), f.Name)
			require.Contains(t, f.Tag.Get("doc"), "Danger: ", f.Name)
			require.True(t, strings.HasPrefix(f.Tag.Get("json"), "insecure_"), f.Name)
		}
	}
}

func TestBrokenIssuersNameTheField(t *testing.T) {
	t.Parallel()
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	introspection := func(fields map[string]any) map[string]any { return map[string]any{"introspection": fields} }
	for name, c := range map[string]struct {
		issuer, config map[string]any
		problem        string
	}{
		"unknown algorithm":       {map[string]any{"algorithms": []string{"ES256", "HS256"}}, nil, "issuers[1].algorithms[2]: expected one of"},
		"no algorithms":           {map[string]any{"algorithms": []string{}}, nil, "issuers[1].algorithms: length must be at least 1"},
		"two places for keys":     {map[string]any{"jwks_url": "https://a/k", "pem_file": "/k"}, nil, "issuers[1].issuer: only one of discovery_url"},
		"key set over http":       {map[string]any{"jwks_url": "http://a.example/k"}, nil, "issuers[1].jwks_url: must be https"},
		"leeway too long":         {map[string]any{"leeway_seconds": 301}, nil, "issuers[1].leeway_seconds: value should be between 0 and 300"},
		"unknown binding":         {map[string]any{"require_binding": "tls"}, nil, "issuers[1].require_binding: expected one of"},
		"binding without a place": {map[string]any{"require_binding": "mtls"}, nil, "issuers[1].require_binding: mtls needs client_certificate"},
		"types that contradict": {map[string]any{"require_access_token_type": true, "insecure_accept_any_token_type": true}, nil,
			"issuers[1].require_access_token_type: contradicts"},
		"introspection without url": {introspection(map[string]any{"client_id": "c", "client_secret": "s"}), nil, "issuers[1].introspection.url: required field missing"},
		"introspection without secret": {introspection(map[string]any{"url": "https://a/i", "client_id": "c"}), nil,
			"issuers[1].introspection.client_secret: one of"},
		"introspection with two secrets": {introspection(map[string]any{"url": "https://a/i", "client_id": "c", "client_secret": "hidden", "client_secret_file": "/f"}), nil,
			"issuers[1].introspection.client_secret: one of"},
		"introspection over http": {introspection(map[string]any{"url": "http://a.example/i", "client_id": "c", "client_secret": "s"}), nil,
			"issuers[1].introspection.url: must be https"},
		"cookie's name":        {nil, map[string]any{"token_cookie": "a;b"}, "token_cookie: invalid value"},
		"header's name":        {nil, map[string]any{"token_header": "x_token"}, "token_header: invalid value"},
		"header with a role":   {nil, map[string]any{"token_header": "Cookie"}, "token_header: cookie has a meaning of its own"},
		"realm":                {nil, map[string]any{"realm": "a\"b"}, "realm: invalid value"},
		"origin with a path":   {nil, map[string]any{"public_origins": []string{"https://a", "https://b/c"}}, "public_origins[2]: must be scheme://host"},
		"certificate's source": {nil, map[string]any{"client_certificate": map[string]any{"from": "cookie"}}, "client_certificate.from: expected one of"},
		"header without proxies": {nil, map[string]any{"client_certificate": map[string]any{"from": "header"}},
			"client_certificate.trusted_proxies: required where from is header"},
		"proxies without header": {nil, map[string]any{"client_certificate": map[string]any{"trusted_proxies": []string{"10.0.0.0/8"}}},
			"client_certificate.trusted_proxies: has no effect"},
		"proxies that are no addresses": {nil, map[string]any{"client_certificate": map[string]any{"from": "header", "trusted_proxies": []string{"10.0.0.1", "proxy"}}},
			"client_certificate.trusted_proxies[2]: must be an address"},
		"token bytes": {nil, map[string]any{"max_token_bytes": 10}, "max_token_bytes: value should be between"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compileIdentity(p, configWith(t, c.issuer, c.config))
			require.ErrorIs(t, err, ErrConfig)
			require.ErrorContains(t, err, c.problem)
			require.NotContains(t, err.Error(), "hidden")
		})
	}
}

func TestConfigurationsThatWork(t *testing.T) {
	t.Parallel()
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	file := filepath.Join(t.TempDir(), "not-there-yet.json")
	for name, config := range map[string][]byte{
		"mtls": configWith(t, map[string]any{"require_binding": "mtls"}, map[string]any{"client_certificate": map[string]any{}}),
		"header from a proxy": configWith(t, nil, map[string]any{"client_certificate": map[string]any{
			"from": "header", "trusted_proxies": []string{"10.0.0.0/8", "::1", "192.0.2.1"}}}),
		"key file to come":   issuerWith(t, map[string]any{"jwks_file": file}),
		"deny list to come":  configWith(t, nil, map[string]any{"deny_list_file": file}),
		"no cache":           configWith(t, nil, map[string]any{"token_cache_entries": 0}),
		"cookie and header":  configWith(t, nil, map[string]any{"token_cookie": "__Host-token", "token_header": "X-Token"}),
		"origins":            configWith(t, nil, map[string]any{"public_origins": []string{"https://api.example.com", "https://b:8443"}}),
		"optional are null":  configWith(t, map[string]any{"introspection": nil, "algorithms": nil}, map[string]any{"client_certificate": nil}),
		"unlimited lifetime": issuerWith(t, map[string]any{"insecure_unlimited_lifetime": true}),
	} {
		_, err := compileIdentity(p, config)
		require.NoError(t, err, name)
	}
	require.NoFileExists(t, file)
}

// TestPatternsMeanTheSameInLua holds the translation to what Lua's manual
// says of the patterns we use, and every tag to what it knows.
func TestPatternsMeanTheSameInLua(t *testing.T) {
	t.Parallel()
	for pattern, c := range map[string]struct{ yes, no []string }{
		`^[%w%-%._ ]+$`: {[]string{"a", "Z-9._ x"}, []string{"", "ä", "a\nb", "%", "a/b"}},
		`^[%w%-]+$`:     {[]string{"x-y", "9"}, []string{"x_y", "", "-\n"}},
		`^%d+%.%d$`:     {[]string{"12.3"}, []string{"12x3", "a.1"}},
		`^[^/]`:         {[]string{"a"}, []string{"/", ""}},
	} {
		re := validator{name: "match", value: pattern}.pattern()
		for _, s := range c.yes {
			require.True(t, re.MatchString(s), "%s %q", pattern, s)
		}
		for _, s := range c.no {
			require.False(t, re.MatchString(s), "%s %q", pattern, s)
		}
	}
	for _, unknown := range []string{"a-b", "(a)", "%bxy", "%f[a]", "a|b"} {
		require.Panics(t, func() { validator{value: unknown}.pattern() }, unknown)
	}
	for _, record := range []any{IdentityConfig{}, TriggerConfig{}} {
		eachField(reflect.TypeOf(record), func(f reflect.StructField) {
			for _, v := range validators(f) {
				if v.name == "match" {
					require.NotPanics(t, func() { v.pattern() }, f.Name)
				}
			}
		})
	}
}

func eachField(record reflect.Type, do func(reflect.StructField)) {
	for i := range record.NumField() {
		f := record.Field(i)
		do(f)
		below := f.Type
		if below.Kind() == reflect.Slice || below.Kind() == reflect.Pointer {
			below = below.Elem()
		}
		if below.Kind() == reflect.Struct {
			eachField(below, do)
		}
	}
}

// TestTokensPage holds what docs/tokens.md shows to the plugin's definition.
func TestTokensPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/tokens.md")
	require.NoError(t, err)
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	blocks := regexp.MustCompile("(?s)```(yaml|json)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 4)
	for _, block := range blocks {
		if block[1] == "json" {
			_, err := token.ParseDenyList([]byte(block[2]))
			require.NoError(t, err)
			continue
		}
		fields := map[string]any{}
		require.NoError(t, yaml.Unmarshal([]byte(block[2]), &fields))
		data := configWith(t, nil, fields)
		_, err := compileIdentity(p, data)
		require.NoError(t, err)
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		require.NoError(t, strict.Decode(&IdentityConfig{}))
	}
	for i := range reflect.TypeFor[IssuerConfig]().NumField() {
		if name := reflect.TypeFor[IssuerConfig]().Field(i).Tag.Get("json"); strings.HasPrefix(name, "insecure_") {
			require.Contains(t, string(page), "| `"+name+"` |", "a switch that weakens has its danger on the page")
		}
	}
}
