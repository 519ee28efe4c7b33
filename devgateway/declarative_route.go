package devgateway

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	routeMethod    = regexp.MustCompile(`^[A-Z]+$`)
	routeProtocols = []string{"http", "https"}
)

// routeSource is one entry of a route's sources.
type routeSource struct {
	IP   *netip.Prefix
	Port int
}

func (r *declReader) route(d dict, path []any, s *Service) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	rt := &Route{CreatedAt: r.now, Service: s}
	rt.ID, rt.Name = f.str("id", ""), f.str("name", "")
	rt.Service = orFound(r, f, "service", r.services, rt.Service)
	rt.Protocols = f.strings("protocols")
	if rt.Protocols == nil {
		rt.Protocols = []string{"http", "https"}
	}
	for i, p := range rt.Protocols {
		if !slices.Contains(routeProtocols, p) {
			r.say(append(slices.Clone(path), "protocols", i), "only http and https are done here, not %s", p)
		}
	}
	r.routeMatchers(rt, f, d)
	rt.HTTPSRedirectStatusCode = f.num("https_redirect_status_code", 426, 301, 426)
	rt.RegexPriority = f.num("regex_priority", 0, -2147483648, 2147483647)
	rt.StripPath = f.boolean("strip_path", true)
	rt.PreserveHost = f.boolean("preserve_host", false)
	rt.Tags = f.strings("tags")
	f.oneOf("path_handling", "v0", "v0")
	f.boolean("request_buffering", true)
	f.boolean("response_buffering", true)
	f.skip("plugins", "created_at", "updated_at")
	f.refuse("destinations", "expression", "priority")
	f.rest()
	if rt.ID == "" {
		rt.ID = entityUUID("routes", firstNonEmpty(rt.Name, pathText(path)))
	}
	r.unique(path, "routes", rt.Name, rt.ID)
	r.routes[rt.ID] = rt
	if rt.Name != "" {
		r.routes[rt.Name] = rt
	}
	r.out.Routes = append(r.out.Routes, rt)
	for i, e := range r.entries(d, path, "plugins") {
		r.plugin(e, append(slices.Clone(path), "plugins", i), nil, rt)
	}
}

func (r *declReader) routeMatchers(rt *Route, f *fieldReader, d dict) {
	rt.Methods = f.strings("methods")
	for i, m := range rt.Methods {
		if !routeMethod.MatchString(m) {
			r.say(append(slices.Clone(f.path), "methods", i), "invalid value: %s", m)
		}
	}
	rt.Hosts = f.strings("hosts")
	for i, h := range rt.Hosts {
		if msg := checkRouteHost(h); msg != "" {
			r.say(append(slices.Clone(f.path), "hosts", i), "%s", msg)
		}
	}
	rt.Paths = f.strings("paths")
	for i, p := range rt.Paths {
		if msg := checkRoutePath(p); msg != "" {
			r.say(append(slices.Clone(f.path), "paths", i), "%s", msg)
		}
	}
	rt.SNIs = f.strings("snis")
	rt.Headers = r.routeHeaders(f)
	rt.Sources = r.routeSources(f, d)
	if len(rt.Methods)+len(rt.Hosts)+len(rt.Paths)+len(rt.Headers) == 0 &&
		(!slices.Contains(rt.Protocols, "https") || len(rt.SNIs) == 0) {
		r.say(f.path, "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'")
	}
}

func checkRouteHost(h string) string {
	switch stars := strings.Count(h, "*"); {
	case stars > 1:
		return "invalid wildcard: must have at most one wildcard"
	case stars == 1 && !strings.HasPrefix(h, "*.") && !strings.HasSuffix(h, ".*"):
		return "invalid wildcard: must be placed at leftmost or rightmost label"
	case strings.Contains(h, "/"):
		return "invalid value: " + h
	}
	return ""
}

// checkRoutePath: Kong 3 takes a path with a regular expression's characters
// as a mistake unless it starts with "~".
func checkRoutePath(p string) string {
	if re, ok := strings.CutPrefix(p, "~"); ok {
		if _, err := regexp.Compile("^" + re); err != nil {
			return "invalid regex: '" + re + "' (PCRE returned: " + err.Error() + ")"
		}
		return ""
	}
	if !strings.HasPrefix(p, "/") {
		return "should start with: / (fixed path) or ~/ (regex path)"
	}
	if !plainRoutePath.MatchString(p) {
		return "invalid path: '" + p + "' (characters outside of the reserved list of RFC 3986 found)"
	}
	return ""
}

var plainRoutePath = regexp.MustCompile(`^[A-Za-z0-9._~/%:@!$&'()*+,;=\-]*$`)

func (r *declReader) routeHeaders(f *fieldReader) map[string][]string {
	v, ok := f.get("headers")
	if !ok {
		return nil
	}
	d, ok := asDict(v)
	if !ok {
		f.say("headers", "expected a map")
		return nil
	}
	out := map[string][]string{}
	sub := r.fields(d, append(slices.Clone(f.path), "headers"))
	for _, name := range sortedKeys(d) {
		if strings.EqualFold(name, "host") {
			sub.say(name, "cannot contain 'host' header, which must be specified in the 'hosts' attribute")
		}
		out[name] = sub.strings(name)
	}
	return out
}

func (r *declReader) routeSources(f *fieldReader, d dict) []routeSource {
	f.skip("sources")
	var out []routeSource
	for i, e := range r.entries(d, f.path, "sources") {
		sf := r.fields(e, append(slices.Clone(f.path), "sources", i))
		src := routeSource{Port: sf.num("port", 0, 0, 65535)}
		if ip := sf.str("ip", ""); ip != "" {
			p, err := parsePrefix(ip)
			if err != nil {
				sf.say("ip", "invalid ip or cidr range: '%s'", ip)
			}
			src.IP = &p
		}
		sf.rest()
		out = append(out, src)
	}
	return out
}
