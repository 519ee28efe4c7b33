package kongyml

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Request is what a route is chosen by.
type Request struct {
	Method string
	Path   string // as sent, without the query
	Host   string // without a port; empty: not known
	// Headers by their names in lower case.
	Headers map[string][]string
}

// Match is a request's route.
type Match struct {
	Route *Route
	// Path is the request's in Kong's normal form, percent-decoded as far as
	// Kong decodes it.
	Path string
	// By is the rule for paths that matched; empty: none.
	By string
	// UpstreamURI is the path that the service gets.
	UpstreamURI string
}

// Find gives the route that Kong's router (traditional_compatible, its
// default) chooses. Where two have the same rank Kong chooses by their ids, and
// Find gives an error that names both. A Match without a route: none fits.
// Source: Kong's documentation, "Router flavors"; kong/router/transform.lua.
func (f *File) Find(q Request) (Match, error) {
	path := NormalPath(q.Path)
	none := Match{Path: path}
	if !utf8.ValidString(path) {
		return none, nil
	}
	var best []ranked
	for _, r := range f.Routes {
		if len(r.Unknown) > 0 || !r.takes(q) {
			continue
		}
		if by, stripped, rank, ok := r.path(path); ok {
			best = append(best, ranked{Match{Route: r, Path: path, By: by, UpstreamURI: r.upstream(path, stripped)}, rank})
		}
	}
	if len(best) == 0 {
		return none, nil
	}
	slices.SortStableFunc(best, func(a, b ranked) int { return -slices.Compare(a.rank, b.rank) })
	if len(best) > 1 && slices.Equal(best[0].rank, best[1].rank) && best[0].Route != best[1].Route {
		return none, fmt.Errorf("the routes %q and %q both take this request with the same rank; name one", best[0].Route.Name, best[1].Route.Name)
	}
	return best[0].Match, nil
}

// Named is Find where the route is known.
func (r *Route) Named(q Request) Match {
	path := NormalPath(q.Path)
	by, stripped, _, _ := r.path(path)
	return Match{Route: r, Path: path, By: by, UpstreamURI: r.upstream(path, stripped)}
}

type ranked struct {
	Match
	rank []int
}

// takes tells whether all rules but those for paths take a request.
func (r *Route) takes(q Request) bool {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, q.Method) {
		return false
	}
	if len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(h string) bool { return hostFits(h, q.Host) }) {
		return false
	}
	for name, wanted := range r.Headers {
		if !slices.ContainsFunc(q.Headers[strings.ToLower(name)], func(v string) bool { return headerFits(wanted, v) }) {
			return false
		}
	}
	return true
}

// hostFits compares byte for byte, as Kong does.
func hostFits(pattern, host string) bool {
	pattern, _, _ = strings.Cut(pattern, ":")
	switch {
	case host == "":
		return false
	case strings.HasPrefix(pattern, "*"):
		return strings.HasSuffix(host, pattern[1:])
	case strings.HasSuffix(pattern, "*"):
		return strings.HasPrefix(host, pattern[:len(pattern)-1])
	}
	return pattern == host
}

func headerFits(wanted []string, value string) bool {
	return slices.ContainsFunc(wanted, func(w string) bool {
		if expression, ok := strings.CutPrefix(w, "~*"); ok {
			compiled, err := regexp.Compile("(?i)" + expression)
			return err == nil && compiled.MatchString(value)
		}
		return strings.EqualFold(w, value)
	})
}

// path finds the rule for paths that takes a path, how much of the path it
// takes, and the rank of the route with this rule.
func (r *Route) path(path string) (by string, stripped int, rank []int, ok bool) {
	if len(r.Paths) == 0 {
		return "", 0, r.rank(0, false), true
	}
	for _, rule := range r.Paths {
		length, fits := pathFits(rule, path)
		isExpression := strings.HasPrefix(rule, "~")
		if candidate := r.rank(len(rule), isExpression); fits && (!ok || slices.Compare(candidate, rank) > 0) {
			by, stripped, rank, ok = rule, length, candidate, true
		}
	}
	return by, stripped, rank, ok
}

func pathFits(rule, path string) (length int, ok bool) {
	expression, isExpression := strings.CutPrefix(rule, "~")
	if !isExpression {
		return len(rule), strings.HasPrefix(path, rule)
	}
	compiled, err := regexp.Compile("^" + expression)
	if err != nil {
		return 0, false
	}
	at := compiled.FindStringIndex(path)
	if at == nil {
		return 0, false
	}
	return at[1], true
}

// rank is Kong's order: more kinds of rules first, then plain hosts, more
// headers, expressions before plain paths, their priority, longer paths.
func (r *Route) rank(pathLength int, isExpression bool) []int {
	kinds, plain, expression, priority := 0, 0, 0, 0
	for _, has := range []bool{len(r.Methods) > 0, len(r.Hosts) > 0, len(r.Headers) > 0, len(r.Paths) > 0} {
		if has {
			kinds++
		}
	}
	if len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(h string) bool { return strings.Contains(h, "*") }) {
		plain = 1
	}
	if isExpression {
		expression, priority, pathLength = 1, r.RegexPriority, 0
	}
	return []int{kinds, plain, len(r.Headers), expression, priority, pathLength}
}

// upstream is the path that the service gets.
func (r *Route) upstream(path string, stripped int) string {
	base := ""
	if r.Service != nil {
		base = strings.TrimSuffix(r.Service.Path, "/")
	}
	if r.StripPath {
		path = path[stripped:]
	}
	if base == "" || path != "" {
		path = "/" + strings.TrimPrefix(path, "/")
	}
	return cmp.Or(base+path, "/")
}
