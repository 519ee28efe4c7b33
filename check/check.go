package check

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// File is one file to check. Its name is for people.
type File struct {
	Name string
	Data []byte
}

// Options for [Check].
type Options struct {
	// Offline asks nobody: no identity provider, no Prefect.
	Offline bool
	// Env gives the values of {vault://env/...} and of decK's variables.
	// Default: none is known.
	Env func(name string) (string, bool)
	// Progress is told what is being asked, the how-manieth of how many.
	Progress func(what string, n, of int)
}

// checker is one check under way.
type checker struct {
	options Options
	gateway
	report  Report
	schemas map[string]*field
}

// Check says all that is wrong with some files, which belong together: decK or
// DB-less files and manifests of Kong's ingress controller. It changes nothing
// anywhere.
func Check(ctx context.Context, files []File, o Options) Report {
	c := &checker{options: o, schemas: map[string]*field{}, gateway: gateway{
		whose: map[*kongyml.Plugin]*pluginEntity{}, running: map[*kongyml.Route][]*pluginEntity{}, methodsAt: map[*kongyml.Route]*yaml.Node{},
	}}
	c.report = Report{Findings: []Finding{}, NotChecked: []NotChecked{}, Asked: []string{}, Files: len(files)}
	for _, name := range plugin.Names() {
		c.schemas[name] = schemaOf(name)
	}
	c.read(files)
	defer c.close()
	c.compile()
	c.rules()
	if !o.Offline {
		c.ask(ctx)
	}
	c.report.Routes = len(c.file.Routes)
	c.report.order()
	return c.report
}

// read takes the files' documents, each as what it is.
func (c *checker) read(files []File) {
	var deck, manifests []kongyml.Document
	for _, f := range files {
		documents, problems := kongyml.Parse(f.Name, f.Data)
		if c.tell(problems); len(documents)+len(problems) == 0 {
			c.find(codeFormat, Place{f.Name, 1, 1}, "", "", "the file is empty", "")
		}
		first := true
		for _, d := range documents {
			switch {
			case isManifest(d.Root):
				manifests = append(manifests, d)
			case first:
				deck, first = append(deck, d), false
			default:
				c.find(codeDocumentUnread, placeOf(d.File, d.Root), "", "", "this is a further document of the file, and Kong reads the first alone", "")
			}
		}
	}
	c.readDeck(deck)
	c.readManifests(manifests)
}

func (c *checker) close() {
	for _, p := range c.plugins {
		if p.exam != nil {
			p.exam.Close()
		}
	}
}

// find adds a finding; without do it gets the code's own remedy.
func (c *checker) find(code string, at Place, entity, field, what, do string) {
	kind := codes[code]
	if do == "" {
		do = kind.do
	}
	c.report.Findings = append(c.report.Findings, Finding{
		Severity: kind.severity, Code: code, Place: at, Entity: entity, Field: field, What: what, Do: do,
	})
}

// findIn adds a finding about a plugin's configuration; field is below config.
func (c *checker) findIn(p *pluginEntity, code string, n *yaml.Node, field, what, do string) {
	if n == nil {
		n = p.nodeAt(field)
	}
	c.find(code, placeOf(p.file, n), p.entity(), p.fieldPath(field), what, do)
}

// findAt adds a finding about a plugin as a whole.
func (c *checker) findAt(p *pluginEntity, code, what, do string) {
	c.find(code, placeOf(p.file, p.nameNode), p.entity(), p.path, what, do)
}

func (c *checker) notChecked(p *pluginEntity, field, why string) {
	c.report.NotChecked = append(c.report.NotChecked, NotChecked{
		Place: placeOf(p.file, p.nodeAt(field)), Entity: p.entity(), Field: p.fieldPath(field), Why: why,
	})
}

func (p *pluginEntity) fieldPath(field string) string {
	if field == "" {
		return p.path
	}
	return strings.TrimPrefix(p.path+".config."+field, ".")
}

// compile reads our plugins' configurations and has the plugins themselves
// compile them.
func (c *checker) compile() {
	for _, p := range c.plugins {
		if !p.ours() {
			continue
		}
		c.report.Plugins++
		if p.opaque {
			continue
		}
		p.reading = &reading{checker: c, of: p, unknown: map[string]string{}}
		p.values = p.reading.record(p.config, p.at, c.schemas[p.name].field("config"), "")
		if slices.ContainsFunc(p.reading.replaced, isIssuer) {
			continue // who the issuers are decides too much of the rest
		}
		data, err := json.Marshal(p.values)
		if err != nil {
			panic(err) // made of texts, numbers, lists and maps
		}
		p.exam = plugin.Examine(p.name, data)
		c.tellCompiled(p)
	}
}

func isIssuer(field string) bool {
	return strings.HasPrefix(field, "issuers[") && strings.HasSuffix(field, ".issuer") || field == "issuers"
}

func (c *checker) tellCompiled(p *pluginEntity) {
	for _, problem := range p.exam.Problems {
		if touches(p.reading.replaced, problem.Field) {
			continue // said already, or a consequence of it
		}
		code, what := codeConfigInvalid, problem.Text
		if text, is := conditionProblem(problem); is {
			code, what = codeConditionInvalid, text
		}
		c.findIn(p, code, nil, problem.Field, what, "")
	}
	for _, advice := range p.exam.Advice {
		field := advice.Field
		if node.In(p.nodeOf(field), "subjects") != nil {
			field += ".subjects"
		}
		c.findIn(p, codeRoleForPerson, nil, field, advice.Text, "")
	}
	for _, elsewhere := range p.exam.Elsewhere {
		c.notChecked(p, elsewhere.Field, "it is on the gateway's machine, and not here: "+elsewhere.Text)
	}
}

// nodeOf is the value of a field of the configuration.
func (p *pluginEntity) nodeOf(field string) *yaml.Node {
	n := node.Target(p.config)
	for _, step := range strings.Split(field, ".") {
		name, index, indexed := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		if n = node.In(n, name); indexed {
			if list := node.Items(n); atoi(index) >= 1 && atoi(index) <= len(list) {
				n = node.Target(list[atoi(index)-1])
			}
		}
	}
	return n
}

// touches tells whether a field is one of those, above or below one.
func touches(fields []string, field string) bool {
	return slices.ContainsFunc(fields, func(f string) bool {
		return f == field || within(f, field) || within(field, f)
	})
}

// within tells whether inner is a part of outer.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (outer == "" || strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}

func placeOf(file string, n *yaml.Node) Place { return Place{file, n.Line, n.Column} }

func quote(s string) string { return strconv.Quote(s) }

func itoa(n int) string { return strconv.Itoa(n) }

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
