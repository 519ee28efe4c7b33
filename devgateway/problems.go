package devgateway

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// problem is one thing a declarative configuration can't be honoured for.
type problem struct {
	path []any // strings and indexes
	msg  string
	line int
}

func (p problem) String() string {
	if p.line > 0 {
		return fmt.Sprintf("%s (line %d): %s", pathText(p.path), p.line, p.msg)
	}
	return fmt.Sprintf("%s: %s", pathText(p.path), p.msg)
}

func pathText(path []any) string {
	var b strings.Builder
	for _, p := range path {
		switch x := p.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(x) + "]")
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(x)
		}
	}
	return b.String()
}

// ConfigError lists every problem of a declarative configuration.
type ConfigError struct {
	problems []problem
}

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.problems))
	for i, p := range e.problems {
		lines[i] = p.String()
	}
	sort.Strings(lines)
	return "declarative config is invalid: " + strings.Join(lines, "; ")
}

// Problems gives one line for each problem: place, line number, message.
func (e *ConfigError) Problems() []string {
	out := make([]string, len(e.problems))
	for i, p := range e.problems {
		out[i] = p.String()
	}
	return out
}

// fields is the problems as the tree Kong's POST /config answers with.
func (e *ConfigError) fields() any {
	root := &errorNode{}
	for _, p := range e.problems {
		root.put(p.path, p.msg)
	}
	return root.json()
}

type errorNode struct {
	msg  string
	keys map[string]*errorNode
	list map[int]*errorNode
}

func (n *errorNode) put(path []any, msg string) {
	if len(path) == 0 {
		if n.msg == "" {
			n.msg = msg
		}
		return
	}
	switch k := path[0].(type) {
	case string:
		if n.keys == nil {
			n.keys = map[string]*errorNode{}
		}
		if n.keys[k] == nil {
			n.keys[k] = &errorNode{}
		}
		n.keys[k].put(path[1:], msg)
	case int:
		if n.list == nil {
			n.list = map[int]*errorNode{}
		}
		if n.list[k] == nil {
			n.list[k] = &errorNode{}
		}
		n.list[k].put(path[1:], msg)
	}
}

func (n *errorNode) json() any {
	switch {
	case n.keys != nil:
		m := map[string]any{}
		for k, c := range n.keys {
			m[k] = c.json()
		}
		return m
	case n.list != nil:
		last := 0
		for i := range n.list {
			last = max(last, i)
		}
		l := make([]any, last+1) // holes are null, as a sparse Lua array encodes
		for i, c := range n.list {
			l[i] = c.json()
		}
		return l
	}
	return n.msg
}

// lineOf finds the line of the deepest part of path that is in the document.
func lineOf(n *yaml.Node, path []any) int {
	if n == nil {
		return 0
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return lineOf(n.Content[0], path)
	}
	if n.Kind == yaml.AliasNode {
		return lineOf(n.Alias, path)
	}
	if len(path) == 0 {
		return n.Line
	}
	switch k := path[0].(type) {
	case int:
		if n.Kind == yaml.SequenceNode && k < len(n.Content) {
			return lineOf(n.Content[k], path[1:])
		}
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != k {
				continue
			}
			if len(path) == 1 {
				return n.Content[i].Line
			}
			return lineOf(n.Content[i+1], path[1:])
		}
	}
	return n.Line
}

// fromYAML turns decoded YAML into the value types of this package.
func fromYAML(v any) any {
	switch x := v.(type) {
	case nil:
		return null{}
	case map[string]any:
		d := dict{}
		for k, e := range x {
			d[k] = fromYAML(e)
		}
		return d
	case map[any]any:
		d := dict{}
		for k, e := range x {
			d[fmt.Sprint(k)] = fromYAML(e)
		}
		return d
	case []any:
		l := make(list, len(x))
		for i, e := range x {
			l[i] = fromYAML(e)
		}
		return l
	case int:
		return float64(x)
	case int64:
		return float64(x)
	case uint64:
		return float64(x)
	case float64, string, bool:
		return x
	}
	return fmt.Sprint(v)
}
