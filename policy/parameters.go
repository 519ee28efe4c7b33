package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Limits on the parameters of one run.
const (
	MaxParameterDepth  = 32
	MaxParameterValues = 10_000
	MaxParametersBytes = 512 << 10 // what Prefect takes
	// maxNumber bounds a number's characters, and the power of ten in it:
	// whoever computes with it exactly writes out every digit.
	maxNumber = 1000
)

// hydration is the key by which Prefect turns a value into something else: it
// would render templates and read the server's variables for the caller.
const hydration = "__prefect_kind"

// Violation is one thing wrong with the parameters: where, as a JSON pointer
// (RFC 6901), what, and the reason's stable code.
type Violation struct {
	Pointer string
	Detail  string
	Reason  string
}

// Forbidden finds what no caller may send, whatever the deployment's schema:
// Prefect's hydration key at any depth, what its database can't store, and more
// than the limits.
func Forbidden(parameters map[string]any) []Violation {
	w := walker{}
	w.visit("", parameters, 0)
	return w.violations
}

type walker struct {
	violations []Violation
	values     int
}

func (w *walker) visit(at string, v any, depth int) {
	w.values++
	switch {
	case w.values == MaxParameterValues+1:
		w.violations = append(w.violations, Violation{at, fmt.Sprintf("is more than the %d values that are allowed", MaxParameterValues), ReasonLimit})
		return
	case w.values > MaxParameterValues:
		return
	case depth > MaxParameterDepth:
		w.violations = append(w.violations, Violation{at, fmt.Sprintf("is nested deeper than %d levels", MaxParameterDepth), ReasonLimit})
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			below := at + "/" + escapePointer(name)
			if name == hydration {
				w.violations = append(w.violations, Violation{below, "is a name that no caller may send", ReasonHydration})
				continue
			}
			w.text(below, name)
			w.visit(below, v[name], depth+1)
		}
	case []any:
		for i, item := range v {
			w.visit(pointerTo(at, i), item, depth+1)
		}
	case string:
		w.text(at, v)
	case json.Number:
		if tooLarge(v.String()) {
			w.violations = append(w.violations, Violation{at, "is a number that is too large, or has too many digits", ReasonLimit})
		}
	}
}

// text refuses the one character that PostgreSQL can't store: Prefect then
// answers 503, as if it were away, after seconds of trying.
func (w *walker) text(at, text string) {
	if strings.ContainsRune(text, 0) {
		w.violations = append(w.violations, Violation{at, "holds the character U+0000, which can't be stored", ReasonInvalid})
	}
}

// tooLarge tells numbers over the limit, and those that are infinite to
// Prefect, which reads what has a fraction or an exponent as a double.
func tooLarge(number string) bool {
	if len(number) > maxNumber {
		return true
	}
	if !strings.ContainsAny(number, ".eE") {
		return false
	}
	if _, err := strconv.ParseFloat(number, 64); err != nil {
		return true
	}
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return false
	}
	exponent, err := strconv.Atoi(number[at+1:])
	return err != nil || exponent > maxNumber || exponent < -maxNumber
}

func pointerTo(at string, i int) string { return at + "/" + strconv.Itoa(i) }

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// ParameterSchema is a deployment's schema of its parameters. Prefect checks
// types by it too, but takes parameters the flow doesn't have.
type ParameterSchema struct {
	schema   *jsonschema.Schema
	document map[string]any // as Prefect has it, never written to
	declared map[string]bool
	open     bool // the flow takes parameters that it doesn't name
}

// NewParameterSchema compiles a deployment's parameter_openapi_schema; empty
// is the schema of a flow without parameters. A schema never refers to
// anything outside itself.
func NewParameterSchema(data json.RawMessage) (*ParameterSchema, error) {
	s := &ParameterSchema{declared: map[string]bool{}}
	if len(data) == 0 {
		return s, nil
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("parameter schema: %w", err)
	}
	object, _ := document.(map[string]any)
	s.document = object
	properties, _ := object["properties"].(map[string]any)
	for name := range properties {
		s.declared[name] = true
	}
	_, constrained := object["additionalProperties"].(map[string]any)
	s.open = constrained || object["additionalProperties"] == true
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	compiler.AssertFormat()
	for _, name := range lenientFormats {
		compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(any) error { return nil }})
	}
	const id = "https://parameters.invalid/schema"
	if err := compiler.AddResource(id, document); err != nil {
		return nil, fmt.Errorf("parameter schema: %w", err)
	}
	if s.schema, err = compiler.Compile(id); err != nil {
		return nil, fmt.Errorf("parameter schema: %w", err)
	}
	return s, nil
}

// lenientFormats are read more widely by Prefect's flows (pydantic) than by the
// formats' own standards: a time without a zone, for instance. A date, a UUID
// or an address that isn't one is refused before it fails as a run.
var lenientFormats = []string{"date-time", "time", "duration"}

// noLoader keeps a schema from reading files or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a deployment's schema may not refer to %s", url)
}

// Check returns all violations at once, in the order of their pointers.
// Numbers must be json.Number or Go's own.
func (s *ParameterSchema) Check(parameters map[string]any) []Violation {
	var violations []Violation
	for name := range parameters {
		if !s.declared[name] && !s.open {
			violations = append(violations, Violation{"/" + escapePointer(name), "is no parameter of this flow", ReasonInvalid})
		}
	}
	if s.schema != nil {
		var invalid *jsonschema.ValidationError
		if err := s.schema.Validate(parameters); errors.As(err, &invalid) {
			violations = appendLeaves(violations, invalid)
		}
	}
	slices.SortFunc(violations, func(a, b Violation) int {
		return strings.Compare(a.Pointer+"\x00"+a.Detail, b.Pointer+"\x00"+b.Detail)
	})
	return slices.Compact(violations)
}

// appendLeaves keeps the innermost errors: those above only say that something
// below them is wrong.
func appendLeaves(to []Violation, e *jsonschema.ValidationError) []Violation {
	if len(e.Causes) == 0 {
		pointer := ""
		for _, token := range e.InstanceLocation {
			pointer += "/" + escapePointer(token)
		}
		return append(to, Violation{pointer, e.ErrorKind.LocalizedString(message.NewPrinter(language.English)), ReasonInvalid})
	}
	for _, cause := range e.Causes {
		to = appendLeaves(to, cause)
	}
	return to
}
