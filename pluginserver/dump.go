package pluginserver

import (
	"encoding/json"
	"io"
)

// Dump writes what Kong's pluginserver_NAME_query_cmd must print about a
// plugin. Kong takes the socket's path from its own settings.
// Source: kong/runloop/plugin_servers/process.lua.
func Dump(w io.Writer, p *Plugin) error {
	type info struct {
		Name     string
		Phases   []string
		Version  string
		Priority int
		Schema   any
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Protocol string
		Plugins  []info
	}{"ProtoBuf:1", []info{{p.Name, []string{"access"}, p.Version, p.Priority, p.Schema}}})
}
