package plugin

// TriggerConfig configures prefect-trigger.
type TriggerConfig struct {
	Prefect PrefectConfig `json:"prefect" kong:"required" doc:"The Prefect server that runs the deployment."`

	// Which deployment.
	Path                 string             `json:"path" kong:"match=^/[^?#]*$" doc:"The route's path with its named parts, /run/{flow}/{deployment} for instance. Without it the request's path has no parts, and a last segment that is a UUID is a run's id."`
	Deployment           string             `json:"deployment" kong:"len_min=3" doc:"The deployment that this route starts, as flow/deployment or by its id. With deployments it is the one for callers for whom no rule holds; without it they are refused."`
	Deployments          []DeploymentConfig `json:"deployments" kong:"len_min=1" doc:"Rules that choose the deployment by who calls and how, in order: the first that holds counts."`
	Choose               []string           `json:"choose" kong:"len_min=1" doc:"Lets the caller choose the deployment by the parts {flow} and {deployment} of path: patterns flow/deployment of what may be chosen, where * stands for any characters within a name. In place of deployment and deployments."`
	AllowPaused          bool               `json:"allow_paused" default:"false" doc:"Starts runs of a paused deployment too. Danger: they may wait until somebody resumes it."`
	AllowWithoutWorkPool bool               `json:"allow_without_work_pool" default:"false" doc:"Starts runs of a deployment that has no work pool and that no process serves now. Danger: nobody may ever execute them."`

	// Who.
	AllowRoles []string      `json:"allow_roles" kong:"len_min=1" doc:"Roles of which a caller must have one. This or allow must be given."`
	Allow      []AllowConfig `json:"allow" kong:"len_min=1" doc:"Further rules by role and condition: who meets one of them, or has one of allow_roles, may."`

	// How many.
	Quota QuotaConfig `json:"quota" default:"{\"caller_per_minute\":0,\"deployment_per_minute\":0,\"caller_at_once\":0,\"deployment_at_once\":0,\"without_redis\":\"refuse\"}" doc:"How many runs of a deployment may be started. Who asks for more gets 429 with Retry-After, RateLimit and RateLimit-Policy."`

	// Whose runs.
	SeeAllRoles    []string `json:"see_all_roles" kong:"len_min=1" doc:"Roles that may see every run of this route's deployments, by GET on the run's id below the path. Everybody else who may start runs here sees their own."`
	CancelAllRoles []string `json:"cancel_all_roles" kong:"len_min=1" doc:"Roles that may see every run of this route's deployments, and cancel it by DELETE. Everybody else who may start runs here cancels their own."`

	// With what.
	Parameters   []ParameterConfig `json:"parameters" kong:"len_min=1" doc:"The run's parameters and where each comes from; nothing else is taken. Without it the body's members are the parameters."`
	BodyFields   []string          `json:"body_fields" kong:"element_one_of=name|tags|labels|job_variables|work_queue_name" doc:"Fields of Prefect's that callers may set beside the parameters, as members of the body. Danger: job_variables change the command, image and environment of what the worker runs, work_queue_name makes queues."`
	MaxBodyBytes int               `json:"max_body_bytes" kong:"between=2:8388608" default:"1048576" doc:"The longest request body that is taken, in bytes."`

	// What is written onto the run.
	BusinessFunction string        `json:"business_function" kong:"len_min=1" doc:"The business function this route serves; becomes a tag of the run."`
	Team             string        `json:"team" kong:"len_min=1" doc:"The team that answers for this route; becomes a tag of the run."`
	Stamp            StampConfig   `json:"stamp" default:"{\"write\":[\"context\",\"created_by\",\"tags\",\"labels\",\"trace_context\"],\"lifetime_hours\":168}" doc:"What is written onto the runs that this route starts."`
	Wait             WaitConfig    `json:"wait" default:"{\"default_seconds\":0,\"max_seconds\":30}" doc:"How long answers wait for the ends of runs."`
	Durable          DurableConfig `json:"durable" default:"{\"enabled\":false,\"after_ms\":3000,\"expire_hours\":24}" doc:"What becomes of a request while Prefect is away."`
	Audit            AuditConfig   `json:"audit" default:"{\"required\":false,\"durable\":true}" doc:"What of this route's requests is put on record, in a process that was started with --audit."`
}

// DeploymentConfig is one rule that chooses a deployment.
type DeploymentConfig struct {
	When       string `json:"when" kong:"required,len_min=1" doc:"A CEL condition over identity, request and now. One that can't be decided, by a claim that isn't there for instance, refuses the request."`
	Deployment string `json:"deployment" kong:"required,len_min=3" doc:"The deployment, as flow/deployment or by its id."`
}

// AllowConfig is one rule that allows.
type AllowConfig struct {
	Name  string   `json:"name" kong:"required,len_min=1" doc:"The rule's name, for the audit and the run's stamp."`
	Roles []string `json:"roles" doc:"Roles of which the caller must have one. Without it anybody with an identity for whom when holds."`
	When  string   `json:"when" kong:"len_min=1" doc:"A CEL condition over identity, request, parameters, deployment and now. One that can't be decided allows nothing."`
}

// ParameterConfig is one parameter of the run.
type ParameterConfig struct {
	Name    string `json:"name" kong:"required,len_min=1" doc:"The parameter's name in the flow."`
	From    string `json:"from" kong:"required,one_of=body|query|capture|header|claim|fixed" doc:"Where its value comes from: a member of the body, the query, a part of path, a header, the caller's identity, or value. What comes from claim and fixed a caller can't set."`
	Path    string `json:"path" kong:"len_min=1" doc:"Its name there: of the member, query, part or header, or a field of the identity (subject, issuer, kind, username, name, email, client, groups, scopes, attributes.NAME). Default: name."`
	Value   string `json:"value" kong:"len_min=1" doc:"What a fixed parameter is. A text, or JSON where the flow wants a number, a bool, a list or an object."`
	Default string `json:"default" kong:"len_min=1" doc:"What it is where the request has none, written like value. Without it the flow's own default counts, and a claim that the caller lacks is refused."`
}
