package plugin

// What prefect-identity tells the upstream and Kong's own plugins.

// HeaderConfig is one header for the upstream.
type HeaderConfig struct {
	Name string `json:"name" kong:"required,len_min=1,match=^[%w%-]+$" doc:"The header's name. What a client sends under it, in any spelling, never passes."`
	From string `json:"from" kong:"required,len_min=1" doc:"What it holds: subject, issuer, kind, username, name, email, client, account, groups, scopes, roles, actors, id, or attributes.NAME."`
}

// ConsumerConfig says which of Kong's consumers a caller is.
type ConsumerConfig struct {
	Mode              string   `json:"mode" kong:"one_of=caller|kong|none" default:"\"caller\"" doc:"caller: each caller is a consumer of its own that Kong needn't know, so that plugins count by caller; kong: one of Kong's consumers, looked up; none: no consumer."`
	From              []string `json:"from" kong:"len_min=1" doc:"With mode kong: what of the caller names the consumer, as in headers[].from; the first that is there counts. Default: account, which is the client of a service account and the username of a person."`
	By                string   `json:"by" kong:"one_of=username|custom_id|id" default:"\"username\"" doc:"With mode kong: what of the consumer it is compared with. custom_id needs consumers_admin_url."`
	Optional          bool     `json:"optional" default:"false" doc:"With mode kong: a caller whom Kong doesn't know passes, without a consumer, instead of being refused."`
	WithoutCredential bool     `json:"without_credential" default:"false" doc:"With mode kong: gives Kong no credential, so that acl looks at the caller's groups (authenticated_groups) instead of the consumer's own."`
}

// AssertionConfig is the signed statement for the upstream.
type AssertionConfig struct {
	Audience        string `json:"audience" kong:"required,len_min=1" doc:"For whom it is: the aud that the upstream expects. An upstream must refuse any other."`
	Issuer          string `json:"issuer" kong:"required,len_min=1" doc:"In whose name it is: the iss that the upstream expects, this gateway's public URL for instance."`
	Header          string `json:"header" kong:"match=^[%w%-]+$" default:"\"X-Caller-Assertion\"" doc:"The header that carries it."`
	LifetimeSeconds int    `json:"lifetime_seconds" kong:"between=5:300" default:"60" doc:"How long the upstream may take it, in seconds."`
}

// ResourceConfig describes the gateway as a protected resource (RFC 9728).
type ResourceConfig struct {
	URL           string   `json:"url" kong:"required,len_min=8" doc:"The resource identifier: the public https URL under which clients know this gateway. Challenges then name its metadata, which are served below /.well-known/oauth-protected-resource where a route leads there."`
	Name          string   `json:"name" kong:"len_min=1" doc:"A name for people to read."`
	Scopes        []string `json:"scopes" doc:"Scopes that a client may ask for."`
	Documentation string   `json:"documentation" kong:"len_min=8" doc:"A page for developers."`
}
