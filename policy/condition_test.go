package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/policy"
)

var facts = policy.Facts{
	Identity: policy.CallerOf(claims.Identity{
		Subject: "42", Issuer: "https://idp.example", Kind: claims.Agent, Client: "bot", Email: "a@corp.example",
		Groups: []string{"data", "ops"}, Scopes: []string{"runs:start"},
		Actors:     []claims.Actor{{Subject: "agent-7", Client: "assistant", Kind: claims.Agent}},
		Attributes: map[string]any{"cost_center": "4711", "level": json.Number("3"), "on_call": true},
	}, []string{"runner"}),
	Request:    policy.Request{Method: "POST", Path: "/run/x", Query: map[string]string{"dry": "1"}, Headers: map[string]string{"x-env": "prod"}},
	Parameters: map[string]any{"region": "eu", "limit": json.Number("10"), "rate": json.Number("0.5"), "list": []any{json.Number("1")}},
	Deployment: policy.Deployment{Name: "report/prod", Flow: "report", Tags: []string{"pii"}, WorkPool: "k8s"},
	Now:        time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC),
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`true`: true,
		`"data" in identity.groups && !("admin" in identity.groups)`:                     true,
		`identity.kind == "agent" && identity.actors[0].client == "assistant"`:           true,
		`identity.actors.exists(a, a.kind == "agent")`:                                   true,
		`"runner" in identity.roles`:                                                     true,
		`identity.email.endsWith("@corp.example")`:                                       true,
		`identity.attributes.cost_center == "4711" && identity.attributes["level"] >= 3`: true,
		`has(identity.attributes.department)`:                                            false,
		`parameters.limit <= 10 && parameters.rate < 1.0 && parameters.list[0] == 1`:     true,
		`parameters.region in ["eu", "us"]`:                                              true,
		`"region" in parameters && !("other" in parameters)`:                             true,
		`"pii" in deployment.tags && deployment.name.startsWith("report/")`:              true,
		`now.getHours() >= 8 && now.getHours() < 18`:                                     true,
		`now > timestamp("2027-01-01T00:00:00Z")`:                                        false,
		`request.method == "POST" && request.query.dry == "1"`:                           true,
		`request.headers["x-env"] == "prod"`:                                             true,
		`sets.intersects(identity.groups, ["ops"])`:                                      true,
		`parameters.region == 1`:                                                         false,
		`identity.groups.all(g, g != "") && identity.scopes == ["runs:start"]`:           true,
	} {
		c, err := policy.CompileCondition(text)
		require.NoError(t, err, text)
		got, err := c.Holds(facts)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestConditionsThatDoNotCompile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"empty":              {``, "mismatched input"},
		"no bool":            {`identity.subject`, "must be bool"},
		"a misspelled field": {`identity.gruops == []`, "gruops"},
		"a wrong type":       {`identity.subject == 1`, "no matching overload"},
		"an unknown name":    {`caller.subject == "1"`, "undeclared reference"},
		"too long":           {strings.Repeat("(", 5000), "longer than"},
		"too deep":           {strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000), "condition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.CompileCondition(c.text)
			require.ErrorIs(t, err, policy.ErrCondition)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// What can't be decided is denied.
func TestConditionsThatCanNotBeDecided(t *testing.T) {
	t.Parallel()
	many := make([]any, 2000)
	for i := range many {
		many[i] = json.Number("1")
	}
	for _, c := range []struct {
		text       string
		parameters map[string]any
	}{
		{`parameters.absent == 1`, nil},
		{`identity.attributes.department != "hr"`, nil},
		{`identity.actors[5].client == "x"`, nil},
		{`parameters.n / 0 == 1`, map[string]any{"n": json.Number("1")}},
		{`parameters.list.all(a, parameters.list.all(b, a == b))`, map[string]any{"list": many}},
	} {
		condition, err := policy.CompileCondition(c.text)
		require.NoError(t, err, c.text)
		f := facts
		f.Parameters = c.parameters
		holds, err := condition.Holds(f)
		require.ErrorIs(t, err, policy.ErrCondition, c.text)
		require.False(t, holds, c.text)
	}
}

func FuzzCondition(f *testing.F) {
	f.Add(`identity.groups.exists(g, g == "a")`, `{"a":[1,{"b":null}]}`)
	f.Add(`parameters.a > 1`, `{"a":1e400}`)
	f.Fuzz(func(t *testing.T, text, parameters string) {
		c, err := policy.CompileCondition(text)
		if err != nil {
			return
		}
		facts := facts
		d := json.NewDecoder(strings.NewReader(parameters))
		d.UseNumber()
		if d.Decode(&facts.Parameters) != nil {
			return
		}
		if holds, err := c.Holds(facts); err != nil && holds {
			t.Fatalf("%s holds with an error: %v", text, err)
		}
	})
}

func BenchmarkCondition(b *testing.B) {
	c, err := policy.CompileCondition(`"data" in identity.groups && parameters.region in ["eu", "us"]`)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if holds, err := c.Holds(facts); !holds || err != nil {
			b.Fatal(err)
		}
	}
}
