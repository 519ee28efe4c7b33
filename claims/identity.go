package claims

// Kind says what a subject is.
type Kind string

// The kinds of subject.
const (
	User    Kind = "user"    // a person
	Service Kind = "service" // a service account: a client acting for itself
	Agent   Kind = "agent"   // a client that the configuration names as an AI agent
)

// Identity is a caller, verified and normalized. An absent value is empty.
type Identity struct {
	// Subject is the token's sub, or the claim that the provider's preset
	// has in its place: unique within Issuer and never reused.
	// Together they are the caller; every other field may change.
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	Kind    Kind   `json:"kind"`
	// Username is what the caller signs in with. It may be given to somebody
	// else later. It is no address that Email wouldn't be.
	Username string `json:"username,omitempty"`
	// Name is for people to read: never decide by it.
	Name string `json:"name,omitempty"`
	// Email is the address as the provider has it, left out where the
	// provider says that it isn't verified.
	Email  string   `json:"email,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// Client is the OAuth client that got the token. For a service account
	// it is the caller itself; for a person it is the program they used.
	Client string `json:"client,omitempty"`
	// Actors are who acts for the subject, the nearest first
	// (RFC 8693, section 4.1).
	Actors []Actor `json:"actors,omitempty"`
	// Attributes are further claims under the names that preset or
	// configuration give them: string, bool, json.Number or []string.
	Attributes map[string]any `json:"attributes,omitempty"`
}

// Actor is one link of the chain of who acts for whom.
type Actor struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer,omitempty"`
	Client  string `json:"client,omitempty"`
	// Kind is agent for the clients that the configuration names as such.
	Kind Kind `json:"kind,omitempty"`
}

// Display is the shortest text by which a person recognizes the caller.
func (i Identity) Display() string {
	switch {
	case i.Kind != User && i.Client != "":
		return i.Client
	case i.Name != "":
		return i.Name
	case i.Email != "":
		return i.Email
	default:
		return i.Subject
	}
}
