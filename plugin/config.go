package plugin

// The structs of this file are the one source of the plugins' configuration:
// Kong's schema, the defaults and docs/configuration.md are made of their
// tags.
//
//	json     the field's name
//	kong     Kong's validators, by its names: required, len_min=1,
//	         one_of=a|b, between=0:300, match=PATTERN, referenceable, encrypted
//	default  the default, as JSON
//	doc      what the field means, with unit and danger

// IdentityConfig configures prefect-identity.
type IdentityConfig struct {
	Issuers []IssuerConfig `json:"issuers" kong:"required,len_min=1" doc:"The OpenID providers whose tokens are taken. Any other token is refused."`
	Roles   []GrantConfig  `json:"roles" doc:"Who has which role. Nobody has one that isn't given here."`
	Realm   string         `json:"realm" kong:"len_min=1,match=^[%w%-%._ ]+$" default:"\"kong-prefect\"" doc:"The realm named in WWW-Authenticate challenges."`
}

// IssuerConfig is one OpenID provider.
type IssuerConfig struct {
	Issuer                 string       `json:"issuer" kong:"required,referenceable" doc:"The provider's issuer URL, exactly as its tokens carry it in iss; discovery is asked there."`
	Audiences              []string     `json:"audiences" kong:"required,len_min=1" doc:"Audiences of which a token must name one. Without it a token made for another service would do."`
	Preset                 string       `json:"preset" kong:"one_of=@presets" default:"\"generic\"" doc:"Which claims hold what: the provider's kind."`
	Claims                 ClaimsConfig `json:"claims" doc:"Where the tokens hold what, in place of the preset. A claim is named by its exact name, or by a JSON pointer (RFC 6901) that begins with a slash; * in a pointer stands for every member."`
	ServiceAccounts        []string     `json:"service_accounts" doc:"Clients of this provider that stand for themselves, for providers whose tokens don't tell them from people."`
	Agents                 []string     `json:"agents" doc:"Clients of this provider that are AI agents; their service accounts get the kind agent, and so do they where they act for somebody."`
	GroupSeparator         string       `json:"group_separator" kong:"len_min=1" doc:"Makes groups nested: with / a member of a/b is a member of a too. Default: names stay as they are."`
	WithoutGroupsOnOverage bool         `json:"without_groups_on_overage" default:"false" doc:"Where a provider leaves out the groups because there are too many, goes on without any instead of refusing the token."`
	LeewaySeconds          int          `json:"leeway_seconds" kong:"between=0:300" default:"30" doc:"How far this node's clock and the provider's may be apart, in seconds."`
	InsecureAllowHTTP      bool         `json:"insecure_allow_http" default:"false" doc:"Takes an issuer over plain http beyond this machine. Danger: whoever is on the network in between decides which tokens are good. For closed test networks."`
}

// GrantConfig gives a role.
type GrantConfig struct {
	Role     string   `json:"role" kong:"required,len_min=1" doc:"The role to give: viewer, runner, developer, worker, owner, or one of your own."`
	Clients  []string `json:"clients" doc:"Service accounts and agents, by client id. People who use the client don't match."`
	Groups   []string `json:"groups" doc:"Groups as the token names them, exactly."`
	Scopes   []string `json:"scopes" doc:"OAuth scopes that the token holds."`
	Subjects []string `json:"subjects" doc:"Single callers by the token's sub. Roles for groups and accounts scale, roles for people don't."`
	Issuers  []string `json:"issuers" kong:"element=referenceable" doc:"Issuers whose tokens this grant is for. Must be given where several issuers are configured."`
}

// TriggerConfig configures prefect-trigger.
type TriggerConfig struct {
	Prefect          PrefectConfig `json:"prefect" kong:"required" doc:"The Prefect server that runs the deployment."`
	Deployment       string        `json:"deployment" kong:"required,len_min=3" doc:"The deployment that this route starts, as flow/deployment or by its id."`
	AllowRoles       []string      `json:"allow_roles" kong:"required,len_min=1" doc:"Roles of which a caller must have one."`
	BusinessFunction string        `json:"business_function" kong:"len_min=1" doc:"The business function this route serves; becomes a tag of the run."`
	Team             string        `json:"team" kong:"len_min=1" doc:"The team that answers for this route; becomes a tag of the run."`
	MaxBodyBytes     int           `json:"max_body_bytes" kong:"between=2:8388608" default:"1048576" doc:"The longest request body that is taken, in bytes."`
}

// PrefectConfig says where a Prefect server is and how to sign in to it.
type PrefectConfig struct {
	APIURL     string `json:"api_url" kong:"required,referenceable" doc:"Prefect's API, http://prefect:4200/api for instance."`
	AuthString string `json:"auth_string" kong:"referenceable,encrypted" doc:"The server's PREFECT_SERVER_API_AUTH_STRING, user:password."`
	AuthFile   string `json:"auth_file" doc:"A file that holds the auth string, in place of auth_string. It is read again when it changes."`
	APIKey     string `json:"api_key" kong:"referenceable,encrypted" doc:"An API key, for Prefect Cloud, in place of auth_string."`
	UIURL      string `json:"ui_url" kong:"referenceable" doc:"Where people open Prefect's UI, for the links in answers. Default: api_url without its /api."`
	TimeoutMS  int    `json:"timeout_ms" kong:"between=100:45000" default:"20000" doc:"How long one trigger may take with all its retries, in milliseconds. Kong waits 60 s."`
}
