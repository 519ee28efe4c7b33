package devgateway

import (
	"maps"
	"slices"
)

func (r *declReader) plugin(d dict, path []any, s *Service, rt *Route) {
	if d == nil {
		return
	}
	f := r.fields(d, path)
	p := &Plugin{ID: f.str("id", ""), Name: f.str("name", ""), Service: s, Route: rt}
	if p.Name == "" {
		r.say(append(slices.Clone(path), "name"), "required field missing")
		return
	}
	p.Service = orFound(r, f, "service", r.services, p.Service)
	p.Route = orFound(r, f, "route", r.routes, p.Route)
	if v, ok := d["consumer"]; ok && !isNull(v) {
		r.say(append(slices.Clone(path), "consumer"), "plugin %s: a plugin scoped to a consumer is not done here", p.Name)
	}
	enabled := f.boolean("enabled", true)
	p.Protocols = f.strings("protocols")
	f.skip("consumer", "config", "tags", "instance_name", "created_at", "updated_at")
	f.refuse("consumer_group", "ordering", "condition")
	f.rest()
	schema, reason := r.catalog.configSchema(p.Name)
	if schema == nil {
		r.say(append(slices.Clone(path), "name"), "%s", reason)
		return
	}
	r.pluginConfig(p, d, path, schema)
	key := p.Name
	for _, id := range []string{serviceID(p.Service), routeID(p.Route)} {
		key += ":" + id
	}
	if p.ID == "" {
		p.ID = entityUUID("plugins", key)
	}
	if r.seen["plugin\x00"+key] {
		r.say(path, "uniqueness violation: plugin %s is configured twice at the same place", p.Name)
	}
	r.seen["plugin\x00"+key] = true
	if enabled {
		r.out.Plugins = append(r.out.Plugins, p)
	}
}

func orFound[T any](r *declReader, f *fieldReader, key string, known map[string]*T, nested *T) *T {
	v, ok := f.d[key]
	if !ok || isNull(v) {
		f.skip(key)
		return nested
	}
	ref := f.ref(key)
	if known[ref] == nil {
		r.say(append(slices.Clone(f.path), key), "no %s %q in this file", key, ref)
	}
	return known[ref]
}

func (r *declReader) pluginConfig(p *Plugin, d dict, path []any, schema *pluginSchema) {
	p.schema = schema.Config
	cfg, present := d["config"]
	filled := schema.Config.fillDefaults(cfg, present && !isNull(cfg))
	switch problem := schema.Config.validate(filled).(type) {
	case nil:
		p.Config, _ = asDict(filled)
	default:
		r.tree(append(slices.Clone(path), "config"), problem)
	}
	if protocols, given := d["protocols"]; given && schema.Protocols != nil {
		r.tree(append(slices.Clone(path), "protocols"), schema.Protocols.validate(protocols))
	}
	errs := fieldErrors{}
	whole := &fieldSchema{Type: "record", Fields: []namedField{{"config", schema.Config}}}
	entity := dict{}
	maps.Copy(entity, d)
	entity["config"] = filled
	for _, c := range schema.EntityChecks {
		c.run(whole, entity, errs)
	}
	r.tree(path, errs)
}

// tree turns a validation's result into problems with their places.
func (r *declReader) tree(path []any, problem any) {
	switch x := problem.(type) {
	case nil:
	case string:
		r.say(path, "%s", x)
	case fieldErrors:
		for _, k := range sortedKeys(x) {
			r.tree(append(slices.Clone(path), k), x[k])
		}
	case []any:
		for i, e := range x {
			r.tree(append(slices.Clone(path), i), e)
		}
	}
}
