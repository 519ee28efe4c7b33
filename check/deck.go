package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/kongyml/node"
)

// topLevel are the keys of a declarative file that people write. Kong's
// plugins may bring more, so only what is nearly one of these is wrong.
// Source: Kong's documentation, "DB-less mode", and decK's "File format".
var topLevel = []string{
	"_format_version", "_transform", "_comment", "_info", "_workspace", "_konnect", "_plugin_configs", "_ignore",
	"services", "routes", "plugins", "consumers", "consumer_groups", "upstreams", "targets", "certificates", "snis",
	"ca_certificates", "vaults", "keys", "key_sets", "partials", "acls", "keyauth_credentials", "jwt_secrets",
	"basicauth_credentials", "hmacauth_credentials", "oauth2_credentials", "filter_chains", "licenses",
}

// pluginFields are those of a plugin entity.
// Source: Kong's kong/db/schema/entities/plugins.lua, and decK's _config.
var pluginFields = []string{
	"id", "name", "instance_name", "enabled", "protocols", "tags", "config", "_config", "ordering", "partials", "condition",
	"route", "service", "consumer", "consumer_group", "created_at", "updated_at",
}

// readDeck takes what declarative files say of the gateway.
func (c *checker) readDeck(documents []kongyml.Document) {
	for _, d := range documents {
		c.head(d)
	}
	var problems []kongyml.Problem
	c.file, problems = kongyml.Gather(documents)
	c.tell(problems)
	for _, p := range c.file.Plugins {
		c.plugin(p)
	}
}

// told are the codes of what is wrong for the reader of a file; of what isn't
// here Kong speaks for itself.
var told = map[kongyml.Kind]string{
	kongyml.Syntax: codeYAML, kongyml.KeyRepeated: codeKeyRepeated,
	kongyml.NameRepeated: codeNameRepeated, kongyml.ReferenceUnknown: codeReferenceUnknown,
}

func (c *checker) tell(problems []kongyml.Problem) {
	for _, p := range problems {
		what := p.Text
		if p.Kind == kongyml.ReferenceUnknown {
			if c.file.Partial {
				continue // decK finds it among what is in Kong already
			}
			what += " in these files"
		}
		if code := told[p.Kind]; code != "" {
			c.find(code, Place{p.File, p.Line, p.Column}, "", p.Path, what, "")
		}
	}
}

func (c *checker) head(d kongyml.Document) {
	if !node.IsMapping(d.Root) {
		c.find(codeFormat, placeOf(d.File, d.Root), "", "", "this is no declarative configuration: a file of Kong's begins with _format_version", "")
		return
	}
	switch version := node.In(d.Root, "_format_version"); {
	case version == nil:
		c.find(codeFormat, placeOf(d.File, d.Root), "", "_format_version", "_format_version is missing, and Kong takes no file without", "")
	case !slices.Contains([]string{"1.1", "2.1", "3.0"}, d.Format()):
		c.find(codeFormat, placeOf(d.File, version), "", "_format_version", "Kong knows no format "+quote(d.Format()), "")
	}
	for _, m := range node.Members(d.Root) {
		if near := didYouMean(m.Key.Value, topLevel); near != "" && !slices.Contains(topLevel, m.Key.Value) {
			c.find(codeFieldUnknown, placeOf(d.File, m.Key), "", m.Key.Value, "Kong has no "+quote(m.Key.Value)+near, "")
		}
	}
}

// plugin takes one plugin, of ours or another's.
func (c *checker) plugin(of *kongyml.Plugin) {
	n := of.Position.Node
	name := node.In(n, "name")
	p := &pluginEntity{
		name: of.Name, file: of.Position.File, path: of.Position.Path, node: n, nameNode: name,
		config: of.Settings, at: name, places: []*kongyml.Plugin{of},
	}
	if near := nearPlugin(p.name); near != "" {
		c.find(codePluginUnknown, placeOf(p.file, p.nameNode), "", p.path+".name", "there is no plugin "+quote(p.name)+near, "")
		return
	}
	if m := node.Find(n, "config"); m.Key != nil {
		p.at = m.Key
	}
	if p.ours() {
		c.entityFields(p)
	}
	c.add(p)
}

func (c *checker) entityFields(p *pluginEntity) {
	for _, m := range node.Members(p.node) {
		if !slices.Contains(pluginFields, m.Key.Value) {
			c.find(codeFieldUnknown, placeOf(p.file, m.Key), p.entity(), p.path+"."+m.Key.Value,
				"a plugin has no field "+quote(m.Key.Value)+didYouMean(m.Key.Value, append([]string{"config"}, pluginFields...)),
				"The plugin's own settings stand below config.")
		}
	}
	known := c.schemas[p.name].field("protocols").Elements.OneOf
	for i, protocol := range node.Items(node.In(p.node, "protocols")) {
		if !slices.Contains(known, node.Text(protocol)) {
			c.find(codeValueNotAllowed, placeOf(p.file, protocol), p.entity(), fmt.Sprintf("%s.protocols[%d]", p.path, i+1),
				quote(node.Text(protocol))+" is none of "+strings.Join(known, ", "), "")
		}
	}
}
