package plugin

// DurableConfig says what becomes of a request while Prefect is away.
type DurableConfig struct {
	Enabled     bool `json:"enabled" default:"false" doc:"Accepts requests while Prefect is away: they are put on the disk, answered with 202, and delivered once Prefect is back, those of one caller for one deployment in their order. Needs a process that was started with --outbox or --outbox-redis."`
	AfterMS     int  `json:"after_ms" kong:"between=100:40000" default:"3000" doc:"How long Prefect is tried before a request is accepted instead, in milliseconds."`
	ExpireHours int  `json:"expire_hours" kong:"between=1:8760" default:"24" doc:"How long an accepted request may wait for Prefect, in hours; then it is dead and an operator decides. Not longer than stamp.lifetime_hours."`
}
