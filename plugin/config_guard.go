package plugin

// GuardConfig configures prefect-guard.
type GuardConfig struct {
	Prefect      PrefectConfig      `json:"prefect" kong:"required" doc:"The Prefect server behind this route. Its credential goes upstream in place of the caller's; api_url is asked for what a limited role may see."`
	APIPath      string             `json:"api_path" kong:"match=^/[%w%-%._~/]*$" default:"\"/api\"" doc:"The path of Prefect's API on the upstream, as requests reach it."`
	Grants       []GuardGrantConfig `json:"grants" doc:"What each role may do. Unset: viewer, runner, developer, worker and owner, by Prefect Cloud's meaning, everywhere."`
	Stamp        StampConfig        `json:"stamp" default:"{\"write\":[\"context\",\"created_by\",\"tags\",\"labels\",\"trace_context\"],\"lifetime_hours\":168}" doc:"What is written onto the runs that are started through this route."`
	Audit        GuardAuditConfig   `json:"audit" default:"{\"required\":false,\"durable\":true,\"reads\":false}" doc:"What is put on record, in a process that was started with --audit. Refusals always are."`
	MaxBodyBytes int                `json:"max_body_bytes" kong:"between=2:16777216" default:"2097152" doc:"The longest body that is read where a decision depends on it, in bytes. Other bodies pass unread, up to Kong's own limit."`
}

// GuardGrantConfig says what a role may do in front of Prefect's API. The
// lists of globs limit it to some deployments and their runs: a deployment
// must fit one entry of each list that is given.
type GuardGrantConfig struct {
	Role        string   `json:"role" kong:"required,len_min=1" doc:"The role, as prefect-identity gives it."`
	Permissions []string `json:"permissions" doc:"What it may do, by the permissions of kong-prefect routes. Unset: what the built-in role of this name may."`
	Deployments []string `json:"deployments" doc:"Globs of flow/deployment. A star ends at the slash."`
	Flows       []string `json:"flows" doc:"Globs of flow names."`
	Tags        []string `json:"tags" doc:"Globs of a deployment's tags, which its runs have too."`
	WorkPools   []string `json:"work_pools" doc:"Globs of work pool names."`
}
