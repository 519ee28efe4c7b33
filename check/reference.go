package check

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// How a value may come from somewhere else: Kong's vault references, and
// decK's variables.
// Source: Kong's documentation, "Secrets management" and "decK: environment
// variables".
var (
	vaultReference = regexp.MustCompile(`^\{vault://[A-Za-z0-9_-]+/[^{}]+\}$`)
	vaultLike      = regexp.MustCompile(`(?i)vault:/+|^\{vault`)
	envVault       = regexp.MustCompile(`^\{vault://env/([A-Za-z0-9_-]+)\}$`)
	deckVariable   = regexp.MustCompile(`\$\{\{\s*env\s+["'](DECK_\w+)["']\s*(?:\|\s*(toBool|toInt|toFloat)\s*)?\}\}`)
)

// resolve gives a value that comes from somewhere else; known is false where
// this machine doesn't have it. Names and values never get into a report.
func (c *checker) resolve(value string) (resolved, from string, known bool) {
	if match := envVault.FindStringSubmatch(value); match != nil {
		resolved, known = c.env(strings.ToUpper(strings.ReplaceAll(match[1], "-", "_")))
		return resolved, value, known
	}
	if vaultReference.MatchString(value) {
		return "", value, false
	}
	known = true
	resolved = deckVariable.ReplaceAllStringFunc(value, func(variable string) string {
		from = variable
		text, set := c.env(deckVariable.FindStringSubmatch(variable)[1])
		known = known && set
		return text
	})
	return resolved, from, known
}

func (c *checker) env(name string) (string, bool) {
	if c.options.Env == nil {
		return "", false
	}
	value, ok := c.options.Env(name)
	return value, ok && value != ""
}

// placeholder stands for a text that isn't known, so that all the rest can be
// compiled. Equal references have equal ones.
func placeholder(field, of string) string {
	sum := sha256.Sum256([]byte(of))
	id := hex.EncodeToString(sum[:6])
	switch {
	case field == "redis_url":
		return "redis://" + id + "." + unknownHost
	case strings.HasSuffix(field, "url"), field == "issuer", field == "issuers":
		return "https://" + id + "." + unknownHost
	case field == "deployment":
		return id + "/" + id
	case field == "path":
		return "/" + id
	case strings.HasPrefix(field, "auth_string"):
		return "unknown:" + id
	default:
		return "unknown" + id
	}
}

// unknownHost is in addresses that aren't known. Nobody is asked there.
const unknownHost = "unknown.invalid"
