package token

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// denyCheckInterval keeps the promise that a change takes effect within a
// second, slow file systems included.
const denyCheckInterval = 250 * time.Millisecond

// Denied is one entry of a deny list. A token is refused when every field that
// is given matches it exactly. Subject and Client match whoever acts for the
// subject as well (RFC 8693 act): who is denied can't go on through others.
type Denied struct {
	// Issuer limits the entry to one issuer's tokens; all by default.
	Issuer string `json:"issuer,omitempty"`
	// Subject is the claim sub, or the caller's subject by the provider's preset.
	Subject string `json:"subject,omitempty"`
	// Client is the client the token was issued to (any of client_id, azp, cid
	// and appid), or the caller's client by the provider's preset.
	Client string `json:"client,omitempty"`
	// ID is the claim jti.
	ID string `json:"id,omitempty"`
	// IssuedBefore matches tokens whose iat is earlier, or that have none.
	IssuedBefore time.Time `json:"issued_before,omitzero"`
	// Note is for people.
	Note string `json:"note,omitempty"`
}

// DenyList is a set of tokens to refuse although they verify: the answer to a
// stolen token or a dismissed person before the token expires.
type DenyList struct {
	byID      map[string][]Denied
	bySubject map[string][]Denied
	byClient  map[string][]Denied
	others    []Denied
}

// ParseDenyList reads {"deny": [{"subject": "...", ...}, ...]}. It is strict: an
// unknown or repeated field is an error, since an entry that was misspelt would
// deny nothing.
func ParseDenyList(data []byte) (*DenyList, error) {
	var doc struct {
		Deny []Denied `json:"deny"`
	}
	if err := json.Unmarshal(data, &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("deny list: %w", err)
	}
	if doc.Deny == nil {
		return nil, errors.New(`deny list: no list "deny"`)
	}
	l := &DenyList{byID: map[string][]Denied{}, bySubject: map[string][]Denied{}, byClient: map[string][]Denied{}}
	for n, d := range doc.Deny {
		switch {
		case d.ID != "":
			l.byID[d.ID] = append(l.byID[d.ID], d)
		case d.Subject != "":
			l.bySubject[d.Subject] = append(l.bySubject[d.Subject], d)
		case d.Client != "":
			l.byClient[d.Client] = append(l.byClient[d.Client], d)
		case !d.IssuedBefore.IsZero():
			l.others = append(l.others, d)
		default:
			return nil, fmt.Errorf("deny list: entry %d has none of subject, client, id and issued_before", n+1)
		}
	}
	return l, nil
}

// Denies tells whether an entry matches the token.
func (l *DenyList) Denies(t Verified) bool { return l.denies(t.v) }

func (l *DenyList) denies(t *verified) bool {
	return anyMatch(l.others, t) ||
		t.id != "" && anyMatch(l.byID[t.id], t) ||
		anyOf(t.subject, l.bySubject, t) ||
		slices.ContainsFunc(t.clients, func(c string) bool { return anyOf(c, l.byClient, t) }) ||
		slices.ContainsFunc(t.actors, func(a actor) bool {
			return anyOf(a.subject, l.bySubject, t) || anyOf(a.client, l.byClient, t)
		})
}

func anyOf(name string, index map[string][]Denied, t *verified) bool {
	return name != "" && anyMatch(index[name], t)
}

// actor is one of those who act for a token's subject, as far as a deny list
// cares.
type actor struct{ subject, client string }

// readActors reads the chain of RFC 8693 section 4.1, to whatever depth the
// decoder lets in. What isn't an actor is none here; the package claims refuses
// it.
func readActors(claims map[string]any) (actors []actor) {
	for act, ok := claims["act"].(map[string]any); ok; act, ok = act["act"].(map[string]any) {
		a := actor{}
		a.subject, _ = act["sub"].(string)
		for _, name := range []string{"client_id", "azp"} {
			if client, _ := act[name].(string); client != "" {
				actors = append(actors, actor{a.subject, client})
			}
		}
		actors = append(actors, a)
	}
	return actors
}

func anyMatch(entries []Denied, t *verified) bool {
	for _, d := range entries {
		if d.matches(t) {
			return true
		}
	}
	return false
}

func (d Denied) matches(t *verified) bool {
	return (d.Issuer == "" || d.Issuer == t.issuer) &&
		(d.Subject == "" || d.Subject == t.subject || slices.ContainsFunc(t.actors, func(a actor) bool { return a.subject == d.Subject })) &&
		(d.Client == "" || slices.Contains(t.clients, d.Client) || slices.ContainsFunc(t.actors, func(a actor) bool { return a.client == d.Client })) &&
		(d.ID == "" || d.ID == t.id) &&
		(d.IssuedBefore.IsZero() || t.issuedAt.Before(d.IssuedBefore))
}

// denyList is the list in its watched file.
type denyList struct {
	file *watchedFile
	list atomic.Pointer[DenyList]
}

// newDenyList takes the real clock, whatever the Verifier's is: a file's times
// are real.
func newDenyList(path string, log *slog.Logger) *denyList {
	d := &denyList{}
	d.file = &watchedFile{
		path: path, interval: denyCheckInterval, maxStale: time.Hour, now: time.Now, log: log,
		load: func(data []byte) error {
			list, err := ParseDenyList(data)
			if err == nil {
				d.list.Store(list)
			}
			return err
		},
	}
	return d
}

// CheckNames asks the deny list about the names that a caller goes by beyond the
// token's own sub and client: a provider's preset may take them from other
// claims. These are the names that headers, logs and audit show, and so those
// that operators write into the list. [Verifier.VerifyPresented] asked about
// the token's own.
func (v *Verifier) CheckNames(t Verified, subject, client string) error {
	if v.deny == nil || subject == t.v.subject && (client == "" || slices.Contains(t.v.clients, client)) {
		return nil
	}
	also := *t.v
	also.clients = append(slices.Clone(also.clients), client)
	for _, name := range []string{t.v.subject, subject} {
		also.subject = name
		if err := v.deny.check(&also); err != nil {
			return asError(err)
		}
	}
	return nil
}

// check is asked for every request, cached tokens included. A list that can't be
// read refuses everything: who is on it can't be told.
func (d *denyList) check(t *verified) error {
	if d == nil {
		return nil
	}
	if err := d.file.check(); err != nil {
		return unavailable(ReasonDenyListUnavailable, "the deny list can't be read, so no token can be let through; repair the file", ErrDenyListUnavailable, err)
	}
	if d.list.Load().denies(t) {
		return refuse(ReasonDenied, "the token was revoked by the operator's deny list")
	}
	return nil
}
