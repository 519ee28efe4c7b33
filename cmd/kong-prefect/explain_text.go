package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kong-prefect/kong-prefect/explain"
)

// tellExplanation writes a way for people: a heading for each stage, and what
// it found below.
func tellExplanation(out io.Writer, e explain.Explanation) error {
	s := screenOf(out)
	t := s.table()
	for _, stage := range e.Stages {
		t.row(painted{strong, stage.Name})
		for _, f := range stage.Facts {
			rowsOf(t, f.Name, f.Value)
		}
	}
	v := e.Verdict
	t.row(painted{strong, "verdict"})
	look := map[explain.Outcome]paint{explain.Refused: bad, explain.Unknown: caution}[v.Outcome]
	if look == plain {
		look = good
	}
	t.row("  "+string(v.Outcome), painted{look, verdictText(v)})
	for _, line := range []struct{ name, value string }{
		{"code", v.Code}, {"by", v.Plugin}, {"the caller reads", v.Says}, {"the operator reads", v.Cause},
	} {
		if line.value != "" {
			t.row("  "+line.name, line.value)
		}
	}
	for _, violation := range v.Violations {
		t.row("  "+violation.Code, strings.TrimSpace(violation.Pointer+" "+violation.Detail))
	}
	if r := v.Request; r != nil {
		t.row("  would go to Prefect", r.Method+" "+r.URL)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			t.row("", name+": "+strings.Join(r.Header[name], ", "))
		}
		var body map[string]any
		if json.Unmarshal(r.Body, &body) == nil {
			rowsOf(t, "with", body)
		}
	}
	for _, note := range e.Notes {
		t.row(painted{caution, "note"}, note)
	}
	return t.print()
}

func verdictText(v explain.Verdict) string {
	switch v.Outcome {
	case explain.Refused:
		return fmt.Sprintf("answered with %d", v.Status)
	case explain.Starts:
		return "a run would be started, and answered with 201"
	case explain.Repeats:
		return "the run of this Idempotency-Key is there already: " + v.Run
	case explain.Passes:
		return "the request goes on to its service"
	case explain.Answers:
		return fmt.Sprintf("the plugin answers itself, with %d", v.Status)
	case explain.Changes:
		return "Prefect would be asked for a change"
	default:
		return "what decides isn't known here"
	}
}

// rowsOf writes a fact; the members of an object get a line each.
func rowsOf(t *table, name string, value any) {
	object, isObject := value.(map[string]any)
	if !isObject {
		t.row("  "+name, shown(value))
		return
	}
	label := "  " + name
	for _, member := range slices.Sorted(maps.Keys(object)) {
		t.row(label, member+" = "+shown(object[member])+dated(member, object[member]))
		label = ""
	}
}

// dated says when a token's date is (RFC 7519, section 2).
func dated(claim string, value any) string {
	number, ok := value.(json.Number)
	if !ok || !slices.Contains([]string{"exp", "iat", "nbf", "auth_time"}, claim) {
		return ""
	}
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > 1e11 {
		return ""
	}
	return " (" + time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339) + ")"
}

func shown(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []string:
		return strings.Join(v, ", ")
	}
	data, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return string(data)
}
