package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/signing"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "audit",
		GroupID: groupRunning,
		Short:   "Ask the audit who ran what, and prove that it is complete",
		Example: "  kong-prefect audit query /var/lib/kong-prefect/audit --caller svc-nightly",
	}
	holds(cmd, newAuditVerifyCommand(), newAuditQueryCommand(), newAuditReportCommand())
	return cmd
}

// auditProof are the flags of those commands that check the log.
type auditProof struct {
	keys     []string
	first    uint64
	expected string
}

func (p *auditProof) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&p.keys, "keys", nil, "a published key set of the gateway, a JWKS file; several times where keys have changed")
	f.Uint64Var(&p.first, "first", 1, "number of the oldest record that must be here, where older files are archived")
	f.StringVar(&p.expected, "expect", "", "a checkpoint that was kept elsewhere, a file; the log must still hold it")
	fileFlag(cmd, "keys", "json")
	fileFlag(cmd, "expect", "json")
}

func (p *auditProof) verify(dir string, stderr io.Writer) (audit.Report, error) {
	if len(p.keys) == 0 {
		return audit.Report{}, fmt.Errorf("%w: --keys FILE is needed, the gateway's published key set", errUsage)
	}
	sets := make(keySets, len(p.keys))
	for i, path := range p.keys {
		data, err := os.ReadFile(path)
		if err != nil {
			return audit.Report{}, err
		}
		if sets[i], err = signing.ParseKeySet(data); err != nil {
			return audit.Report{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	waiting := progressOn(stderr)
	defer waiting.end()
	o := audit.VerifyOptions{Keys: sets, FirstSeq: p.first, Progress: func(n uint64) { waiting.at("%d records checked", n) }}
	if p.expected != "" {
		var err error
		if o.Expect, err = os.ReadFile(p.expected); err != nil {
			return audit.Report{}, err
		}
	}
	return audit.Verify(dir, o)
}

func newAuditVerifyCommand() *cobra.Command {
	var proof auditProof
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check that no record is missing, changed or moved",
		Long: `Check every record, its hash and its number, and the signatures of the
checkpoints, with nothing but the folder and the gateway's public keys.

Who can write to the folder can cut the log back to an older checkpoint and
nothing in the folder shows it. Keep checkpoint.json somewhere else now and
then, and give it with --expect.`,
		Example: `  curl -s http://127.0.0.1:8710/.well-known/jwks.json > keys.json
  kong-prefect audit verify /var/lib/kong-prefect/audit --keys keys.json`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: aDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := proof.verify(args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), report)
			} else {
				err = tellProof(cmd.OutOrStdout(), report)
			}
			if err == nil && len(report.Defects) > 0 {
				err = fmt.Errorf("the audit is %w: %d defects", errFound, len(report.Defects))
			}
			return err
		},
	}
	proof.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func tellProof(out io.Writer, r audit.Report) error {
	t := screenOf(out).table()
	t.row("records", r.Records, fmt.Sprintf("(%d to %d, %d files)", r.First, r.Last, r.Files))
	t.row("time", r.From.Format(time.RFC3339), "to "+r.To.Format(time.RFC3339))
	signed := fmt.Sprintf("signed up to record %d", r.Signed)
	if n := r.Unsigned(); n > 0 {
		signed += fmt.Sprintf("; %d behind it are chained, and not signed yet", n)
	}
	t.row("checkpoints", r.Checkpoints, signed)
	if r.TornBytes > 0 {
		t.row("torn", fmt.Sprintf("%d B", r.TornBytes), "of a record that a killed process was writing")
	}
	if r.Recovered > 0 {
		t.row("recovered", r.Recovered, "times a process found the files' end torn or missing, and said so")
	}
	for _, d := range r.Defects {
		where := d.File
		if d.Line > 0 {
			where += fmt.Sprintf(":%d", d.Line)
		}
		t.row(painted{bad, "DEFECT"}, d.Code, where+" "+d.What)
	}
	if len(r.Defects) == 0 {
		t.row("verdict", painted{good, "ok"}, "nothing is missing, nothing was changed")
	}
	return t.print()
}

func newAuditQueryCommand() *cobra.Command {
	var q audit.Query
	var from, to string
	var types []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "query DIR",
		Short: "List records by caller, deployment, run, time, outcome",
		Example: `  kong-prefect audit query /var/lib/kong-prefect/audit --caller svc-nightly --from 2026-11-01
  kong-prefect audit query /var/lib/kong-prefect/audit --type run.finished --outcome FAILED --json`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: aDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.From, q.To, err = timeSpan(from, to); err != nil {
				return err
			}
			for _, t := range types {
				if !slices.Contains(auditTypes(), t) {
					return fmt.Errorf("%w: there is no type of record %q; there are %s", errUsage, t, oneOf(auditTypes()))
				}
				q.Types = append(q.Types, audit.Type(t))
			}
			if q.Outcome != "" && !slices.Contains(audit.Outcomes, q.Outcome) {
				return fmt.Errorf("%w: there is no outcome %q; there are %s", errUsage, q.Outcome, oneOf(audit.Outcomes))
			}
			if asJSON {
				return queryJSON(cmd.OutOrStdout(), args[0], q)
			}
			return queryTable(cmd.OutOrStdout(), progressOn(cmd.ErrOrStderr()), args[0], q)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "from this time on: 2026-11-24 or 2026-11-24T03:00:00Z")
	f.StringVar(&to, "to", "", "before this time")
	f.StringSliceVar(&types, "type", nil, "types of record, run.created for instance")
	f.StringVar(&q.Caller, "caller", "", "a caller's name, subject or client")
	f.StringVar(&q.Deployment, "deployment", "", "a deployment's name, id, or a glob over names")
	f.StringVar(&q.RunID, "run", "", "a run's id")
	f.StringVar(&q.RequestID, "request", "", "a request's id")
	f.StringVar(&q.Outcome, "outcome", "", "a run's outcome, FAILED for instance")
	f.StringVar(&q.Reason, "reason", "", "a refusal's code")
	f.BoolVar(&asJSON, "json", false, "print the records as they are, one a line")
	completeFlag(cmd, "type", auditTypes())
	completeFlag(cmd, "outcome", audit.Outcomes)
	return cmd
}

func queryJSON(out io.Writer, dir string, q audit.Query) error {
	var failed error
	e := json.NewEncoder(out)
	err := audit.Find(dir, q, func(r audit.Record) bool {
		failed = e.Encode(r)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

func queryTable(out io.Writer, p *progress, dir string, q audit.Query) error {
	t := screenOf(out).table("RECORD", "TIME", "TYPE", "CALLER", "DEPLOYMENT", "RUN", "RESULT")
	n := 0
	err := audit.Find(dir, q, func(r audit.Record) bool {
		n++
		p.at("%d records found", n)
		t.row(r.Seq, r.Time.Format("2006-01-02 15:04:05"), r.Type, r.Caller.Who(), r.Deployment, r.RunID, r.Result())
		return true
	})
	p.end()
	t.row(fmt.Sprintf("%d records", n))
	if printed := t.print(); err == nil {
		err = printed
	}
	return err
}

func newAuditReportCommand() *cobra.Command {
	var proof auditProof
	var from, to, html, csv string
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Write the evidence an auditor asks for, as a page and as CSV",
		Example: `  kong-prefect audit report /var/lib/kong-prefect/audit --keys keys.json \
    --from 2026-10-01 --to 2026-11-01 --html october.html --csv october.csv`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: aDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if html == "" && csv == "" {
				return fmt.Errorf("%w: report needs --html, --csv or both", errUsage)
			}
			start, end, err := timeSpan(from, to)
			if err != nil {
				return err
			}
			report, err := proof.verify(args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			evidence, err := audit.Collect(args[0], start, end, report)
			if err == nil && html != "" {
				err = writeFile(html, evidence.WriteHTML)
			}
			if err == nil && csv != "" {
				err = writeFile(csv, evidence.WriteCSV)
			}
			if err == nil && len(report.Defects) > 0 {
				err = fmt.Errorf("the report is written, and says that the audit is %w: %d defects", errFound, len(report.Defects))
			}
			return err
		},
	}
	proof.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "from this time on: 2026-10-01 or 2026-10-01T03:00:00Z")
	f.StringVar(&to, "to", "", "before this time. Default: now")
	f.StringVar(&html, "html", "", "write a page to this file")
	f.StringVar(&csv, "csv", "", "write the runs to this file, for a spreadsheet")
	fileFlag(cmd, "html", "html")
	fileFlag(cmd, "csv", "csv")
	return cmd
}

// timeSpan reads two times; a date means its beginning, UTC.
func timeSpan(from, to string) (start, end time.Time, err error) {
	for text, into := range map[*string]*time.Time{&from: &start, &to: &end} {
		if *text == "" {
			continue
		}
		if *into, err = time.Parse(time.RFC3339, *text); err != nil {
			*into, err = time.Parse(time.DateOnly, *text)
		}
		if err != nil {
			return start, end, fmt.Errorf("%w: %q is no time; write 2026-11-24 or 2026-11-24T03:00:00Z", errUsage, *text)
		}
	}
	if end.IsZero() {
		end = time.Now()
	}
	return start, end, nil
}

func writeJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
