package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Source says where a parameter's value comes from.
type Source string

// The sources. A caller sets the first four; the last two are the route's.
const (
	FromBody    Source = "body"
	FromQuery   Source = "query"
	FromCapture Source = "capture" // a part of the path, by its name
	FromHeader  Source = "header"
	FromClaim   Source = "claim"
	FromFixed   Source = "fixed"
)

// Binding gives one parameter of the flow its value.
type Binding struct {
	Name string
	From Source
	// Path is where in the source: the member's, query's, capture's or
	// header's name, or a field of the identity. Default: Name.
	Path string
	// Value is what a fixed parameter is, as a text that the schema types.
	Value string
	// Default counts where the source has nothing. Empty: none.
	Default string
}

// Bindings are a route's parameters. Without any the body's members are the
// parameters, each under its own name.
type Bindings struct {
	list   []Binding
	byName map[string]Binding
	body   map[string]bool // members of the body that the route takes
}

// Values are what a request has in each source. Names of headers are in lower
// case.
type Values struct {
	Body     map[string]any
	Query    map[string][]string
	Captures map[string]string
	Headers  map[string][]string
	Identity claims.Identity
}

// credentialHeaders are no source of a parameter.
var credentialHeaders = []string{"authorization", "proxy-authorization", "cookie"}

// NewBindings checks a route's parameters and returns all problems at once.
func NewBindings(list []Binding, captures []string) (*Bindings, error) {
	b := &Bindings{byName: map[string]Binding{}, body: map[string]bool{}}
	var problems []error
	for i, p := range list {
		fail := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("parameters[%d]: %s", i+1, fmt.Sprintf(format, args...)))
		}
		if p.Path == "" {
			p.Path = p.Name
		}
		_, taken := b.byName[p.Name]
		switch {
		case p.Name == "":
			fail("name is empty")
		case taken:
			fail("%q is there already", p.Name)
		case p.From == FromFixed && p.Default != "":
			fail("a fixed parameter has a value and no default")
		case p.From != FromFixed && p.Value != "":
			fail("only a fixed parameter has a value")
		case p.From == FromCapture && !slices.Contains(captures, p.Path):
			fail("path has no part {%s}", p.Path)
		case p.From == FromHeader && slices.Contains(credentialHeaders, strings.ToLower(p.Path)):
			fail("%s holds a credential, and everybody who may see the run would read it", p.Path)
		case p.From == FromClaim && !knownClaim(p.Path):
			fail("the identity has no %q; there are %s and attributes.NAME", p.Path, strings.Join(identityClaims, ", "))
		}
		switch p.From {
		case FromBody:
			b.body[p.Path] = true
		case FromHeader:
			p.Path = strings.ToLower(p.Path)
		}
		b.byName[p.Name] = p
		b.list = append(b.list, p)
	}
	return b, errors.Join(problems...)
}

// All are the route's parameters in their order.
func (b *Bindings) All() []Binding { return b.list }

// Takes tells whether a parameter comes from this place.
func (b *Bindings) Takes(from Source, path string) bool {
	return slices.ContainsFunc(b.list, func(p Binding) bool { return p.From == from && p.Path == path })
}

// Lacking are the claims without which nothing can be started.
func (b *Bindings) Lacking(id claims.Identity) (violations []Violation) {
	for _, p := range b.list {
		if _, given := claimOf(id, p.Path); p.From == FromClaim && p.Default == "" && !given {
			violations = append(violations, p.claimMissing())
		}
	}
	return violations
}

func (p Binding) claimMissing() Violation {
	return Violation{"/" + escapePointer(p.Name), "is taken from the claim " + p.Path + ", which your token lacks", ReasonClaimMissing}
}

// Bind makes the run's parameters, and says what a caller may not set. The
// result is still to be checked against the schema.
func (b *Bindings) Bind(schema *ParameterSchema, v Values) (map[string]any, []Violation) {
	if len(b.list) == 0 {
		return v.Body, nil
	}
	var violations []Violation
	for name := range v.Body {
		if !b.body[name] {
			violations = append(violations, b.unwanted(name))
		}
	}
	parameters := map[string]any{}
	for _, p := range b.list {
		value, given, violation := p.value(schema, v)
		switch {
		case violation != nil:
			violations = append(violations, *violation)
		case given:
			parameters[p.Name] = value
		case p.Default != "":
			parameters[p.Name] = schema.Typed(p.Name, p.Default)
		case p.From == FromClaim:
			violations = append(violations, p.claimMissing())
		}
	}
	return parameters, violations
}

// unwanted says why a member of the body isn't taken.
func (b *Bindings) unwanted(name string) Violation {
	at := "/" + escapePointer(name)
	if p, bound := b.byName[name]; bound && p.From != FromBody {
		return Violation{at, "is set by this route, from " + string(p.From) + ", and not by the body", ReasonBound}
	}
	return Violation{at, "is no parameter of this route", ReasonInvalid}
}

// value finds the parameter in its source.
func (p Binding) value(schema *ParameterSchema, v Values) (value any, given bool, violation *Violation) {
	switch p.From {
	case FromBody:
		value, given = v.Body[p.Path]
		return value, given, nil
	case FromFixed:
		return schema.Typed(p.Name, p.Value), true, nil
	case FromCapture:
		text, given := v.Captures[p.Path]
		return schema.Typed(p.Name, text), given, nil
	case FromClaim:
		value, given = claimOf(v.Identity, p.Path)
		if text, isText := value.(string); isText {
			value = schema.Typed(p.Name, text)
		}
		return value, given, nil
	case FromQuery:
		return p.texts(schema, v.Query[p.Path])
	default:
		return p.texts(schema, v.Headers[p.Path])
	}
}

// texts types what may have been given several times: a list takes all, any
// other parameter takes one.
func (p Binding) texts(schema *ParameterSchema, texts []string) (value any, given bool, violation *Violation) {
	if len(texts) == 0 {
		return nil, false, nil
	}
	if len(texts) == 1 {
		value = schema.Typed(p.Name, texts[0])
		if _, isText := value.(string); !isText {
			return value, true, nil
		}
	}
	if list, isList := schema.TypedList(p.Name, texts); isList {
		return list, true, nil
	}
	if len(texts) > 1 {
		return nil, false, &Violation{"/" + escapePointer(p.Name), "is given more than once, by " + string(p.From) + " " + p.Path, ReasonInvalid}
	}
	return value, true, nil
}

// identityClaims are the fields of an identity that a parameter may come from.
var identityClaims = []string{"subject", "issuer", "kind", "username", "name", "email", "client", "groups", "scopes"}

const attributePrefix = "attributes."

func knownClaim(path string) bool {
	name, isAttribute := strings.CutPrefix(path, attributePrefix)
	return isAttribute && name != "" || slices.Contains(identityClaims, path)
}

// claimOf reads one field of an identity. An empty one isn't there.
func claimOf(id claims.Identity, path string) (any, bool) {
	if name, isAttribute := strings.CutPrefix(path, attributePrefix); isAttribute {
		value, ok := id.Attributes[name]
		return listOfAny(value), ok
	}
	var value any
	switch path {
	case "subject":
		value = id.Subject
	case "issuer":
		value = id.Issuer
	case "kind":
		value = string(id.Kind)
	case "username":
		value = id.Username
	case "name":
		value = id.Name
	case "email":
		value = id.Email
	case "client":
		value = id.Client
	case "groups":
		return listOfAny(id.Groups), len(id.Groups) > 0
	case "scopes":
		return listOfAny(id.Scopes), len(id.Scopes) > 0
	}
	return value, value != "" && value != nil
}

// listOfAny makes a list what JSON would make of it, as the schema wants it.
func listOfAny(v any) any {
	texts, ok := v.([]string)
	if !ok {
		return v
	}
	list := make([]any, len(texts))
	for i, s := range texts {
		list[i] = s
	}
	return list
}

func isScalar(v any) bool {
	switch v.(type) {
	case string, bool, json.Number:
		return true
	}
	return false
}
