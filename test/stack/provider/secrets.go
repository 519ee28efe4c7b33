package provider

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
)

// Secrets are all that nobody else may ever write down: the accounts' own, and every token that was handed out.
func (p *Provider) Secrets() []string {
	p.issuedMu.Lock()
	all := slices.Clone(p.issued)
	p.issuedMu.Unlock()
	for _, s := range p.storage.services {
		all = append(all, s.Secret)
	}
	for _, person := range p.storage.people {
		all = append(all, person.Password)
	}
	return all
}

// copied is an answer that is kept as well.
type copied struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (c *copied) Write(data []byte) (int, error) {
	c.body.Write(data)
	return c.ResponseWriter.Write(data)
}

// remember keeps the tokens of all answers.
func (p *Provider) remember(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &copied{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		var tokens struct {
			Access  string `json:"access_token"`
			ID      string `json:"id_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal(answer.body.Bytes(), &tokens) != nil {
			return // an answer without any
		}
		p.issuedMu.Lock()
		defer p.issuedMu.Unlock()
		for _, token := range []string{tokens.Access, tokens.ID, tokens.Refresh} {
			if token != "" {
				p.issued = append(p.issued, token)
			}
		}
	})
}
