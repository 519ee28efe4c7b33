package devgateway

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (r *declReader) service(d dict, path []any) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	s := &Service{CreatedAt: r.now}
	s.ID, s.Name = f.str("id", ""), f.str("name", "")
	s.Protocol = f.oneOf("protocol", "http", "http", "https")
	s.Host, s.Path = f.str("host", ""), f.str("path", "")
	s.Port = f.num("port", 80, 0, 65535)
	r.serviceURL(s, f, d)
	s.Retries = f.num("retries", 5, 0, 32767)
	s.ConnectTimeout = f.num("connect_timeout", 60000, 1, 2147483646)
	s.WriteTimeout = f.num("write_timeout", 60000, 1, 2147483646)
	s.ReadTimeout = f.num("read_timeout", 60000, 1, 2147483646)
	s.Tags, s.Enabled = f.strings("tags"), f.boolean("enabled", true)
	f.skip("routes", "plugins", "created_at", "updated_at")
	f.refuse("client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates")
	f.rest()
	if s.Host == "" {
		r.say(append(slices.Clone(path), "host"), "required field missing")
	}
	if s.Path != "" && !strings.HasPrefix(s.Path, "/") {
		r.say(append(slices.Clone(path), "path"), "should start with: /")
	}
	if s.ID == "" {
		s.ID = entityUUID("services", firstNonEmpty(s.Name, fmt.Sprint(path...)))
	}
	r.unique(path, "services", s.Name, s.ID)
	r.services[s.ID] = s
	if s.Name != "" {
		r.services[s.Name] = s
	}
	r.out.Services = append(r.out.Services, s)
	for i, e := range r.entries(d, path, "routes") {
		r.route(e, append(slices.Clone(path), "routes", i), s)
	}
	for i, e := range r.entries(d, path, "plugins") {
		r.plugin(e, append(slices.Clone(path), "plugins", i), s, nil)
	}
}

func (r *declReader) serviceURL(s *Service, f *fieldReader, d dict) {
	raw := f.str("url", "")
	if raw == "" {
		return
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		r.say(append(slices.Clone(f.path), "url"), "expected http://host[:port][/path] or https://")
		return
	}
	s.Protocol, s.Host, s.Path = u.Scheme, u.Hostname(), u.EscapedPath()
	s.Port = map[string]int{"http": 80, "https": 443}[u.Scheme]
	if p, err := strconv.Atoi(u.Port()); err == nil {
		s.Port = p
	}
	if p, ok := d["port"].(float64); ok {
		s.Port = int(p)
	}
}

func (r *declReader) upstream(d dict, path []any) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	u := &Upstream{Name: f.str("name", "")}
	if u.Name == "" {
		r.say(append(slices.Clone(path), "name"), "required field missing")
	}
	f.skip("id", "targets", "tags")
	f.rest()
	for i, e := range r.entries(d, path, "targets") {
		t := r.fields(e, append(slices.Clone(path), "targets", i))
		target := t.str("target", "")
		if !strings.Contains(target, ":") {
			target += ":8000"
		}
		if t.num("weight", 100, 0, 65535) > 0 {
			u.Targets = append(u.Targets, target)
		}
		t.skip("id", "tags")
		t.rest()
	}
	r.out.Upstreams = append(r.out.Upstreams, u)
}
