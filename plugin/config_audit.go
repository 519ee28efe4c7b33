package plugin

// GuardAuditConfig says what of the requests through the guard is put on
// record.
type GuardAuditConfig struct {
	Required bool `json:"required" default:"false" doc:"Refuses every request while nothing can be put on record, also in a process that was started without --audit."`
	Durable  bool `json:"durable" default:"true" doc:"The decision is on the disk before the request goes to Prefect. Off, it waits in a bounded queue: a killed process forgets what is in it, a full queue refuses."`
	Reads    bool `json:"reads" default:"false" doc:"Puts allowed reads on record as well. Prefect's pages make many of them."`
}

// AuditConfig says what of this route's requests is put on record, and when.
type AuditConfig struct {
	Required   bool     `json:"required" default:"false" doc:"Refuses every request while nothing can be put on record, also in a process that was started without --audit."`
	Durable    bool     `json:"durable" default:"true" doc:"The decision is on the disk before Prefect is called. Off, it waits in a bounded queue: a killed process forgets what is in it, a full queue refuses."`
	Parameters []string `json:"parameters" doc:"Names of parameters that the audit holds in clear. Of all together it holds the SHA-256; of those in clear that are longer than 16 KiB together nothing else. Name no secrets."`
}
