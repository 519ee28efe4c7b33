package kongyml

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Kind says what a [Problem] is about.
type Kind int

// The kinds of problems.
const (
	Syntax           Kind = iota // it is no YAML; nothing behind it is read
	KeyRepeated                  // a key stands twice in one mapping: the last one counts
	TypeWrong                    // something isn't of its field's type, and is left out
	NameRepeated                 // two services, routes or consumers have one name
	ReferenceUnknown             // what is named isn't in the files
)

// Problem is one thing that is wrong in a file. Lines and columns count from 1.
type Problem struct {
	Kind         Kind
	File         string
	Line, Column int
	Path         string // services[1].name; empty: none
	Text         string
}

// misfits are what YAML's decoder says against values.
func misfits(at Position, err error) (problems []Problem) {
	if err == nil {
		return nil
	}
	all := []string{err.Error()}
	if types := (*yaml.TypeError)(nil); errors.As(err, &types) {
		all = types.Errors
	}
	for _, said := range all {
		line, text := located(said, at.Node.Line)
		problems = append(problems, Problem{TypeWrong, at.File, line, 1, at.Path, text})
	}
	return problems
}

var yamlError = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// located takes the line from what YAML's reader says.
func located(said string, otherwise int) (line int, text string) {
	match := yamlError.FindStringSubmatch(strings.ReplaceAll(said, "\n", " "))
	if line, _ = strconv.Atoi(match[1]); line == 0 {
		line = otherwise
	}
	return line, match[2]
}

func refused(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	all := make([]string, len(problems))
	for i, p := range problems {
		all[i] = fmt.Sprintf("line %d: %s", p.Line, p.Text)
	}
	return fmt.Errorf("%w: %s", ErrFile, strings.Join(all, "; "))
}
