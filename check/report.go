package check

import (
	"cmp"
	"slices"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Error: requests are refused, or pass where they mustn't.
	Error Severity = "error"
	// Warning: it works, and not as whoever wrote it will have meant.
	Warning Severity = "warning"
	// Advice: it works, and is better done in another way.
	Advice Severity = "advice"
)

// Severities are all of them, the worst first.
var Severities = []Severity{Error, Warning, Advice}

// Place is where something stands. Lines and columns count from 1.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// Finding is one thing that isn't in order.
type Finding struct {
	Severity Severity `json:"severity"`
	// Code is stable: docs/check.md has them all.
	Code string `json:"code"`
	Place
	// Entity is what Kong calls by a name: "prefect-trigger on route nightly".
	Entity string `json:"entity,omitempty"`
	// Field is the path in the file; lists count from 1, as Kong counts.
	Field string `json:"field,omitempty"`
	What  string `json:"what"`
	Do    string `json:"do"`
}

// NotChecked is what nobody can tell from the files and this machine.
type NotChecked struct {
	Place
	Entity string `json:"entity,omitempty"`
	Field  string `json:"field,omitempty"`
	Why    string `json:"why"`
}

// Report is all that [Check] says.
type Report struct {
	Findings   []Finding    `json:"findings"`
	NotChecked []NotChecked `json:"not_checked"`
	// What was looked at.
	Files   int `json:"files"`
	Routes  int `json:"routes"`
	Plugins int `json:"plugins"`
	// Asked are those who were asked, by address.
	Asked []string `json:"asked"`
}

// Count is how many findings there are of a severity.
func (r Report) Count(s Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// order sorts by place, and keeps of findings that say the same of the same
// place the first: a plugin that serves ten routes is wrong once.
func (r *Report) order() {
	byPlace := func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(byPlace(a.Place, b.Place), cmp.Compare(a.Code, b.Code))
	})
	r.Findings = slices.CompactFunc(r.Findings, func(a, b Finding) bool {
		return a.Place == b.Place && a.Code == b.Code && (a.What == b.What || a.Code == codeIdentityMissing)
	})
	slices.SortStableFunc(r.NotChecked, func(a, b NotChecked) int { return byPlace(a.Place, b.Place) })
	r.NotChecked = slices.Compact(r.NotChecked)
}
