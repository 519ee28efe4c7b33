package plugin

// IssuerConfig is one OpenID provider.
type IssuerConfig struct {
	Issuer    string   `json:"issuer" kong:"required,referenceable" doc:"The provider's issuer URL, exactly as its tokens carry it in iss; discovery is asked there unless one of the fields for keys says otherwise."`
	Audiences []string `json:"audiences" kong:"required,len_min=1" doc:"Audiences of which a token must name one. Without it a token made for another service would do."`
	Preset    string   `json:"preset" kong:"one_of=@presets" default:"\"generic\"" doc:"Which claims hold what: the provider's kind."`

	// What its claims mean.
	Claims                 ClaimsConfig `json:"claims" doc:"Where the tokens hold what, in place of the preset. A claim is named by its exact name, or by a JSON pointer (RFC 6901) that begins with a slash; * in a pointer stands for every member."`
	ServiceAccounts        []string     `json:"service_accounts" doc:"Clients of this provider that stand for themselves, for providers whose tokens don't tell them from people."`
	Agents                 []string     `json:"agents" doc:"Clients of this provider that are AI agents; their service accounts get the kind agent, and they are actors of that kind where they act for somebody: by the token's act, or by being the client of a person's token."`
	GroupSeparator         string       `json:"group_separator" kong:"len_min=1" doc:"Makes groups nested: with / a member of a/b is a member of a too. Default: names stay as they are."`
	WithoutGroupsOnOverage bool         `json:"without_groups_on_overage" default:"false" doc:"Where a provider leaves out the groups because there are too many, goes on without any instead of refusing the token."`

	Consumer *ConsumerConfig `json:"consumer" doc:"Which consumer its callers are for Kong's own plugins. Default: each a consumer of its own."`

	// Where its keys are: at most one of these.
	DiscoveryURL string `json:"discovery_url" kong:"referenceable" doc:"Where discovery is asked instead of issuer, without /.well-known/openid-configuration: an address inside the cluster, say. The document must still name issuer."`
	JWKSURL      string `json:"jwks_url" kong:"referenceable" doc:"The key set's address, for a provider without discovery."`
	JWKSFile     string `json:"jwks_file" doc:"A file with the provider's key set (RFC 7517), for a provider that can't be reached. Read again within a second of a change."`
	PEMFile      string `json:"pem_file" doc:"A file with the provider's public keys or certificates in PEM. They have no names, so one of each kind can be used; a jwks_file can hold the next key beside the present one. Read again within a second of a change."`

	// What its tokens must be.
	Algorithms                 []string             `json:"algorithms" kong:"element_one_of=@algorithms,len_min=1" doc:"The signature algorithms that are taken. Unset: all of these. Symmetric ones and none don't exist here."`
	AudienceClaim              string               `json:"audience_claim" kong:"len_min=1" doc:"The claim that holds the audience. Default: the preset's, which is aud, or client_id for AWS Cognito, whose access tokens have no aud."`
	AuthorizedParties          []string             `json:"authorized_parties" kong:"len_min=1" doc:"The only clients whose tokens are taken (client_id, azp, cid or appid). Unset: all of the provider's."`
	LeewaySeconds              int                  `json:"leeway_seconds" kong:"between=0:300" default:"30" doc:"How far this node's clock and the provider's may be apart, in seconds."`
	MaxLifetimeSeconds         int                  `json:"max_lifetime_seconds" kong:"between=1:31622400" default:"86400" doc:"The longest life of a token (exp - iat) that is taken, in seconds."`
	InsecureUnlimitedLifetime  bool                 `json:"insecure_unlimited_lifetime" default:"false" doc:"Takes tokens of any lifetime. Danger: a stolen token stays good until exp, whenever that is."`
	RequireAccessTokenType     bool                 `json:"require_access_token_type" default:"false" doc:"Takes only tokens whose header typ is at+jwt (RFC 9068). Keycloak, Entra, Google and others don't send it; their other tokens are told by what they carry."`
	InsecureAcceptAnyTokenType bool                 `json:"insecure_accept_any_token_type" default:"false" doc:"Takes whatever the provider signs for the audience as an access token: ID, refresh and logout tokens and client assertions too. Danger: these pass through browsers, logs and other parties that access tokens never see."`
	RequireBinding             string               `json:"require_binding" kong:"one_of=none|any|dpop|mtls" default:"\"none\"" doc:"Takes only tokens that are bound to their sender: by DPoP (RFC 9449), by a client certificate (mtls, RFC 8705), or by either (any). A token that is bound is always checked, with none too."`
	Introspection              *IntrospectionConfig `json:"introspection" doc:"Where the provider is asked about its opaque tokens (RFC 7662). Without it only signed tokens are taken."`

	// How it is reached.
	CAFile            string `json:"ca_file" doc:"A PEM file with the certificate authorities to trust for this provider instead of the system's."`
	TimeoutMS         int    `json:"timeout_ms" kong:"between=100:30000" default:"5000" doc:"How long one fetch from the provider may take, in milliseconds: discovery, key set or introspection."`
	InsecureAllowHTTP bool   `json:"insecure_allow_http" default:"false" doc:"Takes an issuer over plain http beyond this machine. Danger: whoever is on the network in between decides which tokens are good. For closed test networks."`
}

// IntrospectionConfig is a provider's endpoint for questions about tokens.
type IntrospectionConfig struct {
	URL                           string `json:"url" kong:"required,referenceable" doc:"The introspection endpoint."`
	ClientID                      string `json:"client_id" kong:"required,referenceable" doc:"This gateway's client id at the provider."`
	ClientSecret                  string `json:"client_secret" kong:"referenceable,encrypted" doc:"The client's secret, sent as HTTP Basic."`
	ClientSecretFile              string `json:"client_secret_file" doc:"A file that holds the secret, in place of client_secret. It is read for every question."`
	CacheSeconds                  int    `json:"cache_seconds" kong:"between=1:300" default:"30" doc:"How long an answer is used, in seconds, never beyond the token's exp. A token withdrawn at the provider is refused after it."`
	InsecureAcceptMissingAudience bool   `json:"insecure_accept_missing_audience" default:"false" doc:"Takes tokens for which the endpoint names no audience. Danger: a token meant for another service is then taken here, unless the endpoint answers only for this gateway's."`
}
