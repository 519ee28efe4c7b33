package plugin

// QuotaConfig says how many runs a route lets through. The runs of a
// deployment count by all routes that limit them.
type QuotaConfig struct {
	CallerPerMinute     int    `json:"caller_per_minute" kong:"between=0:10000" default:"0" doc:"How many runs of one deployment one caller may start within any 60 seconds; 0: any number."`
	DeploymentPerMinute int    `json:"deployment_per_minute" kong:"between=0:10000" default:"0" doc:"How many runs of one deployment all callers together may start within any 60 seconds; 0: any number."`
	CallerAtOnce        int    `json:"caller_at_once" kong:"between=0:10000" default:"0" doc:"How many runs of one deployment that haven't ended one caller may have, by Prefect's own state; 0: any number. Needs created_by in stamp.write, and can't be had with durable.enabled."`
	DeploymentAtOnce    int    `json:"deployment_at_once" kong:"between=0:10000" default:"0" doc:"How many runs that haven't ended one deployment may have, whoever started them, by Prefect's own state; 0: any number. Can't be had with durable.enabled."`
	RedisURL            string `json:"redis_url" kong:"referenceable,encrypted" doc:"A Redis in which several nodes count together, redis://USER:PASSWORD@HOST:PORT/DB or rediss:// for TLS. Unset: each node counts its own."`
	WithoutRedis        string `json:"without_redis" kong:"one_of=refuse|count_alone" default:"\"refuse\"" doc:"What happens while that Redis is gone: refuse starts no runs; count_alone lets each node count its own, and so the nodes together start more."`
}
