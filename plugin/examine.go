package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/policy"
	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/signing"
	"github.com/kong-prefect/kong-prefect/token"
)

// errNoVariable: the process that serves may have it. A configuration that
// wants it is not broken where it is examined.
var errNoVariable = errors.New("the environment variable is empty")

// Names are the plugins' names.
func Names() []string { return []string{IdentityName, TriggerName, GuardName} }

// SchemaOf is the schema of one of [Names], as the dump has it; nil for any
// other name.
func SchemaOf(name string) map[string]any {
	if config := configOfPlugin(name); config != nil {
		return Schema(name, reflect.ValueOf(config).Elem().Interface())
	}
	return nil
}

// configOfPlugin is a new configuration, a pointer to its struct.
func configOfPlugin(name string) any {
	switch name {
	case IdentityName:
		return &IdentityConfig{}
	case TriggerName:
		return &TriggerConfig{}
	case GuardName:
		return &GuardConfig{}
	}
	return nil
}

// Pattern is what a schema's match means.
func Pattern(match string) *regexp.Regexp { return validator{"match", match}.pattern() }

// ConfigProblem is one thing wrong with a configuration.
type ConfigProblem struct {
	// Field is where, as Kong writes it: roles[2].condition. Lists count from
	// 1. Empty: the configuration as a whole.
	Field string
	Text  string
	// Code is the refusal (docs/problems.md) that requests would get, where
	// somebody who was asked caused it.
	Code string
	// Err is the problem's class, where there is one: policy.ErrCondition,
	// policy.ErrFit.
	Err error
}

// Examination is a configuration that was compiled and serves nobody. Whoever
// has one closes it.
type Examination struct {
	Problems []ConfigProblem // it can't work, and every request would be refused
	Advice   []ConfigProblem // it works, and is better done in another way
	// Elsewhere are parts that can be told only on the gateway: files and
	// environment variables that aren't here.
	Elsewhere []ConfigProblem

	process  *Process
	identity *identity
	trigger  *trigger
	guard    *guarded
}

// Examine compiles a configuration, the config of one of [Names], as the
// plugin does when Kong starts it. It asks nobody and changes nothing.
func Examine(name string, config []byte) *Examination {
	x := &Examination{process: NewProcess(slog.New(slog.DiscardHandler))}
	x.process.Withhold = func(r prefectclient.Request) bool { return r.Changes }
	var err error
	if x.process.Signing, err = signing.Fleeting(); err != nil {
		x.Problems = append(x.Problems, ConfigProblem{Text: err.Error(), Err: err})
		return x
	}
	switch name {
	case IdentityName:
		x.identity, err = compileIdentity(x.process, config)
		x.advise(config)
	case TriggerName:
		x.trigger, err = compileTrigger(x.process, config)
	case GuardName:
		x.guard, err = compileGuard(x.process, config)
	default:
		x.Problems = append(x.Problems, ConfigProblem{Text: fmt.Sprintf("there is no plugin %q", name), Err: ErrConfig})
	}
	for _, leaf := range leavesOf(err) {
		switch p := problemOfField(name, leaf.text, leaf.err); {
		case errors.Is(leaf.err, errNoVariable), errors.Is(leaf.err, fs.ErrNotExist):
			x.Elsewhere = append(x.Elsewhere, p)
		default:
			x.Problems = append(x.Problems, p)
		}
	}
	return x
}

// advise is about what works, whether or not all the rest does.
func (x *Examination) advise(config []byte) {
	var c IdentityConfig
	if decodeConfig(config, &c) != nil {
		return
	}
	grants, _ := policy.NewGrants(grantsOf(c.Roles), nil)
	for _, advice := range grants.Advice() {
		field, text, _ := strings.Cut(advice, " ")
		x.Advice = append(x.Advice, ConfigProblem{Field: field, Text: text})
	}
}

// Close ends what asking began.
func (x *Examination) Close() { x.process.Close() }

// leaf is one of several errors, with all that was written before it.
type leaf struct {
	text string
	err  error
}

// leavesOf takes joined errors apart, and keeps before each what wraps all.
func leavesOf(err error) []leaf {
	if err == nil {
		return nil
	}
	text := err.Error()
	below := func(inner error) []leaf {
		leaves := leavesOf(inner)
		prefix := strings.TrimSuffix(text, inner.Error())
		if strings.HasPrefix(text, ErrConfig.Error()+": ") {
			prefix = ""
		}
		for i := range leaves {
			leaves[i].text = prefix + leaves[i].text
		}
		return leaves
	}
	switch wrapped := err.(type) {
	case interface{ Unwrap() error }:
		if inner := wrapped.Unwrap(); inner != nil && strings.HasSuffix(text, inner.Error()) && len(leavesOf(inner)) > 1 {
			return below(inner)
		}
	case interface{ Unwrap() []error }:
		all := wrapped.Unwrap()
		if last := all[len(all)-1]; text != last.Error() && strings.HasSuffix(text, ": "+last.Error()) {
			return below(last)
		}
		var leaves []leaf
		for _, one := range all {
			leaves = append(leaves, leavesOf(one)...)
		}
		return leaves
	}
	return []leaf{{text, err}}
}

// problemOfField takes a problem's field from the beginning of its text, where
// every problem of a configuration has it.
func problemOfField(name, text string, err error) ConfigProblem {
	p := ConfigProblem{Text: clientsNames.Replace(text), Err: err}
	for {
		match := leadingField.FindStringSubmatch(p.Text)
		if match == nil {
			return p
		}
		field := strings.TrimPrefix(p.Field+"."+match[1], ".")
		if !hasField(reflect.TypeOf(configOfPlugin(name)).Elem(), field) {
			return p
		}
		p.Field, p.Text = field, p.Text[len(match[0]):]
	}
}

// clientsNames are prefectclient's for what the configuration calls otherwise.
var clientsNames = strings.NewReplacer("prefectclient: APIURL: ", "api_url: ", "prefectclient: ", "")

var leadingField = regexp.MustCompile(`^([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): `)

// hasField tells whether a configuration has a field of this path.
func hasField(t reflect.Type, path string) bool {
	for _, step := range strings.Split(path, ".") {
		name, _, _ := strings.Cut(step, "[")
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return false
		}
		i := slices.IndexFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("json") == name })
		if i < 0 {
			return false
		}
		t = t.Field(i).Type
	}
	return true
}

// Issuers are an identity configuration's issuers, in its order.
func (x *Examination) Issuers() (urls []string) {
	if x.identity == nil {
		return nil
	}
	for _, is := range x.identity.config.Issuers {
		urls = append(urls, is.Issuer)
	}
	return urls
}

// AskIssuer asks for an issuer's keys, as its first token would.
func (x *Examination) AskIssuer(ctx context.Context, url string) *ConfigProblem {
	i := slices.Index(x.Issuers(), url)
	if _, err := x.identity.verifier.Keys(ctx, url); err != nil {
		text := err.Error()
		if _, cause, ok := strings.Cut(text, token.ErrKeysUnavailable.Error()+": "); ok {
			text = cause
		}
		return &ConfigProblem{Field: fmt.Sprintf("issuers[%d].issuer", i+1), Text: text, Code: tokenProblem(err, false).Code, Err: err}
	}
	return nil
}

// Server is the Prefect server that a configuration names; empty: none.
func (x *Examination) Server() string {
	if client := x.client(); client != nil {
		return client.Server()
	}
	return ""
}

func (x *Examination) client() *prefectclient.Client {
	switch {
	case x.trigger != nil:
		return x.trigger.client
	case x.guard != nil:
		return x.guard.client
	}
	return nil
}

// AskPrefect asks Prefect something that every credential may ask: whether it
// is there, and takes this one.
func (x *Examination) AskPrefect(ctx context.Context) *ConfigProblem {
	var count int
	if err := x.client().Query(ctx, "/deployments/count", struct{}{}, &count); err != nil {
		return &ConfigProblem{Field: "prefect.api_url", Text: strings.TrimPrefix(err.Error(), "prefect: query: "), Code: prefectProblem("", err).Code, Err: err}
	}
	return nil
}

// Deployments are those that a trigger's configuration names, by field.
func (x *Examination) Deployments() map[string]string {
	named := map[string]string{}
	if x.trigger == nil {
		return named
	}
	if d := x.trigger.config.Deployment; d != "" {
		named["deployment"] = d
	}
	for i, d := range x.trigger.config.Deployments {
		named[fmt.Sprintf("deployments[%d].deployment", i+1)] = d.Deployment
	}
	return named
}

// AskDeployment asks Prefect for a deployment, whether runs of it would be
// executed, and whether the route's parameters fit it.
func (x *Examination) AskDeployment(ctx context.Context, field, name string) (problems []ConfigProblem) {
	d, problem := x.trigger.selection.find(ctx, name)
	if problem == nil {
		problem = x.trigger.executable(name, d)
	}
	if problem != nil {
		problems = append(problems, ConfigProblem{Field: field, Text: problem.Cause.Error(), Code: problem.Code, Err: problem.Cause})
	}
	if d != nil {
		for _, m := range append(x.trigger.bindings.Fit(d.schema, d.defaults), x.trigger.policy.Fit(d.schema)...) {
			problems = append(problems, ConfigProblem{Field: m.Field, Text: m.Text, Err: policy.ErrFit})
		}
	}
	return problems
}

// AskChoices asks Prefect whether there is a deployment for each pattern of
// choose.
func (x *Examination) AskChoices(ctx context.Context) (problems []ConfigProblem) {
	if x.trigger == nil || len(x.trigger.config.Choose) == 0 {
		return nil
	}
	all, err := x.trigger.selection.all(ctx)
	if err != nil {
		return []ConfigProblem{{Field: "choose", Text: err.Error(), Code: prefectProblem("", err).Code, Err: err}}
	}
	for i, pattern := range x.trigger.config.Choose {
		if !slices.ContainsFunc(all, func(d prefectclient.Deployment) bool { return fits(pattern, d.FlowName+"/"+d.Name) }) {
			problems = append(problems, ConfigProblem{
				Field: fmt.Sprintf("choose[%d]", i+1), Text: fmt.Sprintf("Prefect at %s has no deployment that fits %q", x.Server(), pattern),
				Code: CodeDeploymentNotOffered,
			})
		}
	}
	return problems
}
