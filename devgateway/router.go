package devgateway

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// router finds a request's route as Kong's traditional_compatible flavour
// does: each route becomes one matcher for each length of its plain paths and
// one for its regular expressions, and the highest priority that matches wins.
type router struct {
	matchers []*matcher
}

type matcher struct {
	route    *Route
	id       string
	priority uint64
	paths    []string
	regexes  []*regexp.Regexp
}

// routeMatch is what the router says of a request.
type routeMatch struct {
	route       *Route
	prefix      string // the part of the path that matched; only with strip_path
	hasPrefix   bool
	captures    []string          // unnamed, including named ones
	named       map[string]string // named captures
	upstreamURI string
}

// routeQuery is what the router looks at.
type routeQuery struct {
	method, path, host string // path is normalised
	hasHost            bool
	scheme             string
	headers            headers
	src                netip.Addr
	srcPort, dstPort   int
}

func newRouter(routes []*Route) *router {
	r := &router{}
	for _, rt := range routes {
		r.matchers = append(r.matchers, splitRoute(rt)...)
	}
	// Equal priorities: the greater id first, as the matcher tree is walked.
	sort.SliceStable(r.matchers, func(i, j int) bool {
		a, b := r.matchers[i], r.matchers[j]
		if a.priority != b.priority {
			return a.priority > b.priority
		}
		return a.id > b.id
	})
	return r
}

var splitNamespace = uuid.MustParse("7f145bf9-0dce-4f91-98eb-debbce4b9f6b")

// splitRoute groups a route's paths: regular expressions together, plain
// paths by length.
func splitRoute(rt *Route) []*matcher {
	var order []int
	groups := map[int][]string{}
	for _, p := range rt.Paths {
		k := len(p)
		if strings.HasPrefix(p, "~") {
			k = 0
		}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], p)
	}
	if len(order) <= 1 {
		return []*matcher{newMatcher(rt, rt.ID, rt.Paths)}
	}
	var out []*matcher
	for i, k := range order {
		id := uuid.NewSHA1(splitNamespace, fmt.Appendf(nil, "%s#%d", rt.ID, i+1)).String()
		out = append(out, newMatcher(rt, id, groups[k]))
	}
	return out
}

func newMatcher(rt *Route, id string, paths []string) *matcher {
	m := &matcher{route: rt, id: id}
	for _, p := range paths {
		if re, ok := strings.CutPrefix(p, "~"); ok {
			m.regexes = append(m.regexes, regexp.MustCompile("^"+re))
		} else {
			m.paths = append(m.paths, p)
		}
	}
	m.priority = m.rank()
	return m
}

// rank packs Kong's order into 64 bits: number of kinds of rules, plain hosts
// only, number of headers, a regular expression, its priority, path length.
func (m *matcher) rank() uint64 {
	rt := m.route
	weight := 0
	for _, has := range []bool{len(rt.Sources) > 0, len(rt.Methods) > 0, len(rt.Hosts) > 0,
		len(rt.Headers) > 0, len(rt.SNIs) > 0, len(m.paths)+len(m.regexes) > 0} {
		if has {
			weight++
		}
	}
	p := uint64(weight) << 61
	wildcard := func(h string) bool { return strings.Contains(h, "*") }
	if len(rt.Hosts) > 0 && !slices.ContainsFunc(rt.Hosts, wildcard) {
		p |= 1 << 60
	}
	p |= uint64(min(len(rt.Headers), 255)) << 52
	if len(m.regexes) > 0 {
		p |= 1 << 51
		p |= uint64(uint32(rt.RegexPriority)) << 19
	} else if len(m.paths) > 0 {
		p |= uint64(len(m.paths[0])) & 0x7ffff
	}
	return p
}

// find gives the best match, or nil. A path that is not UTF-8 matches nothing:
// Kong's router fails on it and answers 404.
func (r *router) find(q *routeQuery) *routeMatch {
	if !utf8.ValidString(q.path) {
		return nil
	}
	for _, m := range r.matchers {
		if found := m.match(q); found != nil {
			found.upstreamURI = upstreamURI(found, q.path)
			return found
		}
	}
	return nil
}

func (m *matcher) match(q *routeQuery) *routeMatch {
	rt := m.route
	if len(rt.SNIs) > 0 && q.scheme == "https" {
		return nil
	}
	if len(rt.Methods) > 0 && !slices.Contains(rt.Methods, q.method) {
		return nil
	}
	if len(rt.Hosts) > 0 && !matchHosts(rt.Hosts, q) {
		return nil
	}
	if len(rt.Sources) > 0 && !matchSources(rt.Sources, q) {
		return nil
	}
	if !matchHeaders(rt.Headers, q.headers) {
		return nil
	}
	return m.matchPath(q.path)
}

func (m *matcher) matchPath(path string) *routeMatch {
	out := &routeMatch{route: m.route, hasPrefix: m.route.StripPath}
	if len(m.paths)+len(m.regexes) == 0 {
		out.hasPrefix = false
		return out
	}
	for _, p := range m.paths {
		if strings.HasPrefix(path, p) {
			out.prefix = p
			return out
		}
	}
	for _, re := range m.regexes {
		groups := re.FindStringSubmatch(path)
		if groups == nil {
			continue
		}
		out.prefix = groups[0]
		out.named = map[string]string{}
		out.captures = groups[1:]
		for i, name := range re.SubexpNames() {
			if name != "" {
				out.named[name] = groups[i]
			}
		}
		return out
	}
	return nil
}

// matchHosts compares byte for byte: Kong's host match is case-sensitive.
func matchHosts(hosts []string, q *routeQuery) bool {
	if !q.hasHost {
		return false
	}
	host, _ := splitHostPort(q.host)
	for _, h := range hosts {
		want, port := splitHostPort(h)
		if port != 0 && port != q.dstPort {
			continue
		}
		switch {
		case strings.HasPrefix(want, "*"):
			if strings.HasSuffix(host, want[1:]) {
				return true
			}
		case strings.HasSuffix(want, "*"):
			if strings.HasPrefix(host, want[:len(want)-1]) {
				return true
			}
		case want == host:
			return true
		}
	}
	return false
}

func splitHostPort(h string) (string, int) {
	i := strings.LastIndexByte(h, ':')
	if i < 0 || strings.HasSuffix(h, "]") {
		return h, 0
	}
	port, err := strconv.Atoi(h[i+1:])
	if err != nil {
		return h, 0
	}
	return h[:i], port
}

func matchSources(sources []routeSource, q *routeQuery) bool {
	return slices.ContainsFunc(sources, func(s routeSource) bool {
		return (s.IP == nil || s.IP.Contains(q.src)) && (s.Port == 0 || s.Port == q.srcPort)
	})
}

func matchHeaders(want map[string][]string, have headers) bool {
	for name, values := range want {
		key := headerVar(name)
		ok := slices.ContainsFunc(have, func(l header) bool {
			return headerVar(l.name) == key && slices.ContainsFunc(values, func(v string) bool {
				if re, isRegex := strings.CutPrefix(v, "~*"); isRegex {
					c, err := regexp.Compile(strings.ToLower(re))
					return err == nil && c.MatchString(strings.ToLower(l.value))
				}
				return strings.EqualFold(l.value, v)
			})
		})
		if !ok {
			return false
		}
	}
	return true
}

// headerVar is a header's name as nginx's $http_ variables know it.
func headerVar(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}
