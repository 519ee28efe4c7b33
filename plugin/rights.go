package plugin

import (
	"fmt"

	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/policy"
)

// Rights are who may what by a configuration, ready to decide, for those who
// decide on records instead of requests.
type Rights struct {
	// Of prefect-identity.
	Issuers []string
	Grants  policy.Grants
	// Of prefect-trigger.
	Policy     *policy.Policy
	Deployment string            // empty: more than one
	Offers     func(string) bool // whether the route can start a deployment
	// Of prefect-guard.
	Server      string
	GuardGrants []guard.Grant
}

// RightsOf reads them out of a configuration of one of [Names]. Nothing is
// asked for and nothing is signed. An error wraps [ErrConfig].
func RightsOf(name string, data []byte) (r Rights, err error) {
	switch name {
	case IdentityName:
		var c IdentityConfig
		if err = decodeConfig(data, &c); err != nil {
			return r, err
		}
		for _, is := range c.Issuers {
			r.Issuers = append(r.Issuers, is.Issuer)
		}
		r.Grants, err = policy.NewGrants(grantsOf(c.Roles), r.Issuers)
	case TriggerName:
		var c TriggerConfig
		if err = decodeConfig(data, &c); err != nil {
			return r, err
		}
		r.Policy, err = policy.New(c.AllowRoles, rulesOf(c.Allow))
		r.Offers = offersOf(c)
		if len(c.Deployments) == 0 {
			r.Deployment = c.Deployment
		}
	case GuardName:
		var c GuardConfig
		if err = decodeConfig(data, &c); err != nil {
			return r, err
		}
		var g *guard.Guard
		if g, err = guard.New(guard.Options{Grants: guardGrantsOf(c)}); err == nil {
			r.GuardGrants, r.Server = g.Grants(), c.Prefect.APIURL
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return r, err
}

func offersOf(c TriggerConfig) func(string) bool {
	chosen := selection{choices: c.Choose}
	return func(name string) bool {
		if len(c.Choose) > 0 {
			return chosen.offers(name)
		}
		for _, d := range c.Deployments {
			if d.Deployment == name {
				return true
			}
		}
		return c.Deployment == name
	}
}
