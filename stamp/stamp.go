// Package stamp says what is written onto a run so that its caller can't be
// lost: the run's context, Prefect's own "Created By", tags for people and
// labels for machines.
//
// It writes identities, never credentials: no token, no secret and no header
// of the request gets here.
//
// Read [New] first.
package stamp

import (
	"github.com/google/uuid"

	"github.com/kong-prefect/kong-prefect/claims"
)

// Version of the stamp's form, in the run's context.
const Version = 1

// ContextKey is the one key of a run's context that the stamp takes. No route
// of Prefect's API changes a run's context once it is created.
const ContextKey = "kong_prefect"

// Prefixes of the tags and labels that are the stamp's alone.
const (
	TagCaller   = "caller:"
	TagTeam     = "team:"
	TagFunction = "function:"
	LabelPrefix = "kong-prefect."
)

// maxTagBytes bounds a tag. Prefect takes 100 kB, its UI's lists don't.
const maxTagBytes = 200

// Cause is all that made a run: who asked, by which right, through what.
type Cause struct {
	Caller    claims.Identity
	Roles     []string
	Rule      string // of policy.Decision
	RequestID string // Kong's, as in its logs and X-Kong-Request-Id
	// Team and BusinessFunction come from the route's configuration.
	Team             string
	BusinessFunction string
}

// Stamp is what to write where.
type Stamp struct {
	Context map[string]any
	// CreatedByID is the same for a caller at all times and gateways;
	// CreatedByName is what Prefect's UI shows under "Created By".
	CreatedByID   uuid.UUID
	CreatedByName string
	Tags          []string
	Labels        map[string]any
}

// callerNamespace makes caller ids that are the product's own (RFC 9562,
// section 5.5): the version-5 UUID of its URL in the URL namespace.
var callerNamespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/kong-prefect/kong-prefect/caller"))

// CallerID is the UUID that stands for a caller in Prefect.
func CallerID(id claims.Identity) uuid.UUID {
	// An issuer is a URL of the configuration and holds no NUL, so the first
	// one ends it and no two callers meet.
	return uuid.NewSHA1(callerNamespace, []byte(id.Issuer+"\x00"+id.Subject))
}

// New returns the stamp of a run.
func New(c Cause) Stamp {
	name := c.Caller.Display()
	s := Stamp{
		Context: map[string]any{ContextKey: Context{
			Version: Version, Caller: caller(c.Caller), Actors: c.Caller.Actors,
			Roles: c.Roles, Rule: c.Rule, RequestID: c.RequestID,
			Team: c.Team, BusinessFunction: c.BusinessFunction,
		}},
		CreatedByID:   CallerID(c.Caller),
		CreatedByName: createdByName(c.Caller),
		Tags:          []string{tag(TagCaller, name)},
		Labels: map[string]any{
			LabelPrefix + "subject":    c.Caller.Subject,
			LabelPrefix + "issuer":     c.Caller.Issuer,
			LabelPrefix + "kind":       string(c.Caller.Kind),
			LabelPrefix + "request-id": c.RequestID,
		},
	}
	if c.Caller.Client != "" {
		s.Labels[LabelPrefix+"client"] = c.Caller.Client
	}
	if c.Team != "" {
		s.Tags = append(s.Tags, tag(TagTeam, c.Team))
	}
	if c.BusinessFunction != "" {
		s.Tags = append(s.Tags, tag(TagFunction, c.BusinessFunction))
	}
	return s
}

// Context is what a flow reads under [ContextKey].
type Context struct {
	Version          int            `json:"version"`
	Caller           Caller         `json:"caller"`
	Actors           []claims.Actor `json:"actors,omitempty"`
	Roles            []string       `json:"roles"`
	Rule             string         `json:"rule"`
	RequestID        string         `json:"request_id"`
	Team             string         `json:"team,omitempty"`
	BusinessFunction string         `json:"business_function,omitempty"`
}

// Caller is the part of an identity that stays on a run: who, but not all the
// groups and scopes they had.
type Caller struct {
	Subject string      `json:"subject"`
	Issuer  string      `json:"issuer"`
	Kind    claims.Kind `json:"kind"`
	// Name is what people know the caller by; there always is one.
	Name   string `json:"name"`
	Email  string `json:"email,omitempty"`
	Client string `json:"client,omitempty"`
}

func caller(id claims.Identity) Caller {
	return Caller{Subject: id.Subject, Issuer: id.Issuer, Kind: id.Kind, Name: id.Display(), Email: id.Email, Client: id.Client}
}

// createdByName reads well in the UI and tells people of one name apart.
func createdByName(id claims.Identity) string {
	name := id.Display()
	if id.Kind == claims.User && id.Email != "" && id.Email != name {
		name += " <" + id.Email + ">"
	}
	if n := len(id.Actors); n > 0 {
		name += " by " + actorName(id.Actors[0])
	}
	return name
}

func actorName(a claims.Actor) string {
	if a.Subject != "" {
		return a.Subject
	}
	return a.Client
}

// tag cuts a value on a rune's edge: a tag is for people, the context is exact.
func tag(prefix, value string) string {
	if len(prefix)+len(value) <= maxTagBytes {
		return prefix + value
	}
	cut := 0
	for i := range value {
		if len(prefix)+i > maxTagBytes-len("…") {
			break
		}
		cut = i
	}
	return prefix + value[:cut] + "…"
}
