package guard

import (
	_ "embed"
	"fmt"
	"strings"
)

// Table is the route table as it is written: one line for each operation.
//
//go:embed routes.txt
var Table string

// Websocket stands in a route's method for the upgrade to a websocket.
const Websocket = "WS"

// Route is one operation of Prefect's API and what it takes.
type Route struct {
	// Method is HTTP's, or [Websocket].
	Method string
	// Path is below Prefect's /api, with parameters as {name} and {name:uuid}.
	Path string
	// Permission is what a caller's role must hold.
	Permission string
	// Body names the rule for the body; empty: the body is not read.
	Body string
	// Limit says how a caller limited to some deployments is kept to them.
	Limit string

	segments []segment
}

// segment is one part of a path between slashes.
type segment struct {
	literal string
	// param is the parameter's name; empty for a literal.
	param string
	uuid  bool
}

// Parameters are the values of a path's parameters by their names.
type Parameters map[string]string

// isUUID takes what Prefect's router takes for one: any case, dashes optional.
// Source: starlette/convertors.py, UUIDConvertor.
func isUUID(s string) bool {
	for _, n := range [...]int{8, 4, 4, 4, 12} {
		if len(s) < n {
			return false
		}
		for i := range n {
			if !isHex(s[i]) {
				return false
			}
		}
		if s = s[n:]; n != 12 {
			s = strings.TrimPrefix(s, "-")
		}
	}
	return s == ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

var (
	routes  = mustParse(Table)
	byShape = index(routes)
)

// shape is what two requests for one route always have in common.
type shape struct {
	method   string
	segments int
}

func index(list []*Route) map[shape][]*Route {
	m := map[shape][]*Route{}
	for _, r := range list {
		s := shape{r.Method, len(r.segments)}
		m[s] = append(m[s], r)
	}
	return m
}

// Routes are all operations in the table's order.
func Routes() []*Route { return append([]*Route(nil), routes...) }

// Match finds the operation that Prefect's router would choose. The path is
// the one below /api, percent-decoded exactly once, as the server sees it;
// upper case, a missing or an additional slash make another path, for which
// there is no route. Nothing is sent on that has a control character in its
// path: Prefect's router ignores a trailing newline.
func Match(method, path string) (*Route, Parameters, bool) {
	if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, isControl) {
		return nil, nil, false
	}
	parts := strings.Split(path[1:], "/")
	for _, r := range byShape[shape{method, len(parts)}] {
		if params, ok := r.match(parts); ok {
			return r, params, true
		}
	}
	return nil, nil, false
}

func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029
}

func (r *Route) match(parts []string) (Parameters, bool) {
	for i, s := range r.segments {
		switch {
		case s.param == "" && parts[i] != s.literal,
			s.param != "" && parts[i] == "",
			s.uuid && !isUUID(parts[i]):
			return nil, false
		}
	}
	var params Parameters
	for i, s := range r.segments {
		if s.param == "" {
			continue
		}
		if params == nil {
			params = Parameters{}
		}
		params[s.param] = parts[i]
	}
	return params, true
}

// mustParse reads the table, which is part of the program.
func mustParse(table string) []*Route {
	var list []*Route
	for i, line := range strings.Split(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) != 5 {
			panic(fmt.Sprintf("routes.txt:%d: want method, path, permission, body and limit", i+1))
		}
		r := &Route{Method: fields[0], Path: fields[1], Permission: fields[2], Body: strings.Trim(fields[3], "-"), Limit: fields[4]}
		for _, part := range strings.Split(r.Path[1:], "/") {
			name, param := strings.CutPrefix(strings.TrimSuffix(part, "}"), "{")
			if !param {
				r.segments = append(r.segments, segment{literal: part})
				continue
			}
			name, kind, _ := strings.Cut(name, ":")
			r.segments = append(r.segments, segment{param: name, uuid: kind == "uuid"})
		}
		list = append(list, r)
	}
	return list
}
