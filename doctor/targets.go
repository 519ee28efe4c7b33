package doctor

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// target is a path of the gateway that must not be open.
type target struct {
	name         string // of the route, or the path
	method, path string
	beginning    string // of all paths that the route takes
	host         string
	starts       bool // prefect-trigger is there
	guards       bool // prefect-guard is there
	expected     bool // kong.yml has it, so the gateway must
	anonymous    bool // kong.yml lets requests without a token pass
	open         bool // kong.yml has no plugin of ours there
}

// question asks a target for something that no route carries out: a route that
// starts runs gets a body that isn't JSON.
func (t target) question() question {
	q := question{method: t.method, path: t.path, host: t.host}
	if t.starts {
		q.body = "{"
	}
	return q
}

func (x *examination) findTargets() (list []target, err error) {
	for _, path := range x.Paths {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%w: the path %q must begin with a slash", ErrOptions, path)
		}
		list = append(list, target{name: path, method: http.MethodGet, path: path})
	}
	if x.File == nil {
		return list, nil
	}
	for _, r := range x.File.Routes {
		switch t, why := x.targetOf(r); {
		case why == "":
			list = append(list, t)
		case !t.open:
			x.skipped = append(x.skipped, t.name+" ("+why+")")
		}
	}
	return list, nil
}

// targetOf is how a route is asked, or why it can't be.
func (x *examination) targetOf(r *kongyml.Route) (t target, why string) {
	t = target{name: "route " + r.Name, method: http.MethodGet, expected: true, open: true}
	for _, p := range x.File.PluginsOf(r) {
		switch p.Name {
		case plugin.TriggerName:
			t.starts, t.open = true, false
		case plugin.GuardName:
			t.guards, t.open = true, false
		case plugin.IdentityName:
			t.open = false
			t.anonymous = p.Config["anonymous"] != nil
			x.identityOf(p)
		}
	}
	at := slices.IndexFunc(r.Paths, func(p string) bool { return !strings.HasPrefix(p, "~") })
	switch {
	case len(r.Unknown) > 0:
		return t, "it is chosen by " + strings.Join(r.Unknown, ", ")
	case len(r.Headers) > 0:
		return t, "it is chosen by headers"
	case at < 0 && len(r.Paths) > 0:
		return t, "its paths are expressions"
	}
	t.path = "/"
	if at >= 0 {
		t.path = r.Paths[at]
	}
	if t.beginning = t.path; t.guards {
		t.path = strings.TrimSuffix(t.path, "/") + "/admin/version"
	}
	for _, h := range r.Hosts {
		if !strings.Contains(h, "*") {
			t.host = h
			break
		}
	}
	if len(r.Hosts) > 0 && t.host == "" {
		return t, "its hosts are patterns"
	}
	switch {
	case t.starts && (len(r.Methods) == 0 || slices.Contains(r.Methods, http.MethodPost)):
		t.method = http.MethodPost // which can't start anything: see question
	case len(r.Methods) > 0 && !slices.Contains(r.Methods, http.MethodGet):
		return t, "it takes no GET, and what another method does isn't known"
	}
	return t, ""
}

// identityOf takes from a kong.yml whose tokens are taken.
func (x *examination) identityOf(p *kongyml.Plugin) {
	config, _ := kongyml.Resolve(p.Config, x.env)
	issuers, _ := config["issuers"].([]any)
	if len(issuers) == 0 {
		return
	}
	first, _ := issuers[0].(map[string]any)
	issuer, _ := first["issuer"].(string)
	x.Issuer = cmp.Or(x.Issuer, issuer)
	if audiences, ok := first["audiences"].([]any); ok && len(audiences) > 0 {
		audience, _ := audiences[0].(string)
		x.Audience = cmp.Or(x.Audience, audience)
	}
}

func (x *examination) env(name string) (string, bool) {
	if x.Env == nil {
		return "", false
	}
	return x.Env(name)
}

// closed are the targets that refuse whoever has no token.
func (x *examination) closed() (list []target) {
	for _, t := range x.targets {
		if a, asked := x.answers[t.name]; asked && a.status == http.StatusUnauthorized && a.code() != "" {
			list = append(list, t)
		}
	}
	return list
}
