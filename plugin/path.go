package plugin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// pathTemplate is a path with named parts.
type pathTemplate struct {
	segments []string // "{name}" is a part
	names    []string
}

func parsePathTemplate(text string) (t pathTemplate, err error) {
	if text == "" {
		return t, nil
	}
	for _, segment := range strings.Split(strings.Trim(text, "/"), "/") {
		name, isPart := partOf(segment)
		switch {
		case isPart && (name == "" || slices.Contains(t.names, name)):
			return t, fmt.Errorf("the part %s has no name, or another's", segment)
		case !isPart && strings.ContainsAny(segment, "{}") || segment == "":
			return t, fmt.Errorf("%q must be a text or one {part}", segment)
		case isPart:
			t.names = append(t.names, name)
		}
		t.segments = append(t.segments, segment)
	}
	return t, nil
}

func partOf(segment string) (name string, isPart bool) {
	if !strings.HasPrefix(segment, "{") || !strings.HasSuffix(segment, "}") || len(segment) < 2 {
		return "", false
	}
	name = segment[1 : len(segment)-1]
	return name, !strings.ContainsAny(name, "{}")
}

// target is what a request's path says.
type target struct {
	base     string // the route's own path, percent-decoded, without a run's id
	captures map[string]string
	runID    uuid.UUID // zero: none
}

// below is the address of what the route keeps under an id, relative to the
// gateway (RFC 3986, section 4.2).
func (t target) below(id string) string {
	return strings.TrimSuffix(escapePath(t.base), "/") + "/" + id
}

// read matches a path, percent-decoded. A template matches from the start; one
// more segment may be a run's id. Without a template any path does.
func (t pathTemplate) read(decoded string) (target, bool) {
	segments := strings.Split(strings.Trim(decoded, "/"), "/")
	own := len(t.segments)
	if own == 0 {
		own = len(segments)
		if isRunID(segments[own-1]) {
			own--
		}
	}
	if len(segments) < own || len(segments) > own+1 {
		return target{}, false
	}
	found, ok := t.match(segments[:own])
	if !ok || len(segments) == own {
		return found, ok
	}
	if !isRunID(segments[own]) {
		return target{}, false
	}
	found.runID = uuid.MustParse(segments[own])
	return found, true
}

// readFront matches the beginning of a path: all that comes before its first
// part, and not the whole.
func (t pathTemplate) readFront(decoded string) (target, bool) {
	segments := strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' })
	first := slices.IndexFunc(t.segments, func(s string) bool { _, isPart := partOf(s); return isPart })
	if first < 0 || len(segments) < first || len(segments) >= len(t.segments) {
		return target{}, false
	}
	return t.match(segments)
}

// match compares as many segments as there are.
func (t pathTemplate) match(segments []string) (target, bool) {
	found := target{base: "/" + strings.Join(segments, "/"), captures: map[string]string{}}
	for i, segment := range segments[:min(len(segments), len(t.segments))] {
		name, isPart := partOf(t.segments[i])
		switch {
		case isPart && (segment == "" || strings.ContainsRune(segment, '%')):
			return target{}, false
		case isPart:
			found.captures[name] = segment
		case segment != t.segments[i]:
			return target{}, false
		}
	}
	return found, true
}

// write is the path for these captures, percent-encoded; parts that aren't
// among them stay parts. Without a template it is base.
func (t pathTemplate) write(base string, captures map[string]string) string {
	if len(t.segments) == 0 {
		return escapePath(base)
	}
	var path strings.Builder
	for _, segment := range t.segments {
		if name, isPart := partOf(segment); isPart {
			if value, known := captures[name]; known {
				segment = url.PathEscape(value)
			}
		} else {
			segment = url.PathEscape(segment)
		}
		path.WriteString("/" + segment)
	}
	return path.String()
}

func escapePath(decoded string) string { return (&url.URL{Path: decoded}).EscapedPath() }

// isRunID knows the one form in which Prefect writes an id.
func isRunID(segment string) bool {
	id, err := uuid.Parse(segment)
	return err == nil && id.String() == segment
}
