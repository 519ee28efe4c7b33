package plugin

// WaitConfig says how long answers wait for the ends of runs.
type WaitConfig struct {
	DefaultSeconds int `json:"default_seconds" kong:"between=0:40" default:"0" doc:"How long an answer waits for its run to end where the caller doesn't say, in seconds; 0: it is given as soon as Prefect has the run."`
	MaxSeconds     int `json:"max_seconds" kong:"between=0:40" default:"30" doc:"The longest wait that a caller may ask for by 'Prefer: wait=N' (RFC 7240), in seconds; one who asks for more gets this. 0: no caller may."`
}
