package devgateway

import "strings"

// upstreamURI joins the service's path and what is left of the request's.
func upstreamURI(m *routeMatch, reqURI string) string {
	prefix := "/"
	if m.hasPrefix {
		prefix = m.prefix
	}
	postfix := ""
	if len(prefix) <= len(reqURI) {
		postfix = trimDots(reqURI[len(prefix):])
	}
	base := "/"
	if m.route.Service != nil && m.route.Service.Path != "" {
		base = m.route.Service.Path
	}
	if !m.route.StripPath {
		if strings.HasSuffix(base, "/") {
			return base + strings.TrimPrefix(reqURI, "/")
		}
		if reqURI == "/" {
			return base
		}
		return base + reqURI
	}
	slash := strings.HasSuffix(base, "/")
	trimmed := strings.TrimSuffix(base, "/")
	switch {
	case postfix == "" && slash && (base == "/" || strings.HasSuffix(reqURI, "/")):
		return base
	case postfix == "" && slash:
		return trimmed
	case postfix == "" && len(reqURI) > 1 && strings.HasSuffix(reqURI, "/"):
		return base + "/"
	case postfix == "":
		return base
	case strings.HasPrefix(postfix, "/"):
		return trimmed + postfix
	}
	return trimmed + "/" + postfix
}

func trimDots(p string) string {
	switch {
	case p == ".", p == "..":
		return ""
	case strings.HasPrefix(p, "./"):
		return p[2:]
	case strings.HasPrefix(p, "../"):
		return p[3:]
	}
	return p
}
