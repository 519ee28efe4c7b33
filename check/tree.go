package check

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on what is read: a configuration is written by people.
const (
	maxFileBytes = 16 << 20
	maxDepth     = 64
	maxMerged    = 10_000  // entries that one mapping may have by merge keys
	maxValues    = 100_000 // values of one plugin's configuration
)

// document is one YAML document of a file.
type document struct {
	file string
	root *yaml.Node
}

// parse reads a file's documents. What is behind a syntax error can't be
// known.
func (c *checker) parse(f File) (documents []document) {
	if len(f.Data) > maxFileBytes {
		c.find(codeYAML, Place{f.Name, 1, 1}, "", "", "the file is longer than 16 MiB", "")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var n yaml.Node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			if len(documents) == 0 {
				c.find(codeFormat, Place{f.Name, 1, 1}, "", "", "the file is empty", "")
			}
			return documents
		case err != nil:
			line, text := syntaxError(err)
			if lines := bytes.Split(f.Data, []byte("\n")); line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[line-1], " "), []byte("\t")) {
				text = "a tab stands where YAML takes spaces alone"
			}
			c.find(codeYAML, Place{f.Name, line, 1}, "", "", text, "")
			return documents
		}
		if len(n.Content) == 1 && n.Content[0].Tag != "!!null" {
			c.repeatedKeys(f.Name, n.Content[0], 0)
			documents = append(documents, document{f.Name, n.Content[0]})
		}
	}
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func syntaxError(err error) (line int, text string) {
	match := yamlError.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if match == nil {
		return 1, err.Error()
	}
	line, _ = strconv.Atoi(match[1])
	return max(line, 1), match[2]
}

// repeatedKeys finds keys that stand twice in a mapping: Kong takes the last
// one, and whoever reads the file the first.
func (c *checker) repeatedKeys(file string, n *yaml.Node, depth int) {
	if depth > maxDepth {
		return
	}
	seen := map[string]bool{}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if seen[child.Value] && child.Value != "<<" {
				c.find(codeKeyRepeated, placeOf(file, child), "", child.Value, "the key "+quote(child.Value)+" stands here for the second time, and only this one counts", "")
			}
			seen[child.Value] = true
		}
		c.repeatedKeys(file, child, depth+1)
	}
}

func placeOf(file string, n *yaml.Node) Place { return Place{file, n.Line, n.Column} }

// member is one entry of a mapping.
type member struct{ key, value *yaml.Node }

// target follows aliases.
func target(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

// members are a mapping's entries, with those of merge keys (<<) that it
// doesn't have itself, and of a key that stands twice the last.
func members(n *yaml.Node) []member {
	left := maxMerged
	return membersAt(n, 0, &left)
}

func membersAt(n *yaml.Node, depth int, left *int) (list []member) {
	if n = target(n); n == nil || n.Kind != yaml.MappingNode || depth > maxDepth || *left < 0 {
		return nil
	}
	at := map[string]int{}
	add := func(m member, instead bool) {
		if i, there := at[m.key.Value]; !there {
			at[m.key.Value] = len(list)
			list = append(list, m)
		} else if instead {
			list[i] = m
		}
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		add(member{n.Content[i], n.Content[i+1]}, true)
	}
	for _, m := range merged {
		sources := []*yaml.Node{m}
		if m = target(m); m != nil && m.Kind == yaml.SequenceNode {
			sources = m.Content
		}
		for _, source := range sources {
			*left--
			for _, entry := range membersAt(source, depth+1, left) {
				add(entry, false)
				*left--
			}
		}
	}
	return list
}

// find gives a mapping's entry; zero: none, or null.
func find(n *yaml.Node, name string) member {
	for _, m := range members(n) {
		if m.key.Value == name && !isNull(m.value) {
			return m
		}
	}
	return member{}
}

// in follows names into mappings; nil: nothing is there.
func in(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		n = find(n, name).value
	}
	return target(n)
}

// items are a sequence's.
func items(n *yaml.Node) []*yaml.Node {
	if n = target(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// text is a scalar's; empty: it is none.
func text(n *yaml.Node) string {
	if n = target(n); n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

func texts(n *yaml.Node) (list []string) {
	for _, item := range items(n) {
		list = append(list, text(item))
	}
	return list
}

func isNull(n *yaml.Node) bool {
	n = target(n)
	return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func quote(s string) string { return strconv.Quote(s) }
