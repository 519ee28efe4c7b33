package devgateway

import "context"

func (gw *Gateway) loadCatalog(ctx context.Context) error {
	gw.log.kong("notice", "[pluginserver] loading external plugins info")
	var kinds []*pluginKind
	for _, p := range gw.settings.PluginServers {
		out, err := query(ctx, p)
		if err != nil {
			return err
		}
		dump, err := parseDump(p.Name, out)
		if err != nil {
			return err
		}
		kind, err := newExternalKind(dump, p.Socket)
		if err != nil {
			return err
		}
		kinds = append(kinds, kind)
		if p.StartCmd == "" {
			gw.log.kong("warn", "[pluginserver] no start command for %s: assuming external process management", p.Name)
		}
	}
	gw.log.kong("notice", "[pluginserver] loaded #%d external plugins info", len(kinds))
	var err error
	gw.catalog, err = newCatalog(gw.settings, kinds)
	return err
}

func (gw *Gateway) startServers() []*supervisor {
	var out []*supervisor
	for _, p := range gw.settings.PluginServers {
		if p.StartCmd != "" {
			out = append(out, startSupervisor(p, gw.settings, gw.log))
		}
	}
	return out
}
