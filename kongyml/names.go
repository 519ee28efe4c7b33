package kongyml

import (
	"cmp"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/kongyml/node"
)

// reference names another entity by its name or id, written alone or as a
// record; empty: none.
type reference string

// UnmarshalYAML takes both ways. One that names nothing is no reference to
// nothing: a plugin would apply everywhere.
func (r *reference) UnmarshalYAML(n *yaml.Node) error {
	*r = reference(cmp.Or(node.Text(node.In(n, "name")), node.Text(node.In(n, "id")), node.Text(node.In(n, "username")), node.Text(n)))
	if *r == "" {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: a name or an id must be here", n.Line)}}
	}
	return nil
}

// register keeps whom a name means: the first of several.
func register[T any](known map[string]*T, value *T, names ...string) {
	for _, name := range names {
		if name != "" && known[name] == nil {
			known[name] = value
		}
	}
}

// find gives what a reference names; nil for none. ok is false for a name that
// nobody has.
func find[T any](r *reader, known map[string]*T, name reference, at Position, kind string) (found *T, ok bool) {
	if name == "" {
		return nil, true
	}
	if found = known[string(name)]; found == nil {
		r.problem(ReferenceUnknown, cmp.Or(node.Find(at.Node, kind).Key, at.Node), at.Path+"."+kind, "there is no "+kind+" "+strconv.Quote(string(name)))
	}
	return found, found != nil
}

// unique finds names that stand twice. Kong refuses them.
func (r *reader) unique(kind string, at Position, key, name string) {
	if name == "" {
		return
	}
	if r.seen[kind+" "+name] {
		r.problem(NameRepeated, cmp.Or(node.In(at.Node, key), at.Node), at.Path+"."+key, "there is another "+kind+" with the name "+strconv.Quote(name))
	}
	r.seen[kind+" "+name] = true
}
