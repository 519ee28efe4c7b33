package plugin

// The structs of this file are the one source of the plugins' configuration:
// Kong's schema, the defaults and docs/configuration.md are made of their
// tags.
//
//	json     the field's name
//	kong     Kong's validators, by its names: required, len_min=1,
//	         one_of=a|b, between=0:300, match=PATTERN, referenceable, encrypted;
//	         element=referenceable and element_one_of=a|b are for a list's items
//	default  the default, as JSON
//	doc      what the field means, with unit and danger

// IdentityConfig configures prefect-identity.
type IdentityConfig struct {
	Issuers []IssuerConfig `json:"issuers" kong:"required,len_min=1" doc:"The OpenID providers whose tokens are taken. Any other token is refused."`
	Roles   []GrantConfig  `json:"roles" doc:"Who has which role. Nobody has one that isn't given here."`
	Realm   string         `json:"realm" kong:"len_min=1,match=^[%w%-%._ ]+$" default:"\"kong-prefect\"" doc:"The realm named in WWW-Authenticate challenges."`

	// What others get.
	Headers             []HeaderConfig   `json:"headers" kong:"len_min=1" doc:"The headers that tell the upstream who calls. Default: X-Caller-Subject, -Issuer, -Kind, -Name, -Email, -Client, -Groups, -Scopes, -Roles and -Actors."`
	HideCredentials     bool             `json:"hide_credentials" default:"false" doc:"Takes the token, and its DPoP proof, away from the request to the upstream, wherever it was."`
	Assertion           *AssertionConfig `json:"assertion" doc:"Gives the upstream a signed statement of who calls, so that it can verify and needn't trust. Its keys are at /.well-known/kong-prefect/jwks.json where a route leads there."`
	AuthenticatedGroups string           `json:"authenticated_groups" kong:"one_of=roles|groups|none" default:"\"roles\"" doc:"What Kong's acl plugin takes as the caller's groups. Danger with groups and several issuers: a group of one provider is taken for that of another."`
	ConsumersAdminURL   string           `json:"consumers_admin_url" kong:"referenceable" doc:"Kong's own Admin API, for consumers by custom_id, which plugins can't look for."`
	Anonymous           string           `json:"anonymous" kong:"len_min=1" doc:"The user name or id of the consumer as whom a request without any token passes. A bad token never does. Routes that need a caller refuse it all the same."`
	Resource            *ResourceConfig  `json:"resource" doc:"Describes this gateway to clients as a protected resource (RFC 9728)."`

	// Where a token may be, and how it came.
	TokenCookie       string                   `json:"token_cookie" kong:"match=^[%w_%.%-]+$" doc:"A cookie in which a token may come, beside the Authorization header. Requests that another site made a browser send are refused then."`
	TokenHeader       string                   `json:"token_header" kong:"match=^[%w%-]+$" doc:"A further header in which a token may come, with or without Bearer before it. A request with two tokens is refused."`
	MaxTokenBytes     int                      `json:"max_token_bytes" kong:"between=512:1048576" default:"16384" doc:"The longest token that is looked at, in bytes."`
	PublicOrigins     []string                 `json:"public_origins" kong:"len_min=1" doc:"The origins under which clients know this gateway, https://api.example.com for instance: those that a DPoP proof may name. Unset: the scheme and host with which the request reached Kong, which is wrong behind a proxy that ends TLS."`
	ClientCertificate *ClientCertificateConfig `json:"client_certificate" doc:"Where the client's certificate is found. Without it tokens that are bound to one are refused."`

	// What is remembered, and what is refused all the same.
	DenyListFile         string `json:"deny_list_file" doc:"A file with tokens to refuse although they verify, by subject, client, token id or time of issue. A change takes effect within a second, on cached tokens too; a file that was never readable refuses everything, a broken change leaves the last good list in force for an hour and then does."`
	TokenCacheEntries    int    `json:"token_cache_entries" kong:"between=0:1000000" default:"10000" doc:"How many verified tokens are remembered, so that they aren't verified again; 0 remembers none."`
	TokenCacheMaxSeconds int    `json:"token_cache_max_seconds" kong:"between=1:3600" default:"300" doc:"How long a token is taken without verifying it again, in seconds, never beyond its exp or the life of the key that signed it."`
}
