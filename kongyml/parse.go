package kongyml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml/node"
)

// maxFileBytes bounds a file: a configuration is written by people.
const maxFileBytes = 16 << 20

// Document is one YAML document of a file.
type Document struct {
	File string // its name
	Root *yaml.Node
}

// Format is the document's _format_version; empty: it has none.
func (d Document) Format() string { return node.Text(node.In(d.Root, "_format_version")) }

// ErrFile is in the errors of files that can't be read.
var ErrFile = errors.New("kong.yml can't be read")

// Read reads a kong.yml of format 3.0 that has to be in order: who isn't sure
// what it says can tell nothing of it. Of several documents Kong reads the
// first. An error wraps [ErrFile].
func Read(data []byte) (*File, error) {
	documents, problems := Parse("", data)
	if err := refused(problems); err != nil {
		return nil, err
	}
	documents = documents[:min(len(documents), 1)]
	format := ""
	for _, d := range documents {
		format = d.Format()
	}
	if format != "3.0" {
		return nil, fmt.Errorf("%w: its _format_version is %q, and only 3.0 is known here", ErrFile, format)
	}
	f, problems := Gather(documents)
	for _, p := range f.Plugins {
		if p.Settings != nil {
			problems = append(problems, misfits(p.Position, p.Settings.Decode(&p.Config))...)
		}
	}
	if err := refused(problems); err != nil {
		return nil, err
	}
	return f, nil
}

// Parse reads a file's documents. What is behind a syntax error can't be
// known.
func Parse(name string, data []byte) (documents []Document, problems []Problem) {
	if len(data) > maxFileBytes {
		return nil, []Problem{{Syntax, name, 1, 1, "", "the file is longer than 16 MiB"}}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return documents, problems
		case err != nil:
			line, text := located(err.Error(), 1)
			if lines := bytes.Split(data, []byte("\n")); line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[line-1], " "), []byte("\t")) {
				text = "a tab stands where YAML takes spaces alone"
			}
			return documents, append(problems, Problem{Syntax, name, line, 1, "", text})
		}
		if len(n.Content) == 1 && !node.IsNull(n.Content[0]) {
			documents = append(documents, Document{name, n.Content[0]})
			problems = append(problems, repeatedKeys(name, n.Content[0], 0)...)
		}
	}
}

// repeatedKeys finds keys that stand twice in a mapping: Kong takes the last
// one, and whoever reads the file the first.
func repeatedKeys(file string, n *yaml.Node, depth int) (problems []Problem) {
	if depth > node.MaxDepth {
		return nil
	}
	seen := map[string]bool{}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if seen[child.Value] && child.Value != "<<" {
				problems = append(problems, Problem{KeyRepeated, file, child.Line, child.Column, child.Value,
					"the key " + strconv.Quote(child.Value) + " stands here for the second time, and only this one counts"})
			}
			seen[child.Value] = true
		}
		problems = append(problems, repeatedKeys(file, child, depth+1)...)
	}
	return problems
}
