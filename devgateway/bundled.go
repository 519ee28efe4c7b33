package devgateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
)

// bundledPlugin is one of Kong's own plugins, done here in Go.
type bundledPlugin struct {
	priority int
	schema   string // in the form of a dump
	access   func(x *exchange, p *Plugin)
}

var bundledPlugins = map[string]*bundledPlugin{
	"correlation-id":      {100001, correlationSchema, correlationID},
	"key-auth":            {1250, keyAuthSchema, keyAuth},
	"acl":                 {950, aclSchema, acl},
	"rate-limiting":       {910, rateLimitSchema, rateLimiting},
	"request-termination": {2, terminationSchema, requestTermination},
}

func (b *bundledPlugin) kind(name string) (*pluginKind, error) {
	s, err := parsePluginSchema(json.RawMessage(fmt.Sprintf(`{"name":%q,%s}`, name, b.schema)))
	if err != nil {
		return nil, fmt.Errorf("bundled %s: %w", name, err)
	}
	return &pluginKind{name: name, priority: b.priority, phases: map[phase]bool{phaseAccess: true},
		schema: s, run: func(x *exchange, p *Plugin, _ phase) { b.access(x, p) }}, nil
}

const correlationSchema = `"fields":[{"config":{"type":"record","fields":[
 {"header_name":{"type":"string","default":"Kong-Request-ID"}},
 {"generator":{"type":"string","default":"uuid#counter","required":true,"one_of":["uuid","uuid#counter","tracker"]}},
 {"echo_downstream":{"type":"boolean","required":true,"default":false}}]}}]`

var (
	correlationUUID    = uuid.NewString()
	correlationCounter atomic.Int64
)

func correlationID(x *exchange, p *Plugin) {
	name, _ := p.Config["header_name"].(string)
	id := x.getHeader(name)
	if id == "" {
		switch p.Config["generator"] {
		case "uuid":
			id = uuid.NewString()
		case "tracker":
			id = fmt.Sprintf("%s-%d-%d-%d-%d-%s", addrPortOf(x.conn.net.LocalAddr()).Addr(),
				x.gw.proxyPort(), pid, x.conn.id, x.conn.requests, x.nginxVar("msec"))
		default:
			id = fmt.Sprintf("%s#%d", correlationUUID, correlationCounter.Add(1))
		}
		x.headers.set(name, id)
	}
	x.serialize["correlation_id"] = id
	if p.Config["echo_downstream"] == true {
		x.correlation = &header{name, id}
	}
}

const terminationSchema = `"fields":[{"config":{"type":"record","fields":[
 {"status_code":{"type":"integer","required":true,"default":503,"between":[100,599]}},
 {"message":{"type":"string"}},
 {"content_type":{"type":"string"}},
 {"body":{"type":"string"}},
 {"echo":{"type":"boolean","required":true,"default":false,"eq":false,"err":"echo is not done by devgateway"}},
 {"trigger":{"type":"string"}}],
 "entity_checks":[{"mutually_exclusive_sets":{"set1":["message"],"set2":["content_type","body"]}}]}}]`

var terminationMessages = map[int]string{401: "Unauthorized", 404: "Not found", 405: "Method not allowed",
	500: "An unexpected error occurred", 502: "Bad Gateway", 503: "Service unavailable"}

func requestTermination(x *exchange, p *Plugin) {
	if trigger, ok := p.Config["trigger"].(string); ok {
		_, inQuery := queryTable(x.args, 100)[trigger]
		if !x.headers.has(trigger) && !inQuery {
			return
		}
	}
	status := int(p.Config["status_code"].(float64))
	if body, ok := p.Config["body"].(string); ok {
		a := &answer{status: status, body: []byte(body)}
		if ct, ok := p.Config["content_type"].(string); ok {
			a.headers = headers{{"Content-Type", ct}}
		}
		x.exitWith(a)
		return
	}
	message, ok := p.Config["message"].(string)
	if !ok {
		message = terminationMessages[status]
	}
	if message == "" {
		x.exitWith(&answer{status: status})
		return
	}
	x.jsonAnswer(status, map[string]string{"message": message})
}

const keyAuthSchema = `"fields":[{"config":{"type":"record","fields":[
 {"key_names":{"type":"array","required":true,"elements":{"type":"string"},"default":["apikey"]}},
 {"hide_credentials":{"type":"boolean","required":true,"default":false}},
 {"anonymous":{"type":"string"}},
 {"key_in_header":{"type":"boolean","required":true,"default":true}},
 {"key_in_query":{"type":"boolean","required":true,"default":true}},
 {"key_in_body":{"type":"boolean","required":true,"default":false,"eq":false,"err":"key_in_body is not done by devgateway"}},
 {"run_on_preflight":{"type":"boolean","required":true,"default":true}},
 {"realm":{"type":"string"}}]}}]`

func keyAuth(x *exchange, p *Plugin) {
	if p.Config["run_on_preflight"] != true && x.method == "OPTIONS" {
		return
	}
	anonymous, hasAnonymous := p.Config["anonymous"].(string)
	if hasAnonymous && x.credential != nil {
		return
	}
	challenge := "Key"
	if realm, ok := p.Config["realm"].(string); ok {
		challenge = `Key realm="` + realm + `"`
	}
	message := x.checkKey(p)
	switch {
	case message == "":
	case hasAnonymous:
		x.setConsumer(x.conf.findConsumer(anonymous, true), nil)
	default:
		x.errorAnswer(401, message, headers{{"WWW-Authenticate", challenge}})
	}
}

// checkKey authenticates by key, or says why not.
func (x *exchange) checkKey(p *Plugin) string {
	names, _ := p.Config["key_names"].(list)
	key := ""
	for _, n := range names {
		name, _ := n.(string)
		var v any
		if p.Config["key_in_header"] == true {
			v = x.headers.table(100)[strings.ToLower(name)]
		}
		if v == nil && p.Config["key_in_query"] == true {
			v = queryTable(x.args, 100)[name]
		}
		switch s := v.(type) {
		case list:
			return "Duplicate API key found"
		case string:
			key = s
			if p.Config["hide_credentials"] == true {
				x.headers.del(name)
				x.args = dropArg(x.args, name)
			}
		default:
			continue
		}
		break
	}
	if key == "" {
		return "No API key found in request"
	}
	for _, c := range x.conf.decl.Credentials {
		if c.Key == key {
			x.setConsumer(x.conf.findConsumer(c.ConsumerID, false), dict{"id": c.ID, "key": c.Key})
			return ""
		}
	}
	return "Unauthorized"
}

func dropArg(args, name string) string {
	parts := strings.Split(args, "&")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool {
		k, _, _ := strings.Cut(p, "=")
		return unescapeURI(k, true) == name
	}), "&")
}

// setConsumer sets, and clears, the headers Kong's own authentication plugins
// do.
func (x *exchange) setConsumer(consumer, credential dict) {
	x.consumer, x.credential = consumer, credential
	put := func(name string, v any) {
		if s, ok := v.(string); ok {
			x.headers.set(name, escapeHeaderValue(s))
		} else {
			x.headers.del(name)
		}
	}
	put("X-Consumer-ID", consumer["id"])
	put("X-Consumer-Custom-ID", consumer["custom_id"])
	put("X-Consumer-Username", consumer["username"])
	put("X-Credential-Identifier", credential["id"])
	if credential != nil {
		x.headers.del("X-Anonymous-Consumer")
	} else {
		x.headers.set("X-Anonymous-Consumer", "true")
	}
}
