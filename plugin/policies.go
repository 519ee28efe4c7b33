package plugin

import (
	"encoding/json"

	"github.com/kong-prefect/kong-prefect/policy"
)

// maxPolicies bounds what a process keeps that lives through years of changing
// configurations.
const maxPolicies = 1024

// policyOf compiles a trigger's rules, once for all routes that have the same.
func (p *Process) policyOf(allowRoles []string, allow []AllowConfig) (*policy.Policy, error) {
	key, err := json.Marshal([]any{allowRoles, allow})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.policies[string(key)]; known != nil {
		return known, nil
	}
	made, err := policy.New(allowRoles, rulesOf(allow))
	if err != nil {
		return nil, err
	}
	for old := range p.policies {
		if len(p.policies) < maxPolicies {
			break
		}
		delete(p.policies, old)
	}
	if p.policies == nil {
		p.policies = map[string]*policy.Policy{}
	}
	p.policies[string(key)] = made
	return made, nil
}

func rulesOf(allow []AllowConfig) []policy.Rule {
	rules := make([]policy.Rule, len(allow))
	for i, a := range allow {
		rules[i] = policy.Rule(a)
	}
	return rules
}
