package policy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
)

const idp = "https://idp.example.com"

func TestRoles(t *testing.T) {
	t.Parallel()
	grants, err := NewGrants([]Grant{
		{Role: Runner, Clients: []string{"svc-nightly"}},
		{Role: Viewer, Groups: []string{"data-team"}},
		{Role: Owner, Groups: []string{"admin"}, Scopes: []string{"admin"}},
		{Role: Developer, Subjects: []string{"5d1a"}},
	}, []string{idp})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		caller claims.Identity
		want   []string
	}{
		"nobody":                       {claims.Identity{Issuer: idp, Subject: "x", Kind: claims.User}, nil},
		"service account":              {claims.Identity{Issuer: idp, Kind: claims.Service, Client: "svc-nightly"}, []string{Runner}},
		"agent":                        {claims.Identity{Issuer: idp, Kind: claims.Agent, Client: "svc-nightly"}, []string{Runner}},
		"person who uses the client":   {claims.Identity{Issuer: idp, Kind: claims.User, Client: "svc-nightly"}, nil},
		"group":                        {claims.Identity{Issuer: idp, Kind: claims.User, Groups: []string{"x", "data-team"}}, []string{Viewer}},
		"group of another case":        {claims.Identity{Issuer: idp, Kind: claims.User, Groups: []string{"Data-Team"}}, nil},
		"administrator isn't admin":    {claims.Identity{Issuer: idp, Groups: []string{"administrator"}, Scopes: []string{"admin2", "sadmin"}}, nil},
		"scope":                        {claims.Identity{Issuer: idp, Scopes: []string{"read", "admin"}}, []string{Owner}},
		"comma in a group stays one":   {claims.Identity{Issuer: idp, Groups: []string{"a,data-team"}}, nil},
		"subject":                      {claims.Identity{Issuer: idp, Subject: "5d1a"}, []string{Developer}},
		"several, each once, in order": {claims.Identity{Issuer: idp, Groups: []string{"admin", "data-team"}, Scopes: []string{"admin"}}, []string{Viewer, Owner}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, grants.Roles(c.caller, nil))
		})
	}
}

func TestGrantsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := NewGrants([]Grant{{}, {Role: Runner, Clients: []string{"c"}, Issuers: []string{"https://other"}}}, []string{idp})
	require.ErrorContains(t, err, "roles[1]: role is empty")
	require.ErrorContains(t, err, "roles[1]: names nobody")
	require.ErrorContains(t, err, `roles[2]: issuer "https://other" isn't configured`)

	two := []string{idp, "https://second"}
	_, err = NewGrants([]Grant{{Role: Runner, Clients: []string{"c"}}}, two)
	require.ErrorContains(t, err, "must name its issuers")
	grants, err := NewGrants([]Grant{{Role: Runner, Clients: []string{"c"}, Issuers: two[:1]}}, two)
	require.NoError(t, err)
	require.Empty(t, grants.Roles(claims.Identity{Issuer: "https://second", Kind: claims.Service, Client: "c"}, nil), "another provider's c is somebody else")
}

func TestClaimsAndIssuersNarrowAGrant(t *testing.T) {
	t.Parallel()
	main := Claim{Path: "ref", Values: []string{"refs/heads/main", "refs/heads/release"}}
	grants, err := NewGrants([]Grant{
		{Role: "both", Clients: []string{"svc"}, Claims: []Claim{main}},
		{Role: "all", Claims: []Claim{main, {Path: "/kubernetes.io/namespace", Values: []string{"prod"}}}},
		{Role: "list", Claims: []Claim{{Path: "/org/teams", Values: []string{"data"}}}},
		{Role: "number", Claims: []Claim{{Path: "level", Values: []string{"7"}}}},
		{Role: "everybody", Issuers: []string{idp}},
	}, []string{idp})
	require.NoError(t, err)
	svc := claims.Identity{Issuer: idp, Subject: "svc", Kind: claims.Service, Client: "svc"}
	onMain := map[string]any{"ref": "refs/heads/main"}
	for name, c := range map[string]struct {
		caller claims.Identity
		claims map[string]any
		want   []string
	}{
		"nothing":                {svc, nil, []string{"everybody"}},
		"list and claim":         {svc, onMain, []string{"both", "everybody"}},
		"claim without the list": {claims.Identity{Issuer: idp, Subject: "x", Kind: claims.User}, onMain, []string{"everybody"}},
		"another value":          {svc, map[string]any{"ref": "refs/heads/main2"}, []string{"everybody"}},
		"all of several":         {claims.Identity{Issuer: idp, Subject: "x"}, map[string]any{"ref": "refs/heads/main", "kubernetes.io": map[string]any{"namespace": "prod"}}, []string{"all", "everybody"}},
		"one item of a list":     {claims.Identity{Issuer: idp, Subject: "x"}, map[string]any{"org": map[string]any{"teams": []any{"x", "data"}}}, []string{"list", "everybody"}},
		"a number":               {claims.Identity{Issuer: idp, Subject: "x"}, map[string]any{"level": json.Number("7")}, []string{"number", "everybody"}},
		"an object is no text":   {claims.Identity{Issuer: idp, Subject: "x"}, map[string]any{"level": map[string]any{"7": true}}, []string{"everybody"}},
		"another issuer":         {claims.Identity{Issuer: "https://other", Subject: "x"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, grants.Roles(c.caller, c.claims))
		})
	}
}

func TestGrantsByCondition(t *testing.T) {
	t.Parallel()
	grants, err := NewGrants([]Grant{
		{Role: Runner, Condition: `identity.kind == "agent" && identity.actors.size() == 0`},
		{Role: Owner, Groups: []string{"admins"}, Condition: `identity.email.endsWith("@example.com")`},
		{Role: Viewer, Condition: `identity.attributes.team == "data"`},
		{Role: Developer, Condition: `identity.roles.size() > 0`},
		{Role: Worker, Condition: `now < timestamp("2000-01-01T00:00:00Z")`},
	}, []string{idp})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		caller claims.Identity
		want   []string
	}{
		"an agent":                        {claims.Identity{Issuer: idp, Kind: claims.Agent}, []string{Runner}},
		"group and condition":             {claims.Identity{Issuer: idp, Groups: []string{"admins"}, Email: "a@example.com"}, []string{Owner}},
		"group alone":                     {claims.Identity{Issuer: idp, Groups: []string{"admins"}, Email: "a@example.org"}, nil},
		"condition alone":                 {claims.Identity{Issuer: idp, Email: "a@example.com"}, nil},
		"attribute":                       {claims.Identity{Issuer: idp, Attributes: map[string]any{"team": "data"}}, []string{Viewer}},
		"an attribute of another type":    {claims.Identity{Issuer: idp, Attributes: map[string]any{"team": []string{"data"}}}, nil},
		"what can't be decided gives nil": {claims.Identity{Issuer: idp}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, grants.Roles(c.caller, nil))
		})
	}
	for _, condition := range []string{"identity.nickname == 'x'", "1 + 1", "identity.kind =="} {
		_, err := NewGrants([]Grant{{Role: Runner, Condition: condition}}, []string{idp})
		require.ErrorContains(t, err, "roles[1].condition", condition)
	}
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	grants, err := NewGrants([]Grant{{Role: Viewer, Groups: []string{"g"}}, {Role: Runner, Subjects: []string{"5d1a"}}}, []string{idp})
	require.NoError(t, err)
	require.Len(t, grants.Advice(), 1)
	require.Contains(t, grants.Advice()[0], "roles[2]")
}

func TestDecideDeniesByDefault(t *testing.T) {
	t.Parallel()
	require.False(t, Decide(nil, nil).Allowed)
	require.False(t, Decide([]string{Owner}, nil).Allowed)
	require.False(t, Decide([]string{""}, []string{""}).Allowed)
	require.False(t, Decide([]string{"runner2"}, []string{Runner}).Allowed)
	require.Equal(t, Decision{Allowed: true, Role: Runner, Rule: "allow_roles:runner"}, Decide([]string{Viewer, Runner}, []string{Runner}))
}

func parameters(t *testing.T, s string) map[string]any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(s))
	require.NoError(t, err)
	return v.(map[string]any)
}

// schema is what Prefect makes of
// f(region: str, day: date | None = None, ids: list[int] = [], person: Person | None = None).
const schema = `{"title":"Parameters","type":"object","required":["region"],
 "properties":{"region":{"position":0,"title":"region","type":"string"},
  "day":{"anyOf":[{"format":"date","type":"string"},{"type":"null"}],"default":null},
  "at":{"format":"date-time","type":"string"},
  "ids":{"items":{"type":"integer"},"type":"array"},
  "person":{"$ref":"#/definitions/Person"}},
 "definitions":{"Person":{"properties":{"age":{"minimum":0,"type":"integer"}},"required":["age"],"type":"object"}}}`

func TestParametersAgainstTheSchema(t *testing.T) {
	t.Parallel()
	s, err := NewParameterSchema(json.RawMessage(schema))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		parameters string
		pointers   []string
	}{
		"fits":         {`{"region":"emea","day":"2026-01-31","ids":[1,12345678901234567890],"person":{"age":3}}`, nil},
		"null":         {`{"region":"emea","day":null}`, nil},
		"naive time":   {`{"region":"emea","at":"2026-01-31T10:00:00"}`, nil},
		"missing":      {`{}`, []string{""}},
		"type":         {`{"region":1}`, []string{"/region"}},
		"no date":      {`{"region":"emea","day":"soon"}`, []string{"/day", "/day"}},
		"in a list":    {`{"region":"emea","ids":[1,"x",2.5]}`, []string{"/ids/1", "/ids/2"}},
		"behind a ref": {`{"region":"emea","person":{"age":-1}}`, []string{"/person/age"}},
		"undeclared":   {`{"region":"emea","x/y":1}`, []string{"/x~1y"}},
		"all at once":  {`{"ids":1,"z":2}`, []string{"", "/ids", "/z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pointers []string
			for _, v := range s.Check(parameters(t, c.parameters)) {
				pointers = append(pointers, v.Pointer)
				require.NotEmpty(t, v.Detail)
			}
			require.Equal(t, c.pointers, pointers)
		})
	}
}

func TestSchemaRefersToNothingOutside(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"type":"string"}`), 0o600)) // it could be read
	for _, ref := range []string{"file://" + file, file, "http://127.0.0.1:1/x", "other.json"} {
		_, err := NewParameterSchema(json.RawMessage(`{"properties":{"a":{"$ref":"` + ref + `"}}}`))
		require.ErrorContains(t, err, "may not refer to", ref)
	}
	s, err := NewParameterSchema(nil)
	require.NoError(t, err)
	require.Len(t, s.Check(map[string]any{"a": 1}), 1, "a flow without a schema has no parameters")
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		parameters string
		pointers   []string
	}{
		"nothing":    {`{"a":{"b":[1,{"c":"__prefect_kind"}]}}`, nil},
		"at the top": {`{"__prefect_kind":"jinja"}`, []string{"/__prefect_kind"}},
		"deep":       {`{"a":[0,{"b":{"__prefect_kind":"workspace_variable","variable_name":"x"}}]}`, []string{"/a/1/b/__prefect_kind"}},
		"twice":      {`{"a":{"__prefect_kind":1},"b":{"__prefect_kind":2}}`, []string{"/a/__prefect_kind", "/b/__prefect_kind"}},
		"too deep":   {`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, []string{"/a" + strings.Repeat("/0", 32)}},
		"numbers":    {`{"a":[1e308,-1.5E+3,5e-324,0.0,` + strings.Repeat("9", 1000) + `]}`, nil},
		"too large":  {`{"a":[1e309,-1e999999999,1e-999999,0e1000000,1.` + strings.Repeat("0", 1000) + `,` + strings.Repeat("9", 1001) + `]}`, []string{"/a/0", "/a/1", "/a/2", "/a/3", "/a/4", "/a/5"}},
		"no text":    {`{"a":["x\u0000"],"b\u0000":1}`, []string{"/a/0", "/b\x00"}},
		"too many":   {`{"a":[` + strings.Repeat("0,", MaxParameterValues) + `0]}`, []string{"/a/9998"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pointers []string
			for _, v := range Forbidden(parameters(t, c.parameters)) {
				pointers = append(pointers, v.Pointer)
			}
			require.Equal(t, c.pointers, pointers)
		})
	}
}
