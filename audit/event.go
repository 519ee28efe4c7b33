package audit

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/kong-prefect/kong-prefect/claims"
)

// SchemaVersion is the version of [Event]'s form, in every record. Fields may
// be added under the same version; a meaning never changes.
const SchemaVersion = 1

// Type says what happened.
type Type string

// The types of event.
const (
	// A decision at the gateway.
	AccessRefused Type = "access.refused" // with Reason
	AccessAllowed Type = "access.allowed" // on record before Prefect is called, where the route demands it

	// A run, under the identity that asked for it.
	RunCreated  Type = "run.created"  // Prefect has it
	RunRepeated Type = "run.repeated" // asked for again under its idempotency key; Prefect had it
	RunUnknown  Type = "run.unknown"  // Prefect was asked and gave no answer: it may have the run
	RunAbsent   Type = "run.absent"   // asked for, and Prefect doesn't have it
	RunFinished Type = "run.finished" // with Outcome, Prefect's terminal state
	RunAccepted Type = "run.accepted" // Prefect is away: the request is on disk, and run.created, run.repeated or run.dead follows
	RunDead     Type = "run.dead"     // accepted, and given up with Reason

	// What changes who may do what.
	CredentialRotated    Type = "credential.rotated"
	ConfigurationChanged Type = "configuration.changed" // of Object, with ConfigDigest
	PolicyChanged        Type = "policy.changed"        // of Object, with Rights and their ConfigDigest
	KeysChanged          Type = "keys.changed"          // of Object, an issuer or the gateway itself

	// The log itself.
	ProcessStarted Type = "process.started"
	ProcessStopped Type = "process.stopped"
	Recovered      Type = "log.recovered" // the process before died while it wrote, or records are gone
	Checkpoint     Type = "checkpoint"    // with Signature over all records before it
)

// Types are all types of event.
var Types = []Type{
	AccessRefused, AccessAllowed,
	RunCreated, RunRepeated, RunUnknown, RunAbsent, RunFinished, RunAccepted, RunDead,
	CredentialRotated, ConfigurationChanged, PolicyChanged, KeysChanged,
	ProcessStarted, ProcessStopped, Recovered, Checkpoint,
}

// Event is one thing that happened. It holds identities, never credentials: no
// token, no secret, no header of a request gets here. An absent value is left
// out.
type Event struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"` // by this node's clock, UTC
	Type    Type      `json:"type"`
	// Node is the host that wrote the record.
	Node string `json:"node,omitempty"`

	// Plugin says where in the gateway.
	Plugin string `json:"plugin,omitempty"`
	// RequestID is Kong's, as in its logs; TraceID is W3C Trace Context's.
	RequestID string `json:"request_id,omitempty"`
	TraceID   string `json:"trace_id,omitempty"`
	// SourceAddress is the client's, as Kong's trusted_ips make it.
	SourceAddress string `json:"source_address,omitempty"`
	Method        string `json:"method,omitempty"`
	// Path is the request's, without the query: of a route with a template
	// the template, so that no value of a parameter is in it.
	Path string `json:"path,omitempty"`

	Caller *Caller  `json:"caller,omitempty"`
	Roles  []string `json:"roles,omitempty"`
	// Basis is what the roles were given by, beside the caller; nil: it isn't
	// on record, and nobody can tell what other rights would have said.
	Basis *Basis `json:"basis,omitempty"`
	// Rule is the one that decided; Permission is what it was asked for.
	Rule       string `json:"rule,omitempty"`
	Permission string `json:"permission,omitempty"`

	// Prefect is the API's address of the server that has the run.
	Prefect      string `json:"prefect,omitempty"`
	Deployment   string `json:"deployment,omitempty"`
	DeploymentID string `json:"deployment_id,omitempty"`
	RunID        string `json:"run_id,omitempty"`
	// IdempotencyKey is the one the run was created under: by it a run is
	// found whose creation was not seen.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// ParametersSHA256 is over the parameters' canonical JSON (RFC 8785), in
	// hexadecimal. Parameters holds those that the route wants in clear.
	ParametersSHA256 string         `json:"parameters_sha256,omitempty"`
	Parameters       map[string]any `json:"parameters,omitempty"`

	// Outcome is a run's terminal state by Prefect's name: COMPLETED, FAILED,
	// CRASHED, CANCELLED. [OutcomeGone] is for a run that Prefect doesn't have
	// any more.
	Outcome string `json:"outcome,omitempty"`
	// Reason is the refusal's stable code, the same as in the answer.
	Reason string `json:"reason,omitempty"`
	Status int    `json:"status,omitempty"` // HTTP
	// LatencyMicros is from the start of the plugin's event, in microseconds.
	LatencyMicros int64 `json:"latency_us,omitempty"`

	// Object is what changed: a deployment or what else a configuration is
	// for, an issuer, a server.
	Object string `json:"object,omitempty"`
	// ConfigDigest names a configuration, a policy or a set of keys: SHA-256,
	// in hexadecimal. Secrets have no part in it.
	ConfigDigest string `json:"config_digest,omitempty"`
	// Rights are a policy, in full.
	Rights []Right `json:"rights,omitempty"`
	// Detail is for people.
	Detail string `json:"detail,omitempty"`
	// Signature is a checkpoint's, a compact JWS.
	Signature string `json:"signature,omitempty"`
}

// Right is one line of a policy, for people to read: who may what.
type Right struct {
	Who  string `json:"who"`
	May  string `json:"may"`
	When string `json:"when,omitempty"` // a condition
}

// Basis is what else of an identity decides which roles it has.
type Basis struct {
	Groups []string `json:"groups"`
	Scopes []string `json:"scopes"`
	// ParentRequestID is the request that made the run which asks now: its
	// roles narrow the caller's.
	ParentRequestID string `json:"parent_request_id,omitempty"`
}

// These bound a record: what is too long for one is refused, and so would be
// whoever is in many groups.
const (
	maxBasisNames = 200
	maxBasisBytes = 16 << 10
	maxClearBytes = 16 << 10
)

// BasisOf is what the audit keeps of it; nil where that would be too much.
func BasisOf(id claims.Identity, parentRequestID string) *Basis {
	if id.Subject == "" || len(id.Groups)+len(id.Scopes) > maxBasisNames {
		return nil
	}
	bytes := 0
	for _, names := range [][]string{id.Groups, id.Scopes} {
		for _, name := range names {
			bytes += len(name)
		}
	}
	if bytes > maxBasisBytes {
		return nil
	}
	return &Basis{Groups: append([]string{}, id.Groups...), Scopes: append([]string{}, id.Scopes...), ParentRequestID: parentRequestID}
}

// Caller is who acted: the identity without what only decides (groups,
// scopes).
type Caller struct {
	Kind    claims.Kind    `json:"kind"`
	Subject string         `json:"subject"`
	Issuer  string         `json:"issuer"`
	Name    string         `json:"name,omitempty"`
	Client  string         `json:"client,omitempty"`
	Actors  []claims.Actor `json:"actors,omitempty"`
}

// CallerOf is what the audit keeps of an identity; nil for none.
func CallerOf(id claims.Identity) *Caller {
	if id.Subject == "" {
		return nil
	}
	return &Caller{
		Kind: id.Kind, Subject: id.Subject, Issuer: id.Issuer,
		Name: id.Display(), Client: id.Client, Actors: id.Actors,
	}
}

// InClear puts those of the named parameters into the event that are short
// enough for a record; the hash holds the others.
func (e *Event) InClear(names []string, parameters map[string]any) {
	room := maxClearBytes
	for _, name := range names {
		value, given := parameters[name]
		if !given {
			continue
		}
		data, err := json.Marshal(value)
		if room -= len(data); err != nil || room < 0 {
			e.Detail = fmt.Sprintf("the parameter %q is too long to be in clear", name)
			return
		}
		if e.Parameters == nil {
			e.Parameters = map[string]any{}
		}
		e.Parameters[name] = value
	}
}

// encode returns the event as one JSON object without the record's own fields.
func (e Event) encode() ([]byte, error) {
	e.Version = SchemaVersion
	e.Time = e.Time.UTC()
	return json.Marshal(e)
}
