package explain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/audit"
)

// Decision tells a decision of the past from the audit's folder, by the
// request's id or a record's number: what the records hold, and no more.
func Decision(dir, id string) (Explanation, error) {
	if seq, err := strconv.ParseUint(id, 10, 64); err == nil && seq > 0 {
		var one []audit.Record
		if err := audit.Records(dir, seq-1, func(r audit.Record) bool {
			one = append(one, r)
			return false
		}); err != nil {
			return Explanation{}, err
		}
		if len(one) > 0 && one[0].Seq == seq && one[0].RequestID == "" {
			return past(one), nil
		}
		if len(one) > 0 && one[0].Seq == seq {
			id = one[0].RequestID
		}
	}
	var found []audit.Record
	if err := audit.Find(dir, audit.Query{RequestID: id}, func(r audit.Record) bool {
		found = append(found, r)
		return true
	}); err != nil {
		return Explanation{}, err
	}
	if id == "" || len(found) == 0 {
		return Explanation{}, fmt.Errorf("the audit in %s has no decision %q", dir, id)
	}
	return past(found), nil
}

// past makes the stages of one request's records, in their order.
func past(records []audit.Record) Explanation {
	var e Explanation
	add := func(name string, f facts) {
		if len(f) > 0 {
			e.Stages = append(e.Stages, Stage{name, f})
		}
	}
	first := records[0]
	var route facts
	route.add("plugin", first.Plugin)
	route.add("request", first.Detail)
	route.add("method", first.Method)
	route.add("path", first.Path)
	route.add("request id", first.RequestID)
	route.add("from", first.SourceAddress)
	route.add("configuration", first.ConfigDigest)
	add("route", route)
	if c := first.Caller; c != nil {
		var f facts
		f.add("subject", c.Subject)
		f.add("issuer", c.Issuer)
		f.add("kind", string(c.Kind))
		f.add("name", c.Name)
		f.add("client", c.Client)
		for _, a := range c.Actors {
			f.add("acting for it", strings.TrimSpace(a.Subject+" "+a.Client))
		}
		if b := first.Basis; b != nil {
			f.add("groups", b.Groups)
			f.add("scopes", b.Scopes)
			f.add("asked for by the run of request", b.ParentRequestID)
		}
		add("identity", f)
	}
	var roles facts
	roles.add("roles", first.Roles)
	add("roles", roles)
	last := records[len(records)-1]
	var d facts
	d.add("deployment", last.Deployment)
	d.add("id", last.DeploymentID)
	d.add("parameters", last.Parameters)
	d.add("parameters' SHA-256", last.ParametersSHA256)
	add("deployment", d)
	var rules facts
	rules.add("rule", last.Rule)
	rules.add("permission", last.Permission)
	add("rules", rules)
	var told facts
	for _, r := range records {
		text := fmt.Sprintf("%s, record %d", r.Time.UTC().Format(time.RFC3339), r.Seq)
		for _, more := range []string{r.RunID, r.Result()} {
			if more != "" {
				text += ", " + more
			}
		}
		told.add(string(r.Type), text)
	}
	add("records", told)
	e.Verdict = pastVerdict(records)
	return e
}

func pastVerdict(records []audit.Record) Verdict {
	v := Verdict{Outcome: Unknown, Cause: "the records don't say how it ended"}
	for _, r := range records {
		switch r.Type {
		case audit.AccessRefused:
			return Verdict{Outcome: Refused, Plugin: r.Plugin, Status: r.Status, Code: r.Reason}
		case audit.RunCreated:
			v = Verdict{Outcome: Starts, Plugin: r.Plugin, Status: 201, Run: r.RunID}
		case audit.RunRepeated:
			v = Verdict{Outcome: Repeats, Plugin: r.Plugin, Status: 200, Run: r.RunID}
		case audit.RunAccepted:
			v = Verdict{Outcome: Answers, Plugin: r.Plugin, Status: 202, Cause: "accepted while Prefect was away; its run isn't on record yet"}
		case audit.RunDead:
			v = Verdict{Outcome: Answers, Plugin: r.Plugin, Status: 202, Code: r.Reason, Cause: "accepted while Prefect was away, and given up"}
		case audit.RunUnknown, audit.RunAbsent:
			v = Verdict{Outcome: Unknown, Plugin: r.Plugin, Cause: map[audit.Type]string{
				audit.RunUnknown: "Prefect gave no answer: it may have the run", audit.RunAbsent: "it was allowed, and Prefect has no run of it",
			}[r.Type]}
		case audit.AccessAllowed:
			if v.Outcome == Unknown && r.Permission != "" {
				v = Verdict{Outcome: Passes, Plugin: r.Plugin}
			}
		}
	}
	return v
}
