package stamp

import (
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Prefixes of the tags and labels that are the stamp's alone.
const (
	TagCaller   = "caller:"
	TagActor    = "actor:"
	TagTeam     = "team:"
	TagFunction = "function:"
	LabelPrefix = "kong-prefect."
	// LabelRequest is the label of the request that started the run.
	LabelRequest = LabelPrefix + "request-id"
)

// maxTagBytes bounds a tag. Prefect takes 100 kB, its UI's lists don't.
const maxTagBytes = 200

// reservedTags are the prefixes of tags that callers may not send.
var reservedTags = []string{TagCaller, TagActor, TagTeam, TagFunction}

// reservedLabels are the prefixes of labels that callers may not send: ours,
// and those by which Prefect itself tells runs apart.
var reservedLabels = []string{LabelPrefix, "prefect.", "__"}

// ReservedTag tells whether a tag could be taken for one of the stamp's, by
// people who read it in a list too: case, white space, invisible characters
// and compatibility forms make no difference.
func ReservedTag(tag string) bool { return hasPrefix(tag, reservedTags) }

// ReservedLabel is [ReservedTag] for the name of a label.
func ReservedLabel(name string) bool { return hasPrefix(name, reservedLabels) }

func hasPrefix(s string, prefixes []string) bool {
	visible := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKC.String(s))
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(visible, p) })
}

// callerNamespace makes caller ids that are the product's own (RFC 9562,
// section 5.5): the version-5 UUID of its URL in the URL namespace.
var callerNamespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/kong-prefect/kong-prefect/caller"))

// CallerID is the UUID that stands for a caller in Prefect.
func CallerID(id claims.Identity) uuid.UUID { return callerID(id.Issuer, id.Subject) }

func callerID(issuer, subject string) uuid.UUID {
	// An issuer is a URL of the configuration and holds no NUL, so the first
	// one ends it and no two callers meet.
	return uuid.NewSHA1(callerNamespace, []byte(issuer+"\x00"+subject))
}

// createdByName reads well in the UI and tells people of one name apart.
func createdByName(c Context) string {
	name := c.Caller.Name
	if c.Caller.Kind == claims.User && c.Caller.Email != "" && c.Caller.Email != name {
		name += " <" + c.Caller.Email + ">"
	}
	if len(c.Actors) > 0 && c.Actors[0].Display() != c.Caller.Name {
		name += " by " + c.Actors[0].Display()
	}
	return cut(name, maxNameBytes)
}

// maxNameBytes bounds the display name, which travels in a header.
const maxNameBytes = 1000

func tags(c Context) []string {
	list := []string{tag(TagCaller, c.Caller.Name)}
	for _, a := range c.Actors {
		if t := tag(TagActor, a.Display()); !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	if c.Team != "" {
		list = append(list, tag(TagTeam, c.Team))
	}
	if c.BusinessFunction != "" {
		list = append(list, tag(TagFunction, c.BusinessFunction))
	}
	return list
}

func labels(c Context) map[string]any {
	all := map[string]any{
		LabelPrefix + "subject": c.Caller.Subject,
		LabelPrefix + "issuer":  c.Caller.Issuer,
		LabelPrefix + "kind":    string(c.Caller.Kind),
		LabelRequest:            c.RequestID,
	}
	if c.Caller.Client != "" {
		all[LabelPrefix+"client"] = c.Caller.Client
	}
	if len(c.Actors) > 0 {
		all[LabelPrefix+"actor"] = c.Actors[0].Display()
	}
	return all
}

// tag is for people: the context is exact, a tag may be cut.
func tag(prefix, value string) string { return prefix + cut(value, maxTagBytes-len(prefix)) }

// cut shortens a text on a rune's edge.
func cut(s string, maxBytes int) string {
	if len(s) <= maxBytes {
		return s
	}
	end := 0
	for i := range s {
		if i > maxBytes-len("…") {
			break
		}
		end = i
	}
	return s[:end] + "…"
}
