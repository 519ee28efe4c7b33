package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// maxPrefects bounds the clients of a process that lives through years of
// changing configurations.
const maxPrefects = 256

// prefectKey stands for a PrefectConfig: its SHA-256.
type prefectKey [sha256.Size]byte

func keyOf(c PrefectConfig) (prefectKey, error) {
	data, err := json.Marshal(c)
	return sha256.Sum256(data), err
}

// prefect gives the client for a configuration. Routes with the same one share
// it and its connections; the breaker and the slots are shared by all clients
// of a server.
func (p *Process) prefect(c PrefectConfig) (*prefectclient.Client, error) {
	key, err := keyOf(c)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if client := p.clients[key]; client != nil {
		return client, nil
	}
	credentials, err := credentialsOf(c)
	if err != nil {
		return nil, err
	}
	server := p.serverOf(c.APIURL)
	client, err := prefectclient.New(prefectclient.Options{
		APIURL: c.APIURL, Beside: server.client(), Credentials: credentials, UserAgent: "kong-prefect/" + Version,
		Deadline:      time.Duration(c.TimeoutMS) * time.Millisecond,
		MaxConcurrent: c.MaxConcurrent, MaxConcurrentPerRoute: c.MaxConcurrentPerRoute,
		Logger: p.log, OnEvent: p.prefectEvent, OnSent: p.sent, Withhold: p.Withhold,
	})
	if err != nil {
		return nil, err
	}
	for old, dropped := range p.clients {
		if len(p.clients) < maxPrefects {
			break
		}
		// Routes that hold it go on with it; it is only no longer shared.
		delete(p.clients, old)
		p.serverOf(dropped.APIURL()).drop(dropped)
	}
	p.clients[key] = client
	server.clients = append(server.clients, client)
	p.servers[prefectclient.NormalURL(c.APIURL)] = server
	return client, nil
}

// prefectEvent puts on record that the credential for a Prefect changed. A
// record that can't be written stops nobody: the client itself has logged it.
func (p *Process) prefectEvent(e prefectclient.Event) {
	if p.Hooks.PrefectEvent != nil {
		p.Hooks.PrefectEvent(e)
	}
	if e.Kind != prefectclient.EventCredentialSwitched || p.Audit == nil {
		return
	}
	err := p.Audit.Append(context.Background(), audit.Event{
		Time: time.Now(), Type: audit.CredentialRotated, Object: e.Server,
		Detail: "Prefect at " + e.Server + " refused the credential; the other one is used",
	}, false)
	if err != nil {
		p.log.Error("a change of credential is not in the audit", "prefect", e.Server, "error", err)
	}
}

// credentialsOf makes the one kind of credential that is configured; nil: none
// is sent.
func credentialsOf(c PrefectConfig) (prefectclient.Credentials, error) {
	var given []prefectclient.Credentials
	var problems []error
	for _, kind := range []struct {
		now, next, file, env string
		fixed                func(string, ...string) prefectclient.Credentials
		watched              func(string) prefectclient.Credentials
	}{
		{c.AuthString, c.AuthStringNext, c.AuthFile, c.AuthEnv, prefectclient.AuthString, prefectclient.AuthStringFile},
		{c.APIKey, c.APIKeyNext, c.APIKeyFile, c.APIKeyEnv, prefectclient.APIKey, prefectclient.APIKeyFile},
	} {
		if kind.now != "" {
			given = append(given, kind.fixed(kind.now, some(kind.next)...))
		} else if kind.next != "" {
			problems = append(problems, errors.New("auth_string_next and api_key_next want auth_string and api_key beside them"))
		}
		if kind.file != "" {
			given = append(given, kind.watched(kind.file))
		}
		if kind.env != "" {
			secrets := strings.FieldsFunc(os.Getenv(kind.env), func(r rune) bool { return r == '\n' || r == '\r' })
			if len(secrets) == 0 {
				problems = append(problems, fmt.Errorf("%w: %s", errNoVariable, kind.env))
				continue
			}
			given = append(given, kind.fixed(secrets[0], secrets[1:]...))
		}
	}
	if o := c.OAuth; o != nil {
		given = append(given, prefectclient.ClientCredentials(prefectclient.OAuthOptions{
			TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: o.ClientSecret, ClientSecretFile: o.ClientSecretFile,
			Scopes: o.Scopes, Audience: o.Audience,
		}))
	}
	if len(given) > 1 {
		problems = append(problems, errors.New("give one of auth_string, auth_file, auth_env, api_key, api_key_file, api_key_env and oauth"))
	}
	if len(problems) > 0 || len(given) == 0 {
		return nil, errors.Join(problems...)
	}
	return given[0], nil
}

// some is the value as a list; none where it is empty.
func some(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}
