package audit

import (
	"fmt"
	"path"
	"slices"
	"time"
)

// Query says which records are asked for. An empty field asks for any.
type Query struct {
	From, To time.Time // From <= time < To
	Types    []Type
	// Caller is a name, a subject or a client; with it come those for whom it
	// acted.
	Caller string
	// Deployment is a name or an id, or a glob (path.Match) over names.
	Deployment string
	RunID      string
	RequestID  string
	Outcome    string
	Reason     string
}

// Matches tells whether a record is asked for.
func (q Query) Matches(r Record) bool {
	switch {
	case !q.From.IsZero() && r.Time.Before(q.From), !q.To.IsZero() && !r.Time.Before(q.To):
		return false
	case len(q.Types) > 0 && !slices.Contains(q.Types, r.Type):
		return false
	case q.Caller != "" && !r.Caller.named(q.Caller):
		return false
	case q.Deployment != "" && !matchesDeployment(q.Deployment, r):
		return false
	}
	for _, pair := range [][2]string{
		{q.RunID, r.RunID}, {q.RequestID, r.RequestID}, {q.Outcome, r.Outcome}, {q.Reason, r.Reason},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	return true
}

func matchesDeployment(pattern string, r Record) bool {
	if pattern == r.Deployment || pattern == r.DeploymentID {
		return true
	}
	matched, err := path.Match(pattern, r.Deployment)
	return err == nil && matched
}

// named tells whether the caller, or one who acted for them, has the name.
func (c *Caller) named(name string) bool {
	if c == nil {
		return false
	}
	if c.Name == name || c.Subject == name || c.Client == name {
		return true
	}
	for _, a := range c.Actors {
		if a.Subject == name || a.Client == name {
			return true
		}
	}
	return false
}

// Who is the caller for people to read, with who acted for them.
func (c *Caller) Who() string {
	if c == nil {
		return ""
	}
	who := c.Name
	if who == "" {
		who = c.Subject
	}
	for _, a := range c.Actors {
		actor := a.Client
		if actor == "" {
			actor = a.Subject
		}
		who += " by " + actor
	}
	return who
}

// Find calls each with the matching records in order, until it returns false.
// A folder that holds no log is an error.
func Find(dir string, q Query, each func(Record) bool) error {
	files, closeFiles, err := snapshot(dir)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer closeFiles()
	if len(files) == 0 {
		return fmt.Errorf("audit: there is no log in %s", dir)
	}
	return eachRecord(files, 0, func(r Record) bool {
		return !q.Matches(r) || each(r)
	})
}

// Result is how it ended, in a word: an outcome, a reason, or what changed.
func (r Record) Result() string {
	switch {
	case r.Outcome != "":
		return r.Outcome
	case r.Reason != "":
		return r.Reason
	case r.Object != "" && r.Detail != "":
		return r.Object + ": " + r.Detail
	default:
		return r.Object + r.Detail
	}
}

// Has tells whether a matching record is on the disk. It may read the whole
// log: it is for questions that are rare.
func (l *Log) Has(q Query) (found bool, err error) {
	err = Find(l.options.Dir, q, func(Record) bool {
		found = true
		return false
	})
	return found, err
}
