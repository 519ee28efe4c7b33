package claims

// Preset says where a provider's tokens hold what. A claim is named by its
// exact name, or, inside objects, by a JSON pointer (RFC 6901) that begins
// with a slash.
type Preset struct {
	// Name, Email and Client list claims; the first that is present counts.
	Name, Email, Client []string
	// Groups and Scopes list claims whose values are all taken.
	Groups, Scopes []string
	// Service lists signs of a service account; one that holds is enough.
	Service []Sign
}

// Sign holds when all its conditions do.
type Sign []Condition

// Condition is one statement about the claims of a token. Exactly one of its
// fields beside Claim is set.
type Condition struct {
	Claim   string
	Present bool   // the claim is there
	Absent  bool   // the claim isn't there
	Equals  string // it equals this other claim
	Prefix  string // with Equals: it equals this text followed by the other claim
}

// standardScopes: RFC 8693 section 4.2 and RFC 9068 section 2.2.3.
var standardScopes = []string{"scope"}

// Presets are the providers known by name.
var Presets = map[string]Preset{
	// RFC 9068, section 2.2: without a resource owner, sub is the client.
	"generic": {
		Name:    []string{"name", "preferred_username"},
		Email:   []string{"email"},
		Client:  []string{"client_id", "azp"},
		Groups:  []string{"groups"},
		Scopes:  standardScopes,
		Service: []Sign{{{Claim: "sub", Equals: "client_id"}}, {{Claim: "sub", Equals: "azp"}}},
	},
	// Keycloak's service accounts are users named after their client; a
	// person may choose such a name, but only a service account's token
	// carries client_id, and only a person's session has a sid.
	"keycloak": {
		Name:   []string{"name", "preferred_username"},
		Email:  []string{"email"},
		Client: []string{"azp", "client_id"},
		Groups: []string{"groups"},
		Scopes: standardScopes,
		Service: []Sign{{
			{Claim: "client_id", Present: true},
			{Claim: "sid", Absent: true},
			{Claim: "preferred_username", Prefix: "service-account-", Equals: "client_id"},
		}},
	},
}
