package plugin

// PrefectConfig says where a Prefect server is and how to sign in to it. At
// most one kind of credential is given.
type PrefectConfig struct {
	APIURL string `json:"api_url" kong:"required,referenceable" doc:"Prefect's API: http://prefect:4200/api for instance, or https://api.prefect.cloud/api/accounts/A/workspaces/W for Prefect Cloud."`

	AuthString     string              `json:"auth_string" kong:"referenceable,encrypted" doc:"The server's PREFECT_SERVER_API_AUTH_STRING, user:password."`
	AuthStringNext string              `json:"auth_string_next" kong:"referenceable,encrypted" doc:"A second auth string during a rotation: whichever the server takes is used."`
	AuthFile       string              `json:"auth_file" doc:"A file that holds the auth string, in place of auth_string; two lines during a rotation. It is read again when it changes."`
	AuthEnv        string              `json:"auth_env" kong:"match=^[%w_]+$" doc:"An environment variable of this process that holds the auth string, in place of auth_string; two lines during a rotation."`
	APIKey         string              `json:"api_key" kong:"referenceable,encrypted" doc:"An API key, for Prefect Cloud, in place of auth_string."`
	APIKeyNext     string              `json:"api_key_next" kong:"referenceable,encrypted" doc:"A second API key during a rotation: whichever the server takes is used."`
	APIKeyFile     string              `json:"api_key_file" doc:"A file that holds the API key, in place of api_key; two lines during a rotation. It is read again when it changes."`
	APIKeyEnv      string              `json:"api_key_env" kong:"match=^[%w_]+$" doc:"An environment variable of this process that holds the API key, in place of api_key; two lines during a rotation."`
	OAuth          *PrefectOAuthConfig `json:"oauth" doc:"This gateway's own account at the identity provider, for a Prefect that stands behind a gateway of its own: tokens by OAuth 2.0's client credentials grant."`

	UIURL                 string `json:"ui_url" kong:"referenceable" doc:"Where people open Prefect's UI, for the links in answers. Default: api_url without its /api, or Prefect Cloud's page of the workspace."`
	TimeoutMS             int    `json:"timeout_ms" kong:"between=100:45000" default:"20000" doc:"How long one trigger may take with all its retries, in milliseconds. Kong waits 60 s."`
	MaxConcurrent         int    `json:"max_concurrent" kong:"between=1:1024" default:"64" doc:"How many calls may be under way at this server at once, over all routes that set the same number; a route with another number has slots of its own."`
	MaxConcurrentPerRoute int    `json:"max_concurrent_per_route" kong:"between=1:1024" default:"32" doc:"How many of them one deployment's calls may take, so that one that is slow leaves room for the others."`
}

// PrefectOAuthConfig is an account for OAuth 2.0's client credentials grant.
type PrefectOAuthConfig struct {
	TokenURL         string   `json:"token_url" kong:"required,referenceable" doc:"The identity provider's token endpoint."`
	ClientID         string   `json:"client_id" kong:"required,referenceable" doc:"The account's client id."`
	ClientSecret     string   `json:"client_secret" kong:"referenceable,encrypted" doc:"The account's secret."`
	ClientSecretFile string   `json:"client_secret_file" doc:"A file that holds the secret, in place of client_secret. It is read for every new token."`
	Scopes           []string `json:"scopes" doc:"The scopes to ask for. Default: the provider's."`
	Audience         string   `json:"audience" doc:"The audience to ask for, where the provider wants that parameter."`
}
