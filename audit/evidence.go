package audit

import (
	"cmp"
	"slices"
	"time"
)

// Evidence is what an auditor asks for, over a time: who ran what under which
// rule and with which outcome, who was refused, and what changed meanwhile.
type Evidence struct {
	From, To time.Time
	Proof    Report
	// Runs that were asked for in the time, oldest first.
	Runs []Run
	// Policies are those that held in the time: who could.
	Policies []PolicyHeld
	// Rules are the pairs of rule and deployment that were used: who did.
	Rules []RuleUse
	// Refusals by caller and reason, and what was accepted and given up.
	Refusals []Refusals
	// Changes of policy, configuration, credentials and keys, and the lives of
	// the processes.
	Changes []Record
}

// Run is one run's whole story.
type Run struct {
	RunID, Deployment, RequestID string
	Caller                       *Caller
	Roles                        []string
	Rule                         string
	ParametersSHA256             string
	Asked, Finished              time.Time // Finished is zero while nothing is known
	Outcome                      string
	Seq                          uint64 // of the record that says it was created
}

// PolicyHeld is one policy, and since when and until when it held.
type PolicyHeld struct {
	Plugin, Object string
	Since, Until   time.Time // Until is zero while it holds
	Rights         []Right
	Detail         string
	Digest         string
	Seq            uint64
}

// Conditional tells whether any right holds somewhere or sometimes only.
func (p PolicyHeld) Conditional() bool {
	return slices.ContainsFunc(p.Rights, func(r Right) bool { return r.When != "" })
}

// RuleUse is how often a rule let callers run a deployment.
type RuleUse struct {
	Rule, Deployment string
	Callers          []string
	Runs             int
}

// Refusals are how often a caller was refused for a reason.
type Refusals struct {
	Caller, Reason, Deployment string
	Times                      int
	Last                       time.Time
}

// Collect makes the evidence of the records from a time up to another. A run's
// outcome is taken in however late it came.
func Collect(dir string, from, to time.Time, proof Report) (Evidence, error) {
	c := collector{
		evidence: Evidence{From: from, To: to, Proof: proof},
		runs:     map[string]int{}, rules: map[[2]string]int{}, refusals: map[[3]string]int{},
	}
	in := Query{From: from, To: to}
	err := Records(dir, 0, func(r Record) bool {
		if r.Type == PolicyChanged && (to.IsZero() || r.Time.Before(to)) {
			c.policy(r)
		}
		if r.Type == RunFinished {
			c.finished(r)
		} else if in.Matches(r) {
			c.record(r)
		}
		return true
	})
	c.evidence.Policies = slices.DeleteFunc(c.evidence.Policies, func(p PolicyHeld) bool {
		return !p.Until.IsZero() && !p.Until.After(from) // over before
	})
	slices.SortFunc(c.evidence.Refusals, func(a, b Refusals) int { return cmp.Compare(b.Times, a.Times) })
	slices.SortFunc(c.evidence.Rules, func(a, b RuleUse) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Deployment, b.Deployment))
	})
	return c.evidence, err
}

type collector struct {
	evidence Evidence
	// Indexes into the evidence's lists.
	runs     map[string]int
	rules    map[[2]string]int
	refusals map[[3]string]int
}

// policy takes in a policy, which ends the one before it for the same thing.
func (c *collector) policy(r Record) {
	for i := range c.evidence.Policies {
		if p := &c.evidence.Policies[i]; p.Until.IsZero() && p.Plugin == r.Plugin && p.Object == r.Object {
			p.Until = r.Time
		}
	}
	c.evidence.Policies = append(c.evidence.Policies, PolicyHeld{
		Plugin: r.Plugin, Object: r.Object, Since: r.Time, Rights: r.Rights, Detail: r.Detail, Digest: r.ConfigDigest, Seq: r.Seq,
	})
}

func (c *collector) record(r Record) {
	switch r.Type {
	case RunCreated:
		c.created(r)
	case AccessRefused, RunDead:
		c.refused(r)
	case CredentialRotated, ConfigurationChanged, PolicyChanged, KeysChanged, ProcessStarted, ProcessStopped, Recovered:
		c.evidence.Changes = append(c.evidence.Changes, r)
	}
}

func (c *collector) created(r Record) {
	if _, known := c.runs[r.RunID]; known {
		return // the same run, asked for again under its idempotency key
	}
	c.runs[r.RunID] = len(c.evidence.Runs)
	c.evidence.Runs = append(c.evidence.Runs, Run{
		RunID: r.RunID, Deployment: r.deployment(), RequestID: r.RequestID, Caller: r.Caller, Roles: r.Roles,
		Rule: r.Rule, ParametersSHA256: r.ParametersSHA256, Asked: r.Time, Seq: r.Seq,
	})
	key := [2]string{r.Rule, r.deployment()}
	i, known := c.rules[key]
	if !known {
		i = len(c.evidence.Rules)
		c.rules[key] = i
		c.evidence.Rules = append(c.evidence.Rules, RuleUse{Rule: r.Rule, Deployment: key[1]})
	}
	use := &c.evidence.Rules[i]
	use.Runs++
	if who := r.Caller.Who(); !slices.Contains(use.Callers, who) {
		use.Callers = append(use.Callers, who)
	}
}

// deployment is its name, or its id where nothing else is known: the guard
// sees ids.
func (r Record) deployment() string {
	if r.Deployment != "" {
		return r.Deployment
	}
	return r.DeploymentID
}

func (c *collector) finished(r Record) {
	if i, known := c.runs[r.RunID]; known {
		c.evidence.Runs[i].Outcome = r.Outcome
		c.evidence.Runs[i].Finished = r.Time
	}
}

func (c *collector) refused(r Record) {
	key := [3]string{r.Caller.Who(), r.Reason, r.deployment()}
	i, known := c.refusals[key]
	if !known {
		i = len(c.evidence.Refusals)
		c.refusals[key] = i
		c.evidence.Refusals = append(c.evidence.Refusals, Refusals{Caller: key[0], Reason: r.Reason, Deployment: key[2]})
	}
	c.evidence.Refusals[i].Times++
	c.evidence.Refusals[i].Last = r.Time
}
