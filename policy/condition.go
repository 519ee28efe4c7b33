package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/kong-prefect/kong-prefect/claims"
)

const (
	// maxConditionBytes bounds a condition's text.
	maxConditionBytes = 4096
	// conditionCostLimit bounds what evaluating one condition may cost, in
	// CEL's own units: about one for each operation and element looked at.
	conditionCostLimit = 100_000
	// maxConditions bounds what a process remembers that lives through years
	// of changing configurations.
	maxConditions = 4096
)

// conditions are those that the process has compiled: routes with the same
// one share it.
var conditions = struct {
	sync.Mutex
	byText map[string]*Condition
}{byText: map[string]*Condition{}}

// ErrCondition is in the errors of conditions that don't compile, and of those
// that can't be decided.
var ErrCondition = errors.New("condition")

// Facts are what a condition can ask about, each under its name in CEL. What
// isn't known in a place is empty there: a role's condition sees no
// parameters.
type Facts struct {
	Identity   Caller
	Request    Request
	Parameters map[string]any // as encoding/json makes them; json.Number is a number
	Deployment Deployment
	Now        time.Time
}

// Caller is `identity` in a condition.
type Caller struct {
	Subject    string         `cel:"subject"`
	Issuer     string         `cel:"issuer"`
	Kind       string         `cel:"kind"` // user, service or agent
	Username   string         `cel:"username"`
	Name       string         `cel:"name"`
	Email      string         `cel:"email"`
	Client     string         `cel:"client"`
	Groups     []string       `cel:"groups"`
	Scopes     []string       `cel:"scopes"`
	Roles      []string       `cel:"roles"`
	Actors     []ActingParty  `cel:"actors"` // the nearest first
	Attributes map[string]any `cel:"attributes"`
}

// ActingParty is who acts for the caller.
type ActingParty struct {
	Subject string `cel:"subject"`
	Issuer  string `cel:"issuer"`
	Client  string `cel:"client"`
	Kind    string `cel:"kind"`
}

// Request is `request` in a condition.
type Request struct {
	ID            string `cel:"id"`
	Method        string `cel:"method"`
	Path          string `cel:"path"`
	SourceAddress string `cel:"source_address"`
	// Query and Headers hold what came exactly once, headers in lower case.
	Query   map[string]string `cel:"query"`
	Headers map[string]string `cel:"headers"`
	// Captures are the named groups of the route's path.
	Captures map[string]string `cel:"captures"`
}

// Deployment is `deployment` in a condition.
type Deployment struct {
	ID       string   `cel:"id"`
	Name     string   `cel:"name"` // flow/deployment
	Flow     string   `cel:"flow"`
	Tags     []string `cel:"tags"`
	WorkPool string   `cel:"work_pool"`
	Paused   bool     `cel:"paused"`
}

// CallerOf makes an identity and its roles ready for conditions.
func CallerOf(id claims.Identity, roles []string) Caller {
	c := Caller{
		Subject: id.Subject, Issuer: id.Issuer, Kind: string(id.Kind), Username: id.Username, Name: id.Name,
		Email: id.Email, Client: id.Client, Groups: id.Groups, Scopes: id.Scopes, Roles: roles,
		Attributes: map[string]any{},
	}
	for name, value := range id.Attributes {
		c.Attributes[name] = celValue(value)
	}
	for _, a := range id.Actors {
		c.Actors = append(c.Actors, ActingParty{Subject: a.Subject, Issuer: a.Issuer, Client: a.Client, Kind: string(a.Kind)})
	}
	return c
}

// Condition is a compiled CEL expression that says yes or no. It may be used
// by many requests at once.
type Condition struct {
	text    string
	program cel.Program
	names   map[string]bool // see Uses
	// partial is the program for MayHold, made when it is first wanted.
	partial func() (cel.Program, error)
}

// conditionEnvironment is what conditions are compiled against: typed, so that
// a misspelled field is found when the configuration is read.
var conditionEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		ext.NativeTypes(ext.ParseStructTags(true),
			reflect.TypeFor[Caller](), reflect.TypeFor[ActingParty](), reflect.TypeFor[Request](), reflect.TypeFor[Deployment]()),
		cel.CrossTypeNumericComparisons(true), // 1 < 1.5, as JSON has it
		ext.Strings(),
		ext.Sets(),
		cel.Variable("identity", cel.ObjectType("policy.Caller")),
		cel.Variable("request", cel.ObjectType("policy.Request")),
		cel.Variable("parameters", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("deployment", cel.ObjectType("policy.Deployment")),
		cel.Variable("now", cel.TimestampType),
	)
})

// CompileCondition checks and compiles a condition: CEL with its strings and
// sets extensions, over the variables identity ([Caller]), request
// ([Request]), parameters (a map), deployment ([Deployment]) and now (a
// timestamp). It must be true or false by its type. It is compiled once and
// shared.
func CompileCondition(text string) (*Condition, error) {
	conditions.Lock()
	defer conditions.Unlock()
	if c := conditions.byText[text]; c != nil {
		return c, nil
	}
	c, err := compileCondition(text)
	if err != nil {
		return nil, err
	}
	for old := range conditions.byText {
		if len(conditions.byText) < maxConditions {
			break
		}
		delete(conditions.byText, old)
	}
	conditions.byText[text] = c
	return c, nil
}

func compileCondition(text string) (*Condition, error) {
	if len(text) > maxConditionBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrCondition, maxConditionBytes)
	}
	env, err := conditionEnvironment()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCondition, err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrCondition, issues.Err())
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("%w: it is %s, and must be bool: true or false", ErrCondition, checked.OutputType())
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(conditionCostLimit))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCondition, err)
	}
	partial := sync.OnceValues(func() (cel.Program, error) {
		return env.Program(checked, cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval), cel.CostLimit(conditionCostLimit))
	})
	return &Condition{text: text, program: program, names: namesIn(checked), partial: partial}, nil
}

// namesIn are the variables and the fields of variables in an expression:
// identity, and identity.roles.
func namesIn(checked *cel.Ast) map[string]bool {
	names := map[string]bool{}
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			names[e.AsIdent()] = true
		case ast.SelectKind:
			if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind {
				names[of.AsIdent()+"."+e.AsSelect().FieldName()] = true
			}
		}
	}))
	return names
}

// Uses tells whether the condition looks at a variable, or at one field of it
// (identity.roles): where that isn't known yet the condition is refused when
// the configuration is read, instead of never holding.
func (c *Condition) Uses(name string) bool { return c.names[name] }

// fieldsOf are the fields of a variable at which the condition looks.
func (c *Condition) fieldsOf(variable string) (fields []string) {
	for name := range c.names {
		if field, ok := strings.CutPrefix(name, variable+"."); ok {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}

// String is the condition's text.
func (c *Condition) String() string { return c.text }

// Holds decides. An error means that it can't be decided, a parameter that
// isn't there for instance, and comes with false: who doesn't look at the
// error denies. Guard optional things with has() or `in`.
func (c *Condition) Holds(f Facts) (bool, error) {
	var parameters map[string]any
	if c.Uses("parameters") {
		parameters, _ = celValue(f.Parameters).(map[string]any)
	}
	value, _, err := c.program.Eval(map[string]any{
		"identity": f.Identity, "request": f.Request, "parameters": parameters, "deployment": f.Deployment, "now": f.Now,
	})
	if err != nil {
		return false, fmt.Errorf("%w %q: %w", ErrCondition, c.text, err)
	}
	return isTrue(value), nil
}

// MayHold tells whether the condition can still hold while some variables,
// parameters for instance, aren't known: what the others say decides where it
// is enough.
func (c *Condition) MayHold(f Facts, unknown ...string) bool {
	program, err := c.partial()
	if err != nil {
		return false
	}
	patterns := make([]*cel.AttributePatternType, len(unknown))
	for i, name := range unknown {
		patterns[i] = cel.AttributePattern(name)
	}
	known, err := cel.PartialVars(map[string]any{
		"identity": f.Identity, "request": f.Request, "parameters": map[string]any{}, "deployment": f.Deployment, "now": f.Now,
	}, patterns...)
	if err != nil {
		return false
	}
	value, _, err := program.Eval(known)
	return err == nil && (isTrue(value) || types.IsUnknown(value))
}

func isTrue(value ref.Val) bool { return value == types.True }

// celValue makes numbers of json.Number, which CEL would take for a string:
// int where it is one, double otherwise.
func celValue(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, element := range v {
			m[name] = celValue(element)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, element := range v {
			l[i] = celValue(element)
		}
		return l
	default:
		return value
	}
}
