// Package node looks into YAML as it is written, with the place of everything:
// through aliases and merge keys, and as far as a file is in order.
//
// It refuses to follow them without end: a file that leads in circles, or
// that unfolds to far more than it says, has less in it.
//
// Read [Members] and [In] first.
package node

import "go.yaml.in/yaml/v3"

// MaxDepth bounds how deep mappings, aliases and merge keys may be in one
// another.
const MaxDepth = 64

// maxMerged bounds the entries that one mapping may have by merge keys.
const maxMerged = 10_000

// Member is one entry of a mapping.
type Member struct{ Key, Value *yaml.Node }

// Target follows aliases.
func Target(n *yaml.Node) *yaml.Node {
	for range MaxDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

// Members are a mapping's entries, with those of merge keys (<<) that it
// doesn't have itself, and of a key that stands twice the last.
func Members(n *yaml.Node) []Member {
	left := maxMerged
	return membersAt(n, 0, &left)
}

func membersAt(n *yaml.Node, depth int, left *int) (list []Member) {
	if n = Target(n); n == nil || n.Kind != yaml.MappingNode || depth > MaxDepth || *left < 0 {
		return nil
	}
	at := map[string]int{}
	add := func(m Member, instead bool) {
		if i, there := at[m.Key.Value]; !there {
			at[m.Key.Value] = len(list)
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
		add(Member{n.Content[i], n.Content[i+1]}, true)
	}
	for _, m := range merged {
		sources := []*yaml.Node{m}
		if m = Target(m); m != nil && m.Kind == yaml.SequenceNode {
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

// Find gives a mapping's entry; zero: none, or null.
func Find(n *yaml.Node, name string) Member {
	for _, m := range Members(n) {
		if m.Key.Value == name && !IsNull(m.Value) {
			return m
		}
	}
	return Member{}
}

// In follows names into mappings; nil: nothing is there.
func In(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		n = Find(n, name).Value
	}
	return Target(n)
}

// Items are a sequence's.
func Items(n *yaml.Node) []*yaml.Node {
	if n = Target(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// Text is a scalar's; empty: it is none.
func Text(n *yaml.Node) string {
	if n = Target(n); n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// Texts are those of a sequence's scalars.
func Texts(n *yaml.Node) (list []string) {
	for _, item := range Items(n) {
		list = append(list, Text(item))
	}
	return list
}

// IsNull tells whether nothing is there.
func IsNull(n *yaml.Node) bool {
	n = Target(n)
	return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// IsMapping tells whether it has members.
func IsMapping(n *yaml.Node) bool {
	n = Target(n)
	return n != nil && n.Kind == yaml.MappingNode
}

// Overlay is a mapping with what another has beside it.
func Overlay(own, shared *yaml.Node) *yaml.Node {
	made := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if n := Target(own); n != nil {
		made.Line, made.Column = n.Line, n.Column
	}
	list := Members(own)
	for _, m := range Members(shared) {
		if Find(own, m.Key.Value).Key == nil {
			list = append(list, m)
		}
	}
	for _, m := range list {
		made.Content = append(made.Content, m.Key, m.Value)
	}
	return made
}
