package plugin

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/prefectclient"
	"github.com/kong-prefect/kong-prefect/stamp"
)

// StampConfig says what is written onto runs.
type StampConfig struct {
	Write         []string `json:"write" kong:"element_one_of=context|created_by|tags|labels|trace_context" default:"[\"context\",\"created_by\",\"tags\",\"labels\",\"trace_context\"]" doc:"What is written onto a run: context (the identity, and the signed stamp that proves it), created_by (Created By in Prefect's UI), tags (caller, actor, team, function), labels, trace_context (the request's W3C traceparent). Without context flows and auditors can't prove who called."`
	LifetimeHours int      `json:"lifetime_hours" kong:"between=1:8760" default:"168" doc:"How long a stamp is good, in hours: a run that a worker executes later is refused by flows that ask for their caller."`
}

// stampOptions are the same for the stage. A process without keys can stamp
// nothing that proves anything.
func (p *Process) stampOptions(c StampConfig) (stamp.Options, error) {
	o := stamp.Options{Lifetime: time.Duration(c.LifetimeHours) * time.Hour}
	for _, part := range stamp.Parts {
		if !slices.Contains(c.Write, string(part)) {
			o.Omit = append(o.Omit, part)
		}
	}
	if p.Signing != nil {
		o.Signer = p.Signing
	} else if !slices.Contains(o.Omit, stamp.PartContext) {
		return o, errors.New("stamp: this process has no signing keys")
	}
	return o, nil
}

// parentOf reads the stamp that a run sends along when it asks for another.
func (p *Process) parentOf(values []string) (*stamp.Claims, *Problem) {
	var keys stamp.KeySet
	if p.Signing != nil {
		keys = p.Signing
	}
	parent, err := stamp.Parent(keys, values)
	if err != nil {
		return nil, &Problem{Code: CodeParentStampInvalid, Cause: err}
	}
	return parent, nil
}

// parentStampHeader is the header as Kong gives it.
var parentStampHeader = strings.ToLower(stamp.Header)

// createdBy is nil where it isn't to be written.
func createdBy(s stamp.Stamp) *prefectclient.CreatedBy {
	if s.CreatedByName == "" {
		return nil
	}
	return &prefectclient.CreatedBy{ID: s.CreatedByID, DisplayValue: s.CreatedByName}
}
