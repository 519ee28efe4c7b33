package check

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/plugin"
	"github.com/kong-prefect/kong-prefect/policy"
)

// question is one thing to ask of somebody else.
type question struct {
	what string // for who waits
	ask  func(ctx context.Context)
}

// ask puts all questions, one after another: nobody's server is to suffer from
// a check. Who is named by several configurations in the same way is asked
// once.
func (c *checker) ask(ctx context.Context) {
	asked := map[string]*plugin.ConfigProblem{}
	var questions []question
	for _, p := range c.plugins {
		if p.exam == nil || !p.ours() {
			continue
		}
		for i, url := range p.exam.Issuers() {
			questions = append(questions, c.askIssuer(p, i, url, asked))
		}
		if p.exam.Server() != "" {
			questions = append(questions, c.askPrefect(p, asked))
		}
	}
	for n, q := range questions {
		if ctx.Err() != nil {
			return
		}
		if c.options.Progress != nil {
			c.options.Progress(q.what, n+1, len(questions))
		}
		q.ask(ctx)
	}
	slices.Sort(c.report.Asked)
	c.report.Asked = slices.Compact(c.report.Asked)
}

// hidden is the field below one whose value isn't known here, and what it
// comes from.
func (p *pluginEntity) hidden(field string) (string, string, bool) {
	for _, known := range slices.Sorted(maps.Keys(p.reading.unknown)) {
		if within(known, field) || known == field {
			return known, p.reading.unknown[known], true
		}
	}
	return "", "", false
}

func (c *checker) askIssuer(p *pluginEntity, i int, url string, asked map[string]*plugin.ConfigProblem) question {
	settings := records(p.values["issuers"])[i]
	return question{"issuer " + url, func(ctx context.Context) {
		field := "issuers[" + itoa(i+1) + "]"
		if known, from, hidden := p.hidden(field); hidden && strings.Contains(known, "issuer") || hidden && strings.HasSuffix(known, "_url") {
			c.notChecked(p, known, "it comes from "+from+", which isn't known here: the issuer wasn't asked")
			return
		}
		if file, _ := settings["jwks_file"].(string); file != "" || settings["pem_file"] != nil {
			c.notChecked(p, field, "its keys are in a file on the gateway's machine")
			return
		}
		problem, known := asked[keyFor("issuer", settings)]
		if !known {
			problem = p.exam.AskIssuer(ctx, url)
			asked[keyFor("issuer", settings)] = problem
			c.report.Asked = append(c.report.Asked, url)
		}
		if problem != nil {
			c.findIn(p, codeIssuerUnavailable, nil, field+".issuer", cause(problem), "")
		}
	}}
}

func (c *checker) askPrefect(p *pluginEntity, asked map[string]*plugin.ConfigProblem) question {
	return question{"Prefect at " + p.exam.Server(), func(ctx context.Context) {
		if known, from, hidden := p.hidden("prefect"); hidden {
			c.notChecked(p, known, "it comes from "+from+", which isn't known here: Prefect wasn't asked")
			return
		}
		key := keyFor("prefect", p.values["prefect"])
		problem, known := asked[key]
		if !known {
			problem = p.exam.AskPrefect(ctx)
			asked[key] = problem
			c.report.Asked = append(c.report.Asked, p.exam.Server())
		}
		if problem != nil {
			code := codePrefectUnavailable
			field := "prefect.api_url"
			if problem.Code == plugin.CodePrefectUnauthorized {
				code, field = codePrefectRefuses, "prefect"
			}
			c.findIn(p, code, nil, field, cause(problem), "")
			return
		}
		c.askDeployments(ctx, p)
	}}
}

func (c *checker) askDeployments(ctx context.Context, p *pluginEntity) {
	for _, problem := range p.exam.AskChoices(ctx) {
		code := codePrefectUnavailable
		if problem.Code == plugin.CodeDeploymentNotOffered {
			code = codeChoiceEmpty
		}
		c.findIn(p, code, nil, problem.Field, cause(&problem), "")
	}
	for field, name := range p.exam.Deployments() {
		if _, _, hidden := p.hidden(field); hidden || touches(p.reading.replaced, field) {
			continue
		}
		for _, problem := range p.exam.AskDeployment(ctx, field, name) {
			code := codePrefectUnavailable
			what := cause(&problem)
			switch {
			case errors.Is(problem.Err, policy.ErrFit):
				code = codeParameterMisfit
				what += " (deployment " + name + ")"
			case problem.Code == plugin.CodeDeploymentUnknown:
				code, what = codeDeploymentUnknown, "Prefect at "+p.exam.Server()+" has no deployment "+quote(name)
			case problem.Code == plugin.CodeDeploymentPaused, problem.Code == plugin.CodeDeploymentNoWorkPool:
				code = codeDeploymentIdle
			}
			c.findIn(p, code, nil, problem.Field, what, "")
		}
	}
}

// keyFor tells whether two configurations name somebody in the same way.
func keyFor(kind string, settings any) string {
	data, err := json.Marshal(settings)
	if err != nil {
		panic(err) // made of texts, numbers, lists and maps
	}
	return kind + string(data)
}

// cause is a problem's sentence in one line.
func cause(p *plugin.ConfigProblem) string {
	return strings.Join(strings.Fields(p.Text), " ")
}
