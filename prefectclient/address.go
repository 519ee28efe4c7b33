package prefectclient

import (
	"errors"
	"net/url"
	"strings"
)

// parseAPIURL takes an address that paths can be appended to, and gives it its
// normal form. The address is never part of an error: it may hold a password.
func parseAPIURL(address string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimRight(address, "/"))
	switch {
	case address == "":
		return nil, errors.New("APIURL: missing")
	case err != nil:
		return nil, errors.New("APIURL: not a URL")
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("APIURL: must start with http:// or https://")
	case base.Hostname() == "":
		return nil, errors.New("APIURL: has no host")
	case base.User != nil:
		return nil, errors.New("APIURL: must not hold credentials")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("APIURL: must not have a query or a fragment")
	}
	base.Host = strings.ToLower(strings.TrimSuffix(base.Host, defaultPorts[base.Scheme]))
	return base, nil
}

// defaultPorts need not be said (RFC 3986, section 6.2.3).
var defaultPorts = map[string]string{"http": ":80", "https": ":443"}

// NormalURL is the one form of an API's address that all ways of writing it
// share. What can't be an address is given back as it is.
func NormalURL(apiURL string) string {
	base, err := parseAPIURL(apiURL)
	if err != nil {
		return apiURL
	}
	return base.String()
}

// cloudHost is where Prefect Cloud's API is, and cloudUI where people see it.
const (
	cloudHost = "api.prefect.cloud"
	cloudUI   = "https://app.prefect.cloud"
)

// UIURL is where people open the UI of the server whose API is at apiURL: for
// the open-source server the address without its /api, for Prefect Cloud the
// workspace's page. It has no slash at its end.
func UIURL(apiURL string) string {
	address := strings.TrimRight(apiURL, "/")
	base, err := url.Parse(address)
	if err != nil {
		return address
	}
	if base.Hostname() == cloudHost {
		path := strings.TrimPrefix(base.Path, "/api")
		return cloudUI + strings.NewReplacer("/accounts/", "/account/", "/workspaces/", "/workspace/").Replace(path)
	}
	return strings.TrimSuffix(address, "/api")
}
