package devgateway

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

var pdkLogLevels = map[string]string{
	"kong.log.alert": "alert", "kong.log.crit": "crit", "kong.log.err": "error", "kong.log.warn": "warn",
	"kong.log.notice": "notice", "kong.log.info": "info", "kong.log.debug": "debug",
}

var logMethods = func() map[string]pdkMethod {
	m := map[string]pdkMethod{
		"kong.log.set_serialize_value": {everywhere, void(func(x *exchange, a message) error {
			k, v, err := kv(a)
			if err == nil && k != "" {
				x.serialize[k] = v
			}
			return err
		})},
		"kong.log.serialize": {inLog, func(x *exchange, _ message, _ []byte) ([]byte, error) {
			raw, err := json.Marshal(toJSON(x.logEntry()))
			return wrapString(string(raw)), err
		}},
	}
	for name := range pdkLogLevels {
		m[name] = pdkMethod{phases: everywhere}
	}
	return m
}()

// pluginLog writes a line under the plugin's name.
func (x *exchange) pluginLog(plugin, level string, raw []byte) error {
	l, err := decodeList(raw)
	if err != nil {
		return raise("malformed arguments")
	}
	if len(l) == 0 {
		return raise("kong.log.%s without arguments", level)
	}
	var b strings.Builder
	for _, v := range l {
		b.WriteString(luaText(v))
	}
	x.gw.log.line(level, plugin, b.String())
	return nil
}

// logEntry is kong.log.serialize: what Kong's logging plugins send.
func (x *exchange) logEntry() dict {
	reqHeaders := x.headers.table(100)
	for _, secret := range []string{"authorization", "proxy-authorization"} {
		if reqHeaders[secret] != nil {
			reqHeaders[secret] = "REDACTED"
		}
	}
	respHeaders := x.sent.headers.table(100)
	d := dict{
		"request": dict{
			"method": x.method, "uri": x.head.target, "size": float64(x.head.bytes), "id": x.requestID,
			"querystring": queryTable(x.args, 100), "headers": reqHeaders,
			"url": "http://" + x.host + ":" + strconv.Itoa(x.gw.proxyPort()) + x.head.target,
		},
		"response":  dict{"status": float64(x.sent.status), "size": float64(x.sent.bytes), "headers": respHeaders},
		"latencies": x.latencies(), "client_ip": x.remote.String(), "started_at": float64(x.start.UnixMilli()),
		"workspace": workspaceID, "workspace_name": "default", "source": x.logSource(),
		"upstream_uri": x.upstream.uri,
	}
	if x.args != "" && x.proxied {
		d["upstream_uri"] = x.upstream.uri + "?" + x.args
	}
	d["upstream_status"] = ""
	if x.upStatus != 0 {
		d["upstream_status"] = strconv.Itoa(x.upStatus)
	}
	tries := make(list, len(x.tries))
	for i, t := range x.tries {
		tries[i] = t
	}
	d["tries"] = tries
	x.logEntities(d)
	return x.applySerialize(d)
}

func (x *exchange) logSource() string {
	if s := x.source(); s != "service" {
		return "kong"
	}
	return "upstream"
}

func (x *exchange) latencies() dict {
	total := float64(x.latency.Milliseconds())
	proxy, kong := -1.0, total
	if x.proxied {
		proxy, kong = float64(x.waiting.Milliseconds()), float64(x.proxyTime.Milliseconds())
		total = proxy + kong
	}
	return dict{"request": total, "proxy": proxy, "kong": kong, "receive": 0.0}
}

func (x *exchange) logEntities(d dict) {
	if r := x.route; r != nil {
		route := dict{"id": r.ID, "created_at": float64(r.CreatedAt), "updated_at": float64(r.CreatedAt),
			"protocols": stringList(r.Protocols), "strip_path": r.StripPath, "preserve_host": r.PreserveHost,
			"https_redirect_status_code": float64(r.HTTPSRedirectStatusCode), "regex_priority": float64(r.RegexPriority),
			"path_handling": "v0", "request_buffering": true, "response_buffering": true, "ws_id": workspaceID}
		for k, v := range map[string][]string{"paths": r.Paths, "hosts": r.Hosts, "methods": r.Methods, "tags": r.Tags} {
			if v != nil {
				route[k] = stringList(v)
			}
		}
		if r.Name != "" {
			route["name"] = r.Name
		}
		if r.Service != nil {
			route["service"] = dict{"id": r.Service.ID}
		}
		d["route"] = route
	}
	if s := x.service; s != nil {
		service := dict{"id": s.ID, "name": s.Name, "host": s.Host, "port": float64(s.Port), "protocol": s.Protocol,
			"retries": float64(s.Retries), "connect_timeout": float64(s.ConnectTimeout), "enabled": true,
			"read_timeout": float64(s.ReadTimeout), "write_timeout": float64(s.WriteTimeout), "ws_id": workspaceID,
			"created_at": float64(s.CreatedAt), "updated_at": float64(s.CreatedAt)}
		if s.Path != "" {
			service["path"] = s.Path
		}
		d["service"] = service
	}
	if x.consumer != nil {
		d["consumer"] = x.consumer
	}
	if x.credential != nil {
		entity := dict{"id": x.credential["id"]}
		if id, ok := x.credential["consumer_id"]; ok {
			entity["consumer_id"] = id
		}
		d["authenticated_entity"] = entity
	}
}

// applySerialize puts set_serialize_value's values in, by dotted key.
func (x *exchange) applySerialize(d dict) dict {
	for _, key := range sortedKeys(x.serialize) {
		cur := d
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := cur[p].(dict)
			if !ok {
				next = dict{}
				cur[p] = next
			}
			cur = next
		}
		last := slices.Clone(parts)[len(parts)-1]
		if x.serialize[key] == nil {
			delete(cur, last)
		} else {
			cur[last] = x.serialize[key]
		}
	}
	return d
}
