package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// callerValues are what headers and consumers can be made of, by the names
// that the configuration uses. Beside them there is attributes.NAME.
var callerValues = map[string]func(Caller) []string{
	"subject":  one(func(c Caller) string { return c.Identity.Subject }),
	"issuer":   one(func(c Caller) string { return c.Identity.Issuer }),
	"kind":     one(func(c Caller) string { return string(c.Identity.Kind) }),
	"username": one(func(c Caller) string { return c.Identity.Username }),
	"name":     one(func(c Caller) string { return c.Identity.Name }),
	"email":    one(func(c Caller) string { return c.Identity.Email }),
	"client":   one(func(c Caller) string { return c.Identity.Client }),
	"account":  one(account),
	"id":       one(func(c Caller) string { return stamp.CallerID(c.Identity).String() }),
	"groups":   func(c Caller) []string { return c.Identity.Groups },
	"scopes":   func(c Caller) []string { return c.Identity.Scopes },
	"roles":    func(c Caller) []string { return c.Roles },
	"actors":   actorNames,
}

func one(get func(Caller) string) func(Caller) []string {
	return func(c Caller) []string { return []string{get(c)} }
}

// account is the name under which Kong usually has a caller: the client of a
// service account, the username of a person.
func account(c Caller) string {
	switch {
	case c.Identity.Kind != claims.User && c.Identity.Client != "":
		return c.Identity.Client
	case c.Identity.Username != "":
		return c.Identity.Username
	default:
		return c.Identity.Subject
	}
}

func actorNames(c Caller) []string {
	names := make([]string, len(c.Identity.Actors))
	for i, a := range c.Identity.Actors {
		if names[i] = a.Subject; a.Subject == "" {
			names[i] = a.Client
		}
	}
	return names
}

const attributesPrefix = "attributes."

// checkCallerValue refuses a name that is none of them.
func checkCallerValue(name string) error {
	if attribute, ok := strings.CutPrefix(name, attributesPrefix); ok && attribute != "" {
		return nil
	}
	if callerValues[name] == nil {
		return errors.New(strconv.Quote(name) + " is none of " + strings.Join(callerValueNames(), ", ") + ", attributes.NAME")
	}
	return nil
}

func callerValueNames() []string {
	var names []string
	for name := range callerValues {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// callerValue gives the values that aren't empty.
func callerValue(c Caller, name string) []string {
	var values []string
	if attribute, ok := strings.CutPrefix(name, attributesPrefix); ok {
		values = attributeValues(c.Identity.Attributes[attribute])
	} else {
		values = callerValues[name](c)
	}
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
}

func attributeValues(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []string:
		return v
	case string:
		return []string{v}
	case bool:
		return []string{strconv.FormatBool(v)}
	case json.Number:
		return []string{v.String()}
	default:
		return []string{fmt.Sprint(v)}
	}
}
