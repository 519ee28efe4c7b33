package plugin

import (
	"errors"
	"time"

	"github.com/kong-prefect/kong-prefect/prefectclient"
)

// maxPrefects bounds the clients of a process that lives through years of
// changing configurations.
const maxPrefects = 256

// prefect gives the client for a configuration. Routes with the same one share
// it, and with it connections, breaker and slots.
func (p *Process) prefect(c PrefectConfig) (*prefectclient.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if client := p.clients[c]; client != nil {
		return client, nil
	}
	credentials, err := credentialsOf(c)
	if err != nil {
		return nil, err
	}
	client, err := prefectclient.New(prefectclient.Options{
		APIURL: c.APIURL, Credentials: credentials, UserAgent: "kong-prefect/" + Version,
		Deadline: time.Duration(c.TimeoutMS) * time.Millisecond, Logger: p.log,
	})
	if err != nil {
		return nil, err
	}
	for old := range p.clients {
		if len(p.clients) < maxPrefects {
			break
		}
		// Routes that hold it go on with it; it is only no longer shared.
		delete(p.clients, old)
	}
	p.clients[c] = client
	return client, nil
}

func credentialsOf(c PrefectConfig) (prefectclient.Credentials, error) {
	given := 0
	for _, s := range []string{c.AuthString, c.AuthFile, c.APIKey} {
		if s != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, errors.New("give one of auth_string, auth_file and api_key")
	case c.AuthString != "":
		return prefectclient.AuthString(c.AuthString), nil
	case c.AuthFile != "":
		return prefectclient.AuthStringFile(c.AuthFile), nil
	case c.APIKey != "":
		return prefectclient.APIKey(c.APIKey), nil
	default:
		return nil, nil
	}
}
