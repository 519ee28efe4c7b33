// Package replay says who would gain or lose what under another configuration:
// it takes the decisions that the audit has on record, and decides them anew
// under the roles and rules of a kong.yml that nobody runs yet.
//
// It refuses to guess. A record holds no claims, and of the parameters a hash:
// what a condition over them would say is undecidable, and said to be.
//
// Read [Replay] first; decide.go decides one record.
package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/guard"
	"github.com/kong-prefect/kong-prefect/kongyml"
	"github.com/kong-prefect/kong-prefect/plugin"
)

// Options say what is decided anew.
type Options struct {
	// Audit is the folder.
	Audit string
	// Policy is the configuration to come, and Was the one of now, which is
	// optional: where both say the same about a request, nothing changes for
	// it, whatever the record lacks.
	Policy, Was *kongyml.File
	// From and To bound the records' time, From <= time < To.
	From, To time.Time
	// Env gives the environment's variables, for Kong's env vault.
	Env func(string) (string, bool)
	// Progress hears of every record that was read. Optional.
	Progress func(n int)
}

// Effect is what a configuration would do to a decision of the past.
type Effect string

// The effects.
const (
	Loses       Effect = "loses"
	Gains       Effect = "gains"
	Other       Effect = "other" // allowed as before, but starts another deployment
	Undecidable Effect = "undecidable"
	Unchanged   Effect = "unchanged"
)

var order = []Effect{Loses, Gains, Other, Undecidable, Unchanged}

// Change is one line of the outcome: all decisions that are alike.
type Change struct {
	Effect Effect `json:"effect"`
	Caller string `json:"caller"` // for people
	// Subject and Issuer are the caller.
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// What was asked for: a deployment, or a permission at the guard.
	What    string    `json:"what"`
	Was     string    `json:"was"`
	WouldBe string    `json:"would_be"`
	Times   int       `json:"times"`
	Last    time.Time `json:"last"`
}

// Outcome is the whole of it.
type Outcome struct {
	Decisions int            `json:"decisions"` // that were decided anew
	Skipped   int            `json:"skipped"`   // refused for something that is no policy
	Counts    map[Effect]int `json:"counts"`    // of decisions
	Changes   []Change       `json:"changes"`   // the gravest first; without what is unchanged
}

// Replay decides the records anew.
func Replay(o Options) (Outcome, error) {
	next, err := newGateway(o.Policy, o.Env)
	if err != nil {
		return Outcome{}, fmt.Errorf("the new configuration: %w", err)
	}
	var was *gateway
	if o.Was != nil {
		if was, err = newGateway(o.Was, o.Env); err != nil {
			return Outcome{}, fmt.Errorf("the present configuration: %w", err)
		}
	}
	out := Outcome{Counts: map[Effect]int{}}
	lines := map[Change]*Change{}
	read := 0
	err = audit.Find(o.Audit, audit.Query{From: o.From, To: o.To, Types: []audit.Type{audit.AccessAllowed, audit.AccessRefused}}, func(r audit.Record) bool {
		if read++; o.Progress != nil {
			o.Progress(read)
		}
		if r.Plugin != plugin.TriggerName && r.Plugin != plugin.GuardName || r.Caller == nil || r.Type == audit.AccessRefused && !aboutPolicy[r.Reason] {
			out.Skipped++
			return true
		}
		c := next.change(r, was)
		out.Decisions++
		out.Counts[c.Effect]++
		if c.Effect == Unchanged {
			return true
		}
		held := lines[c]
		if held == nil {
			key := c
			held = &c
			lines[key] = held
		}
		held.Times++
		held.Last = r.Time
		return true
	})
	for _, c := range lines {
		out.Changes = append(out.Changes, *c)
	}
	slices.SortFunc(out.Changes, func(a, b Change) int {
		return cmp.Or(slices.Index(order, a.Effect)-slices.Index(order, b.Effect), b.Times-a.Times,
			strings.Compare(a.Caller, b.Caller), strings.Compare(a.What, b.What), strings.Compare(a.Was, b.Was))
	})
	return out, err
}

// aboutPolicy are the refusals that another policy could make undone.
var aboutPolicy = map[string]bool{
	plugin.CodeRoleNotAllowed: true, plugin.CodePolicyDenied: true, plugin.CodeDeploymentNotOffered: true, plugin.CodeDeploymentUndecided: true,
	guard.ReasonPermissionMissing: true, guard.ReasonLimited: true,
}

// change says what becomes of one decision.
func (g *gateway) change(r audit.Record, was *gateway) Change {
	c := Change{
		Caller: r.Caller.Who(), Subject: r.Caller.Subject, Issuer: r.Caller.Issuer,
		What: r.Deployment, Was: "allowed",
	}
	if r.Plugin == plugin.GuardName {
		c.What = permissionOf(r)
	}
	allowed := r.Type == audit.AccessAllowed
	if !allowed {
		c.Was = "refused, " + r.Reason
	}
	if was != nil && was.saysTheSame(g, r) {
		c.Effect = Unchanged
		return c
	}
	d := g.decide(r)
	c.WouldBe = d.text()
	switch {
	case d.answer == undecidable:
		c.Effect = Undecidable
	case allowed && d.answer == refused:
		c.Effect = Loses
	case !allowed && d.answer == permitted:
		c.Effect = Gains
	case allowed && d.instead != "":
		c.Effect = Other
	default:
		c.Effect = Unchanged
	}
	return c
}

// permissionOf is what a request to the guard needs.
func permissionOf(r audit.Record) string {
	if r.Permission != "" {
		return r.Permission
	}
	if route, _, ok := guard.Match(r.Method, r.Path); ok {
		return route.Permission
	}
	return ""
}
