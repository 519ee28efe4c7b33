package audit

import (
	_ "embed"
	"encoding/csv"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed evidence.html
var evidencePage string

var evidenceTemplate = template.Must(template.New("evidence").Funcs(template.FuncMap{
	"time": func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04:05")
	},
	"took": func(r Run) string {
		if r.Finished.IsZero() {
			return ""
		}
		return r.Finished.Sub(r.Asked).Round(time.Second).String()
	},
	"join":  strings.Join,
	"lower": strings.ToLower,
	"short": func(s string) string { return s[:min(12, len(s))] },
}).Parse(evidencePage))

// WriteHTML writes the evidence as one page that needs nothing beside it.
func (e Evidence) WriteHTML(w io.Writer) error {
	outcomes := map[string]int{}
	for _, r := range e.Runs {
		outcomes[r.Outcome]++
	}
	refused := 0
	for _, r := range e.Refusals {
		refused += r.Times
	}
	return evidenceTemplate.Execute(w, struct {
		Evidence
		Outcomes map[string]int
		Refused  int
	}{e, outcomes, refused})
}

// WriteCSV writes the runs, one a line, with a header line. Cells that a
// spreadsheet would take for a formula are quoted with an apostrophe.
func (e Evidence) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{
		"asked", "run_id", "deployment", "caller", "kind", "subject", "issuer", "roles", "rule",
		"outcome", "finished", "request_id", "parameters_sha256", "record",
	}); err != nil {
		return err
	}
	for _, r := range e.Runs {
		caller := r.Caller
		if caller == nil {
			caller = &Caller{}
		}
		finished := ""
		if !r.Finished.IsZero() {
			finished = r.Finished.Format(time.RFC3339)
		}
		row := []string{
			r.Asked.Format(time.RFC3339), r.RunID, r.Deployment, r.Caller.Who(), string(caller.Kind), caller.Subject, caller.Issuer,
			strings.Join(r.Roles, " "), r.Rule, r.Outcome, finished, r.RequestID, r.ParametersSHA256, decimal(r.Seq),
		}
		for i, cell := range row {
			row[i] = inert(cell)
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// inert keeps spreadsheets from running what a caller's name holds
// (OWASP, CSV injection).
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
