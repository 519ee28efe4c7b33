package explain

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// unknownAddress stands for an address of Prefect that isn't known, where
// nobody asks it.
const unknownAddress = "http://prefect.invalid/api"

// configOf is the configuration as Kong hands it over.
func (x *explaining) configOf(p *kongyml.Plugin) ([]byte, error) {
	config, missing := kongyml.Resolve(p.Config, x.Env)
	for _, m := range missing {
		if !x.Offline || !strings.HasPrefix(m.Field, "prefect.") {
			return nil, fmt.Errorf("%w: %s of %s: %s", ErrOptions, p.Name, p.Where(), m)
		}
		if prefect, ok := config["prefect"].(map[string]any); ok {
			delete(prefect, strings.TrimPrefix(m.Field, "prefect."))
			if m.Field == "prefect.api_url" {
				prefect["api_url"] = unknownAddress
			}
		}
	}
	switch p.Name {
	case plugin.IdentityName:
		x.placeKeys(config)
	case plugin.TriggerName:
		x.withoutOutbox(config)
	}
	if config == nil {
		config = map[string]any{}
	}
	return json.Marshal(config)
}

// placeKeys says where the issuers' keys are, where it isn't as configured.
func (x *explaining) placeKeys(config map[string]any) {
	issuers, _ := config["issuers"].([]any)
	for _, item := range issuers {
		issuer, ok := item.(map[string]any)
		if !ok {
			continue
		}
		if x.JWKSFile != "" {
			for _, other := range []string{"discovery_url", "jwks_url", "pem_file"} {
				delete(issuer, other)
			}
			issuer["jwks_file"] = x.JWKSFile
		}
		if x.Offline {
			delete(issuer, "introspection")
			if issuer["jwks_file"] == nil && issuer["pem_file"] == nil {
				for _, other := range []string{"discovery_url", "jwks_url"} {
					delete(issuer, other)
				}
				issuer["jwks_file"] = "/nonexistent" // no key can be had, and nobody is asked
			}
		}
	}
}

// withoutOutbox leaves out that a route accepts requests while Prefect is
// away: there is no outbox here.
func (x *explaining) withoutOutbox(config map[string]any) {
	if durable, ok := config["durable"].(map[string]any); ok && durable["enabled"] == true {
		x.durable = true
		delete(config, "durable")
	}
}
