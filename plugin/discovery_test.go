package plugin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/claims"
)

// openAPI is the part of a description that these tests look at.
type openAPI struct {
	OpenAPI string
	Info    struct{ Title string }
	Paths   map[string]struct {
		Ref  string `json:"$ref"`
		Post struct {
			Parameters []struct {
				Name, In string
				Required bool
				Schema   map[string]any
				Content  map[string]any
			}
			RequestBody *struct {
				Required bool
				Content  map[string]struct {
					Schema struct {
						Properties           map[string]map[string]any
						Required             []string
						AdditionalProperties any
					}
				}
			}
		}
	}
	Components struct{ Schemas map[string]any }
}

func (r triggerRig) described(a ask) (openAPI, *Problem) {
	r.t.Helper()
	a.method = http.MethodGet
	got, problem := r.serve(context.Background(), r.order(a))
	if problem != nil {
		return openAPI{}, problem
	}
	var d openAPI
	require.NoError(r.t, json.Unmarshal(got.body, &d), "%s", got.body)
	require.Equal(r.t, "3.1.0", d.OpenAPI)
	return d, nil
}

// inputs are the values outside the body, as "in name", those that must be
// there with a star.
func (d openAPI) inputs(path string) (list []string) {
	for _, p := range d.Paths[path].Post.Parameters {
		if p.Name == "Idempotency-Key" || p.Name == "Prefer" {
			continue
		}
		text := p.In + " " + p.Name
		if p.Required {
			text += "*"
		}
		list = append(list, text)
	}
	return list
}

func (d openAPI) members(path string) (list []string) {
	body := d.Paths[path].Post.RequestBody
	if body == nil {
		return nil
	}
	schema := body.Content["application/json"].Schema
	for name := range schema.Properties {
		if slices.Contains(schema.Required, name) {
			name += "*"
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func TestDescriptionSaysWhatACallerCanSend(t *testing.T) {
	t.Parallel()
	const all = "by dry ids level limit region*"
	for name, c := range map[string]struct {
		configuration string
		ask           ask
		path          string
		inputs, body  string
	}{
		"without bindings": {`"deployment":"report/prod","allow_roles":["runner"]`, ask{}, "/run/report", "", all},
		"bound": {`"path":"/run/{region}","deployment":"report/prod","allow_roles":["runner"],"parameters":[
			{"name":"region","from":"capture"},{"name":"limit","from":"query","path":"max"},{"name":"ids","from":"header","path":"x-ids"},
			{"name":"dry","from":"body","path":"try"},{"name":"by","from":"claim","path":"email"},{"name":"level","from":"fixed","value":"3"}]`,
			ask{path: "/run/emea"}, "/run/{region}", "path region*,query max,header X-Ids", "try"},
		"before its part": {`"path":"/run/{region}","deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"capture"}]`,
			ask{path: "/run"}, "/run/{region}", "path region*", ""},
		"a part that is no parameter": {`"path":"/{tenant}/{region}","deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"capture"}]`,
			ask{path: "/a b/emea"}, "/a%20b/{region}", "path region*", ""},
		"a part that isn't known yet": {`"path":"/run/{tenant}","deployment":"report/prod","allow_roles":["runner"]`,
			ask{path: "/run"}, "/run/{tenant}", "path tenant*", all},
		"a default": {`"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"region","from":"query","default":"emea"}]`,
			ask{}, "/run/report", "query region", ""},
		"two from one": {`"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"by","from":"query","path":"q"},{"name":"region","from":"query","path":"q"}]`,
			ask{}, "/run/report", "query q*", ""},
		"fields": {`"deployment":"report/prod","allow_roles":["runner"],"body_fields":["tags"],"parameters":[{"name":"region","from":"body"}]`,
			ask{}, "/run/report", "", "region* tags"},
		"ruled": {`"deployments":[{"when":"request.query.env == 'prod' && request.method == 'POST'","deployment":"report/prod"}],"allow_roles":["runner"],"parameters":[{"name":"region","from":"body"}]`,
			ask{query: "env=prod"}, "/run/report", "", "region*"},
		"chosen": {`"path":"/run/{flow}/{deployment}","choose":["report/*"],"allow_roles":["runner"]`,
			ask{path: "/run/report/gold"}, "/run/report/gold", "", all},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, problem := newTriggerRig(t, c.configuration).described(c.ask)
			require.Nil(t, problem, "%+v", problem)
			require.Contains(t, d.Paths, c.path)
			require.Equal(t, c.inputs, strings.Join(d.inputs(c.path), ","))
			require.Equal(t, c.body, strings.Join(d.members(c.path), " "))
		})
	}
}

func TestDescriptionIsForThoseWhoMayStart(t *testing.T) {
	t.Parallel()
	const choice = `"path":"/run/{flow}/{deployment}","choose":["report/*"],`
	const cond = `"deployment":"report/prod","allow":[{"name":"a","roles":["runner"],"when":"`
	for name, c := range map[string]struct {
		configuration string
		ask           ask
		code          string
	}{
		"no role":                      {`"deployment":"report/prod","allow_roles":["runner"]`, ask{roles: []string{"other"}}, CodeRoleNotAllowed},
		"a condition on parameters":    {cond + `parameters.limit < 5"}]`, ask{}, ""},
		"a condition on the request":   {cond + `request.headers.x == 'y'"}]`, ask{}, ""},
		"who calls decides against it": {cond + `identity.kind == 'user' && parameters.limit < 5"}]`, ask{}, CodePolicyDenied},
		"the deployment, against it":   {cond + `!('pii' in deployment.tags)"}]`, ask{}, CodePolicyDenied},
		"a claim is missing": {`"deployment":"report/prod","allow_roles":["runner"],"parameters":[{"name":"by","from":"claim","path":"email"}]`,
			ask{caller: claims.Identity{Subject: "s", Issuer: "https://idp"}}, "claim_missing"},
		"no rule holds":  {`"deployments":[{"when":"false","deployment":"report/prod"}],"allow_roles":["runner"]`, ask{}, CodeDeploymentUndecided},
		"paused":         {`"deployment":"report/paused","allow_roles":["runner"]`, ask{}, CodeDeploymentPaused},
		"gone":           {`"deployment":"report/gone","allow_roles":["runner"]`, ask{}, CodeDeploymentUnknown},
		"not offered":    {choice + `"allow_roles":["runner"]`, ask{path: "/run/stateful/prod"}, CodeDeploymentNotOffered},
		"not there":      {choice + `"allow_roles":["runner"]`, ask{path: "/run/report/none"}, CodeDeploymentNotOffered},
		"another's path": {choice + `"allow_roles":["runner"]`, ask{path: "/other"}, CodePathUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problem := newTriggerRig(t, c.configuration).described(c.ask)
			if c.code == "" {
				require.Nil(t, problem, "%+v", problem)
				return
			}
			require.NotNil(t, problem)
			require.Equal(t, c.code, problem.Code)
		})
	}
}

// The list holds what this caller may choose, and each entry leads to its
// description.
func TestListOfWhatMayBeChosen(t *testing.T) {
	t.Parallel()
	r := newTriggerRig(t, `"path":"/run/{flow}/{deployment}","choose":["report/*","stateful/*"],
		"allow":[{"name":"a","roles":["runner"],"when":"!('pii' in deployment.tags)"}]`)
	for path, want := range map[string][]string{
		"/run":          {"/run/report/gold", "/run/stateful/prod"}, // prod holds pii, paused and nobody are never executed
		"/run/stateful": {"/run/stateful/prod"},
		"/run/none":     {},
	} {
		d, problem := r.described(ask{path: path})
		require.Nil(t, problem)
		got := []string{}
		for at, item := range d.Paths {
			got = append(got, at)
			reference, pointer, _ := strings.Cut(item.Ref, "#")
			require.Equal(t, at, reference)
			require.Equal(t, "/paths/"+strings.ReplaceAll(at, "/", "~1"), pointer)
		}
		slices.Sort(got)
		require.Equal(t, want, got, path)
	}
	_, problem := r.send(ask{path: "/run"})
	require.NotNil(t, problem)
	require.Equal(t, CodePathUnknown, problem.Code, "nothing starts there")
}
