package plugin

import (
	"cmp"
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
// that the configuration uses. Beside them there is attributes.NAME. Each
// appends its values; those that are empty count as none.
var callerValues = map[string]func(to []string, c Caller) []string{
	"subject":  one(func(c Caller) string { return c.Identity.Subject }),
	"issuer":   one(func(c Caller) string { return c.Identity.Issuer }),
	"kind":     one(func(c Caller) string { return string(c.Identity.Kind) }),
	"username": one(func(c Caller) string { return c.Identity.Username }),
	"name":     one(func(c Caller) string { return c.Identity.Name }),
	"email":    one(func(c Caller) string { return c.Identity.Email }),
	"client":   one(func(c Caller) string { return c.Identity.Client }),
	"account":  one(account),
	"id":       one(func(c Caller) string { return stamp.CallerID(c.Identity).String() }),
	"groups":   func(to []string, c Caller) []string { return append(to, c.Identity.Groups...) },
	"scopes":   func(to []string, c Caller) []string { return append(to, c.Identity.Scopes...) },
	"roles":    func(to []string, c Caller) []string { return append(to, c.Roles...) },
	"actors":   appendActorNames,
}

func one(get func(Caller) string) func([]string, Caller) []string {
	return func(to []string, c Caller) []string { return append(to, get(c)) }
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

func appendActorNames(to []string, c Caller) []string {
	for _, a := range c.Identity.Actors {
		to = append(to, cmp.Or(a.Subject, a.Client))
	}
	return to
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

// callerValue appends the values that aren't empty.
func callerValue(to []string, c Caller, name string) []string {
	if attribute, ok := strings.CutPrefix(name, attributesPrefix); ok {
		to = append(to, attributeValues(c.Identity.Attributes[attribute])...)
	} else {
		to = callerValues[name](to, c)
	}
	return slices.DeleteFunc(to, func(v string) bool { return v == "" })
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
